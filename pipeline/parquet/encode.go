package parquet

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/parquet-go/bitpack"
)

// See https://github.com/apache/parquet-format/blob/master/Encodings.md
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
		var packed [deltaMiniBlock]int64
		var all uint64
		for j, d := range mini {
			v := uint64(d-low) << unused >> unused
			packed[j] = int64(v)
			all |= v
		}
		width := bits.Len64(all)
		b[widths] = byte(width)
		widths++
		end := len(b)
		b = append(b, make([]byte, width*deltaMiniBlock/8)...)
		bitpack.Pack(b[end:], packed[:], uint(width))
	}
	return b
}
