package pgcopy

import (
	"encoding/binary"
	"errors"
	"math/bits"

	"github.com/opentax/tally/internal/money"
)

const (
	numericNegative = 0x4000
	numericBase     = 10_000 // of PostgreSQL's digits
)

// Numeric is a NUMERIC.
func (w *Writer) Numeric(s money.Sum) { w.page = AppendNumeric(w.page, s) }

// AppendNumeric appends a NUMERIC with as many decimals as it needs: a digit of
// PostgreSQL's has four places, so the last one is what comes after the point.
func AppendNumeric(b []byte, s money.Sum) []byte {
	sign := uint16(0)
	high, lo := s.Words()
	if high < 0 {
		sign = numericNegative
		high, lo = s.Neg().Words()
	}
	h := uint64(high)
	var digits [11]uint16 // 2^127 has 39 places
	first := len(digits)
	for h|lo != 0 {
		var r uint64
		h, r = h/numericBase, h%numericBase
		lo, r = bits.Div64(r, lo, numericBase)
		first--
		digits[first] = uint16(r)
	}
	scale := uint16(0)
	if last := digits[len(digits)-1]; last != 0 {
		for scale = 4; last%10 == 0; last /= 10 {
			scale--
		}
	}
	weight := len(digits) - 2 - first // of the first digit: 0 is the ones
	end := len(digits)
	for end > first && digits[end-1] == 0 {
		end--
	}
	if first == end {
		first, end, weight, sign = 0, 0, 0, 0
	}
	b = binary.BigEndian.AppendUint32(b, uint32(8+2*(end-first)))
	b = binary.BigEndian.AppendUint16(b, uint16(end-first))
	b = binary.BigEndian.AppendUint16(b, uint16(int16(weight)))
	b = binary.BigEndian.AppendUint16(b, sign)
	b = binary.BigEndian.AppendUint16(b, scale)
	for _, d := range digits[first:end] {
		b = binary.BigEndian.AppendUint16(b, d)
	}
	return b
}

// ParseNumeric is the opposite of AppendNumeric, without the length: a NUMERIC in
// PostgreSQL's binary form. One that is not finite, has more than 4 decimals or does not
// fit is an error.
func ParseNumeric(b []byte) (money.Sum, error) {
	if len(b) < 8 || len(b) != 8+2*int(binary.BigEndian.Uint16(b)) {
		return money.Sum{}, errors.New("no NUMERIC")
	}
	weight, sign := int(int16(binary.BigEndian.Uint16(b[2:]))), binary.BigEndian.Uint16(b[4:])
	if sign != 0 && sign != numericNegative {
		return money.Sum{}, errors.New("a NUMERIC that is not finite")
	}
	digits := b[8:]
	var h, lo uint64
	for ; weight >= -1 || len(digits) > 0; weight-- {
		digit := uint64(0)
		if len(digits) > 0 {
			digit, digits = uint64(binary.BigEndian.Uint16(digits)), digits[2:]
		}
		if weight < -1 {
			if digit != 0 {
				return money.Sum{}, errors.New("a NUMERIC of more than 4 decimals")
			}
			continue
		}
		over, high := bits.Mul64(h, numericBase)
		carry, low := bits.Mul64(lo, numericBase)
		var more uint64
		lo, more = bits.Add64(low, digit, 0)
		h, more = bits.Add64(high, carry, more)
		if over|more != 0 || h>>63 != 0 {
			return money.Sum{}, errors.New("a NUMERIC of more than 128 bits")
		}
	}
	s := money.FromWords(int64(h), lo)
	if sign == numericNegative {
		s = s.Neg()
	}
	return s, nil
}
