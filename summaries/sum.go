package summaries

import (
	"math/big"
	"math/bits"

	"github.com/shopspring/decimal"
)

// Sum is an exact sum of amounts: 128 bits of ten-thousandths, which holds 10^19
// amounts of the largest there are (15 digits). Its zero value is zero.
type Sum struct {
	hi int64
	lo uint64
}

// decimals of a Sum, the most that an amount has.
const decimals = 4

var tenThousandths = [decimals + 1]uint64{10_000, 1000, 100, 10, 1}

// NewSum is unscaled / 10^scale, of at most 4 decimals.
func NewSum(unscaled int64, scale uint8) Sum {
	magnitude := uint64(unscaled)
	if unscaled < 0 {
		magnitude = -magnitude
	}
	hi, lo := bits.Mul64(magnitude, tenThousandths[scale])
	s := Sum{int64(hi), lo}
	if unscaled < 0 {
		return s.neg()
	}
	return s
}

// Plus is s + t.
func (s Sum) Plus(t Sum) Sum {
	lo, carry := bits.Add64(s.lo, t.lo, 0)
	hi, _ := bits.Add64(uint64(s.hi), uint64(t.hi), carry)
	return Sum{int64(hi), lo}
}

// Minus is s - t.
func (s Sum) Minus(t Sum) Sum { return s.Plus(t.neg()) }

func (s Sum) neg() Sum {
	lo, borrow := bits.Sub64(0, s.lo, 0)
	hi, _ := bits.Sub64(0, uint64(s.hi), borrow)
	return Sum{int64(hi), lo}
}

// String is the exact decimal without trailing zeros.
func (s Sum) String() string {
	v := new(big.Int).Lsh(big.NewInt(s.hi), 64)
	v.Add(v, new(big.Int).SetUint64(s.lo))
	return decimal.NewFromBigInt(v, -decimals).String()
}

// SumOf is a sum of 128 bits of ten-thousandths, as two's complement.
func SumOf(hi int64, lo uint64) Sum { return Sum{hi, lo} }

// Words are the sum's 128 bits.
func (s Sum) Words() (hi int64, lo uint64) { return s.hi, s.lo }
