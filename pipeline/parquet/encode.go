package parquet

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// Encodings of values, see
// https://github.com/apache/parquet-format/blob/master/Encodings.md

const (
	deltaBlock     = 128 // values
	deltaMiniBlock = 32
	deltaMiniCount = deltaBlock / deltaMiniBlock
)

// appendDeltas appends values of size bits as DELTA_BINARY_PACKED: the first value, then the
// differences, in as few bits as the widest of 32 needs. Differences wrap around at the size,
// as the format requires.
func appendDeltas(b []byte, values []int64, size int) []byte {
	b = binary.AppendUvarint(b, deltaBlock)
	b = binary.AppendUvarint(b, deltaMiniCount)
	b = binary.AppendUvarint(b, uint64(len(values)))
	if len(values) == 0 {
		return append(b, 0)
	}
	b = binary.AppendVarint(b, values[0])
	last, unused := values[0], 64-size
	var deltas [deltaBlock]int64
	for block := range slices.Chunk(values[1:], deltaBlock) {
		for i, v := range block {
			deltas[i], last = (v-last)<<unused>>unused, v
		}
		b = appendDeltaBlock(b, deltas[:len(block)], unused)
	}
	return b
}

// appendDeltaBlock appends 1 to 128 differences. Zeros fill the last mini block; mini blocks
// without differences have no bits at all.
func appendDeltaBlock(b []byte, deltas []int64, unused int) []byte {
	low := slices.Min(deltas)
	b = binary.AppendVarint(b, low)
	widths := len(b)
	b = append(b, make([]byte, deltaMiniCount)...)
	for mini := range slices.Chunk(deltas, deltaMiniBlock) {
		var packed [deltaMiniBlock]uint64
		var all uint64
		for j, d := range mini {
			packed[j] = uint64(d-low) << unused >> unused
			all |= packed[j]
		}
		width := bits.Len64(all)
		b[widths] = byte(width)
		widths++
		b = appendBits(b, &packed, width)
	}
	return b
}

// appendBits appends width bits of each of 32 values, the first value lowest.
func appendBits(b []byte, values *[deltaMiniBlock]uint64, width int) []byte {
	if width == 0 {
		return b
	}
	var word uint64
	used := 0
	for _, v := range values {
		word |= v << used
		used += width
		if used >= 64 {
			b = binary.LittleEndian.AppendUint64(b, word)
			used -= 64
			word = 0
			if used > 0 {
				word = v >> (width - used)
			}
		}
	}
	// 32 values of any width end on a multiple of four bytes.
	if used > 0 {
		b = binary.LittleEndian.AppendUint32(b, uint32(word))
	}
	return b
}

// appendTexts appends strings as PLAIN, each after its length.
func appendTexts(b []byte, ends []int32, text []byte) []byte {
	start := int32(0)
	for _, end := range ends {
		b = binary.LittleEndian.AppendUint32(b, uint32(end-start))
		b = append(b, text[start:end]...)
		start = end
	}
	return b
}

// appendPlain appends 64-bit values as PLAIN.
func appendPlain(b []byte, values []int64) []byte {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	return b
}
