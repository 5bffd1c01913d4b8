package money

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"math/big"
	"math/bits"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
)

// jsonDecimals is how many decimals a sum has at least as JSON, and an average at most.
const jsonDecimals = 2

// Sum is an exact sum of amounts: 128 bits of ten-thousandths, which holds 10^19
// amounts of the largest there are (15 digits). Its zero value is zero.
type Sum struct {
	hi int64
	lo uint64
}

// NewSum is unscaled / 10^scale, of at most 4 decimals.
func NewSum(unscaled int64, scale uint8) Sum {
	factor := uint64(powersOfTen[MaxDecimals-scale])
	hi, lo := bits.Mul64(uint64(unscaled), factor)
	if unscaled < 0 {
		hi -= factor // its two's complement is 2^64 more
	}
	return Sum{int64(hi), lo}
}

// FromWords is a sum of 128 bits of ten-thousandths, in two's complement.
func FromWords(hi int64, lo uint64) Sum { return Sum{hi, lo} }

// Words are the sum's 128 bits of ten-thousandths, in two's complement.
func (s Sum) Words() (hi int64, lo uint64) { return s.hi, s.lo }

// Parse reads a decimal such as -3437.55, of at most 4 decimals that are not 0.
func Parse(text string) (Sum, error) {
	whole, fraction, _ := strings.Cut(text, ".")
	fraction = strings.TrimRight(fraction, "0")
	if len(fraction) > MaxDecimals {
		return Sum{}, fmt.Errorf("%q has more than %d decimals", text, MaxDecimals)
	}
	unscaled, ok := new(big.Int).SetString(whole+fraction+strings.Repeat("0", MaxDecimals-len(fraction)), 10)
	if !ok || whole == "" || whole == "-" {
		return Sum{}, fmt.Errorf("%q is no decimal", text)
	}
	return fromBig(unscaled)
}

// MustParse is Parse of a constant; it panics where that is no decimal.
func MustParse(text string) Sum {
	s, err := Parse(text)
	if err != nil {
		panic("money: " + err.Error())
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
func (s Sum) Minus(t Sum) Sum { return s.Plus(t.Neg()) }

// Neg is -s.
func (s Sum) Neg() Sum {
	lo, borrow := bits.Sub64(0, s.lo, 0)
	hi, _ := bits.Sub64(0, uint64(s.hi), borrow)
	return Sum{int64(hi), lo}
}

// Average is s / n, rounded half away from zero to two decimals. The division is exact
// before it is rounded, so 0.005 never turns into 0.00 by way of 0.00499….
func (s Sum) Average(n int64) Sum {
	const unit = 100 // ten-thousandths of the last decimal
	negative := s.hi < 0
	if negative {
		s = s.Neg()
	}
	divisor := new(big.Int).Mul(big.NewInt(n), big.NewInt(unit))
	rounded := s.big()
	rounded.Add(rounded, new(big.Int).Rsh(divisor, 1)).Quo(rounded, divisor).Mul(rounded, big.NewInt(unit))
	average, _ := fromBig(rounded) // is no larger than s, but for what rounding adds to cents
	if negative {
		average = average.Neg()
	}
	return average
}

// String is the exact decimal without trailing zeros.
func (s Sum) String() string { return string(s.append(nil, 0)) }

// AppendJSON appends a number with at least two decimals, and more only where the sum
// has more: 10240.50, -3.00, 0.125.
func (s Sum) AppendJSON(b []byte) []byte { return s.append(b, jsonDecimals) }

// MarshalJSON writes what AppendJSON appends.
func (s Sum) MarshalJSON() ([]byte, error) { return s.AppendJSON(nil), nil }

// UnmarshalJSON reads a number without an exponent.
func (s *Sum) UnmarshalJSON(b []byte) error { return s.parse(string(b)) }

// Scan reads a column of type NUMERIC.
func (s *Sum) Scan(src any) error {
	switch v := src.(type) {
	case string:
		return s.parse(v)
	case []byte:
		return s.parse(string(v))
	}
	return fmt.Errorf("scan %T into a sum", src)
}

// ScanNumeric reads a column of type NUMERIC without a detour by its text.
func (s *Sum) ScanNumeric(n pgtype.Numeric) error {
	if !n.Valid || n.NaN || n.InfinityModifier != pgtype.Finite {
		return errors.New("scan a NUMERIC that is NULL or not finite into a sum")
	}
	v, exponent := n.Int, n.Exp+MaxDecimals
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(exponent, -exponent))), nil)
	if exponent >= 0 {
		v = new(big.Int).Mul(v, power)
	} else {
		var rest *big.Int
		if v, rest = new(big.Int).QuoRem(v, power, new(big.Int)); rest.Sign() != 0 {
			return fmt.Errorf("scan a NUMERIC of more than %d decimals into a sum", MaxDecimals)
		}
	}
	sum, err := fromBig(v)
	*s = sum
	return err
}

// Value hands the database the exact decimal.
func (s Sum) Value() (driver.Value, error) { return s.String(), nil }

func (s *Sum) parse(text string) error {
	sum, err := Parse(text)
	*s = sum
	return err
}

// big is the sum in ten-thousandths.
func (s Sum) big() *big.Int {
	v := new(big.Int).Lsh(big.NewInt(s.hi), 64)
	return v.Add(v, new(big.Int).SetUint64(s.lo))
}

func fromBig(v *big.Int) (Sum, error) {
	if v.BitLen() > 127 {
		return Sum{}, errors.New("a sum of more than 128 bits")
	}
	lo := new(big.Int).And(v, new(big.Int).SetUint64(1<<64-1)).Uint64()
	return Sum{new(big.Int).Rsh(v, 64).Int64(), lo}, nil
}

// append appends the decimal with at least as many decimals as are asked for.
func (s Sum) append(b []byte, decimals int) []byte {
	digits := s.big()
	if digits.Sign() < 0 {
		b = append(b, '-')
		digits.Neg(digits)
	}
	text := fmt.Sprintf("%0*d", MaxDecimals+1, digits)
	whole, fraction := text[:len(text)-MaxDecimals], text[len(text)-MaxDecimals:]
	for len(fraction) > decimals && fraction[len(fraction)-1] == '0' {
		fraction = fraction[:len(fraction)-1]
	}
	b = append(b, whole...)
	if fraction == "" {
		return b
	}
	return append(append(b, '.'), fraction...)
}
