package load

import (
	"bytes"
	"cmp"
	"encoding/binary"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/extsort"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/pipeline/transform"
)

// A packed row is a valid row as the sorters hold it: its numbers at fixed places,
// then its id. About forty bytes.
const (
	packedLine   = 0
	packedUser   = 8
	packedDate   = 12
	packedAmount = 16
	packedID     = 24
)

// packed is a row that was packed.
type packed []byte

func appendPacked(b []byte, r *transform.Row) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Line))
	b = binary.LittleEndian.AppendUint32(b, uint32(r.UserID))
	b = binary.LittleEndian.AppendUint32(b, uint32(r.Date))
	b = binary.LittleEndian.AppendUint64(b, packAmount(r.Amount))
	return append(b, r.ID...)
}

func (p packed) line() int64      { return int64(binary.LittleEndian.Uint64(p[packedLine:])) }
func (p packed) user() int32      { return int32(binary.LittleEndian.Uint32(p[packedUser:])) }
func (p packed) date() civil.Date { return civil.Date(binary.LittleEndian.Uint32(p[packedDate:])) }
func (p packed) amount() money.Amount {
	return unpackAmount(binary.LittleEndian.Uint64(p[packedAmount:]))
}
func (p packed) id() []byte { return p[packedID:] }

// sameValues tells a duplicate from a conflict: user, date and amount.
func (p packed) sameValues(q packed) bool {
	return bytes.Equal(p[packedUser:packedID], q[packedUser:packedID])
}

// packAmount holds an amount in a number: 51 bits of it, and three of its scale. Equal
// amounts give equal numbers.
func packAmount(a money.Amount) uint64 { return uint64(a.Unscaled)<<3 | uint64(a.Scale) }

func unpackAmount(n uint64) money.Amount {
	return money.Amount{Unscaled: int64(n) >> 3, Scale: uint8(n & 7)}
}

// startKey is the first eight bytes, as a number that sorts as they do. What is
// shorter is filled up with zeros, which an id cannot hold.
func startKey(b []byte) uint64 {
	if len(b) >= 8 {
		return binary.BigEndian.Uint64(b)
	}
	var full [8]byte
	copy(full[:], b)
	return binary.BigEndian.Uint64(full[:])
}

// byID is the order in which the rows of one id stand together, the first one of
// the file in front, and in which the keys' index is filled from left to right.
func byID() extsort.Order {
	return extsort.Order{
		Key: func(r []byte) uint64 { return startKey(packed(r).id()) },
		Rest: func(a, b []byte) int {
			if c := bytes.Compare(packed(a).id(), packed(b).id()); c != 0 {
				return c
			}
			return cmp.Compare(packed(a).line(), packed(b).line())
		},
	}
}

// byPlace is the order of the partitions, and in each that of its primary key.
func byPlace() extsort.Order {
	return extsort.Order{
		Key: func(r []byte) uint64 {
			p := packed(r)
			month, day := p.date().Split()
			return uint64(month)<<36 | uint64(p.user())<<5 | uint64(day)
		},
		Rest: func(a, b []byte) int { return cmp.Compare(packed(a).line(), packed(b).line()) },
	}
}
