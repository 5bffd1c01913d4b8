package pgcopy

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

const (
	numericNegative = 0x4000
	numericBase     = 10_000 // of PostgreSQL's digits
)

// Numeric is a NUMERIC of 128 bits in ten-thousandths, in two's complement: hi × 2^64 + lo.
func (w *Writer) Numeric(hi int64, lo uint64) { w.page = AppendNumeric(w.page, hi, lo) }

// AppendNumeric appends a NUMERIC of 128 bits in ten-thousandths, with as many
// decimals as it needs: a digit of PostgreSQL's has four places, so the last one is
// what comes after the point.
func AppendNumeric(b []byte, hi int64, lo uint64) []byte {
	sign, h := uint16(0), uint64(hi)
	if hi < 0 {
		var borrow uint64
		sign = numericNegative
		lo, borrow = bits.Sub64(0, lo, 0)
		h, _ = bits.Sub64(0, h, borrow)
	}
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
// PostgreSQL's binary form as 128 bits of ten-thousandths. One that is not finite, has
// further decimals or does not fit is an error.
func ParseNumeric(b []byte) (hi int64, lo uint64, err error) {
	if len(b) < 8 || len(b) != 8+2*int(binary.BigEndian.Uint16(b)) {
		return 0, 0, errors.New("no NUMERIC")
	}
	weight, sign := int(int16(binary.BigEndian.Uint16(b[2:]))), binary.BigEndian.Uint16(b[4:])
	if sign != 0 && sign != numericNegative {
		return 0, 0, errors.New("a NUMERIC that is not finite")
	}
	digits := b[8:]
	var h uint64
	for ; weight >= -1 || len(digits) > 0; weight-- {
		digit := uint64(0)
		if len(digits) > 0 {
			digit, digits = uint64(binary.BigEndian.Uint16(digits)), digits[2:]
		}
		if weight < -1 {
			if digit != 0 {
				return 0, 0, errors.New("a NUMERIC of more than 4 decimals")
			}
			continue
		}
		over, high := bits.Mul64(h, numericBase)
		carry, low := bits.Mul64(lo, numericBase)
		var more uint64
		lo, more = bits.Add64(low, digit, 0)
		h, more = bits.Add64(high, carry, more)
		if over|more != 0 || h>>63 != 0 {
			return 0, 0, errors.New("a NUMERIC of more than 128 bits")
		}
	}
	if sign == numericNegative {
		var borrow uint64
		lo, borrow = bits.Sub64(0, lo, 0)
		h, _ = bits.Sub64(0, h, borrow)
	}
	return int64(h), lo, nil
}
