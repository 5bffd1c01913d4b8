// Package money has exact decimals: the amount of one transaction, and sums of amounts.
// Neither ever passes through a float but where a float is stored, and then exactly.
package money

import (
	"fmt"
	"math"
	"strconv"
)

// MaxDecimals is the most decimals that an amount has, and so a sum.
const MaxDecimals = 4

// Amount is an exact decimal, Unscaled / 10^Scale, of at most 15 digits and 4
// decimals, so that it survives a FLOAT column unchanged. It is normalized:
// equal amounts are equal structs, with no trailing zero decimals and no
// negative zero.
type Amount struct {
	Unscaled int64
	Scale    uint8
}

var powersOfTen = [MaxDecimals + 1]float64{1, 10, 100, 1000, 10000}

// UnscaledLimit is the first unscaled value of more than 15 digits.
const UnscaledLimit = 1_000_000_000_000_000

// FromFloat is the amount that a stored float stands for: the shortest decimal that
// gives it. A float that is none of an amount's is an error.
func FromFloat(f float64) (Amount, error) {
	for scale := range uint8(MaxDecimals + 1) {
		scaled := math.Round(f * powersOfTen[scale])
		if a := (Amount{int64(scaled), scale}); math.Abs(scaled) < UnscaledLimit && a.Float64() == f {
			return a, nil
		}
	}
	return Amount{}, fmt.Errorf("amount %s is none that Tally stores", strconv.FormatFloat(f, 'f', -1, 64))
}

// Float64 is the double nearest to the amount. Both operands are exact below
// 2^53, and IEEE division rounds correctly.
func (a Amount) Float64() float64 { return float64(a.Unscaled) / powersOfTen[a.Scale] }

// Sum is the amount as a sum of one.
func (a Amount) Sum() Sum { return NewSum(a.Unscaled, a.Scale) }

// String is the exact decimal, such as -3437.55: the shortest one that its float stands for.
func (a Amount) String() string { return strconv.FormatFloat(a.Float64(), 'f', -1, 64) }
