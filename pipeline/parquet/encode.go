package parquet

import (
	"encoding/binary"
	"math/bits"
)

// Encodings of values, from the format's own description:
// https://github.com/apache/parquet-format/blob/master/Encodings.md

const (
	deltaBlock     = 128 // values
	deltaMiniBlock = 32
	deltaMiniCount = deltaBlock / deltaMiniBlock
)

// appendDeltas appends values as DELTA_BINARY_PACKED: a first value, then the
// differences in as few bits as the widest of 32 takes. Differences wrap around at T's
// own width, as the format wants it.
func appendDeltas[T int32 | int64](b []byte, values []T) []byte {
	b = binary.AppendUvarint(b, deltaBlock)
	b = binary.AppendUvarint(b, deltaMiniCount)
	b = binary.AppendUvarint(b, uint64(len(values)))
	if len(values) == 0 {
		return append(b, 0)
	}
	b = binary.AppendVarint(b, int64(values[0]))
	last := values[0]
	var deltas [deltaBlock]T
	for rest := values[1:]; len(rest) > 0; {
		n := min(len(rest), deltaBlock)
		for i, v := range rest[:n] {
			deltas[i], last = v-last, v
		}
		b = appendDeltaBlock(b, deltas[:n])
		rest = rest[n:]
	}
	return b
}

// appendDeltaBlock appends 1 to 128 differences. Of a last mini block that is not full
// the rest is zeros; those that nothing is in have no bits at all.
func appendDeltaBlock[T int32 | int64](b []byte, deltas []T) []byte {
	low := deltas[0]
	for _, d := range deltas[1:] {
		low = min(low, d)
	}
	b = binary.AppendVarint(b, int64(low))
	widths := len(b)
	b = append(b, make([]byte, deltaMiniCount)...)
	for i := 0; len(deltas) > 0; i++ {
		n := min(len(deltas), deltaMiniBlock)
		var packed [deltaMiniBlock]uint64
		var all uint64
		for j, d := range deltas[:n] {
			packed[j] = distance(d, low)
			all |= packed[j]
		}
		width := bits.Len64(all)
		b[widths+i] = byte(width)
		b = appendBits(b, &packed, width)
		deltas = deltas[n:]
	}
	return b
}

// distance is d - low without a sign, at the width of T.
func distance[T int32 | int64](d, low T) uint64 {
	switch difference := any(d - low).(type) {
	case int32:
		return uint64(uint32(difference))
	case int64:
		return uint64(difference)
	}
	return 0 // there is no third type
}

// appendBits appends the low bits of 32 values, the first one lowest.
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
