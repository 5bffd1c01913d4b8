package parquet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/pgcopy"
)

// A kind is a column's type in PostgreSQL and in the file.
type kind int

const (
	integer kind = iota // INT: INT32
	bigint              // BIGINT: INT64
	date                // DATE: INT32, DATE
	text                // VARCHAR: BYTE_ARRAY, STRING
	amount              // FLOAT: INT64, DECIMAL(18,4)
	total               // NUMERIC: FIXED_LEN_BYTE_ARRAY(12), DECIMAL(28,4)
)

const (
	decimals     = 4  // of amounts and totals: an amount has no more
	amountDigits = 18 // of any decimal in 64 bits; Spark reads such a column with this precision
	totalDigits  = 28 // of Spark's sum of DECIMAL(18,4); BigQuery's NUMERIC holds it
	totalBytes   = 12
)

// The first unscaled values that do not fit.
const (
	amountLimit = 1_000_000_000_000_000_000
	totalLimit  = 10_000_000_000_000_000_000_000_000_000
)

// column holds one column's values of a page.
type column struct {
	name string
	kind kind

	ints  []int64 // integer, bigint, date (days since 1970-01-01), amount (unscaled)
	bytes []byte  // text and total, concatenated
	ends  []int32 // of each value in bytes

	sum money.Sum // of amount and total, over all pages
}

// add takes a value in PostgreSQL's binary form.
func (c *column) add(value []byte) error {
	if value == nil {
		return fmt.Errorf("column %s has a NULL", c.name)
	}
	switch c.kind {
	case integer:
		c.ints = append(c.ints, int64(int32(binary.BigEndian.Uint32(value))))
	case bigint:
		c.ints = append(c.ints, int64(binary.BigEndian.Uint64(value)))
	case date:
		days := int32(binary.BigEndian.Uint32(value))
		if days == math.MaxInt32 || days == math.MinInt32 {
			return fmt.Errorf("column %s is infinite", c.name)
		}
		c.ints = append(c.ints, int64(days+pgcopy.Epoch))
	case text:
		c.addBytes(value)
	case amount:
		unscaled, err := unscaledAmount(math.Float64frombits(binary.BigEndian.Uint64(value)))
		if err != nil {
			return err
		}
		c.ints = append(c.ints, unscaled)
		c.sum = c.sum.Plus(money.NewSum(unscaled, decimals))
	case total:
		return c.addTotal(value)
	}
	return nil
}

func (c *column) addBytes(value []byte) {
	c.bytes = append(c.bytes, value...)
	c.ends = append(c.ends, int32(len(c.bytes)))
}

// unscaledAmount is the decimal that a stored float represents, in ten-thousandths.
func unscaledAmount(f float64) (int64, error) {
	// Below this the product is off by less than a half. No two decimals of 15 digits are
	// the same float, so a decimal that converts back to f is the right one.
	const exact = 1e11
	if rounded := math.Round(f * 1e4); math.Abs(f) < exact && rounded/1e4 == f {
		return int64(rounded), nil
	}
	a, err := money.FromFloat(f)
	if err != nil {
		return 0, err
	}
	high, low := a.Sum().Words()
	unscaled := int64(low)
	if high != unscaled>>63 || unscaled >= amountLimit || unscaled <= -amountLimit {
		return 0, fmt.Errorf("amount %s does not fit DECIMAL(%d,%d)", a, amountDigits, decimals)
	}
	return unscaled, nil
}

func (c *column) addTotal(value []byte) error {
	sum, err := pgcopy.ParseNumeric(value)
	if err != nil {
		return fmt.Errorf("column %s: %w", c.name, err)
	}
	if !fits(sum) {
		return fmt.Errorf("column %s: %s does not fit DECIMAL(%d,%d)", c.name, sum, totalDigits, decimals)
	}
	high, low := sum.Words()
	var words [16]byte
	binary.BigEndian.PutUint64(words[:], uint64(high))
	binary.BigEndian.PutUint64(words[8:], low)
	c.addBytes(words[len(words)-totalBytes:])
	c.sum = c.sum.Plus(sum)
	return nil
}

// fits reports whether a sum has at most totalDigits.
func fits(s money.Sum) bool {
	if high, _ := s.Words(); high < 0 {
		s = s.Neg()
	}
	const limitHigh, limitLow = totalLimit >> 64, totalLimit & math.MaxUint64
	high, low := s.Words()
	return uint64(high) < limitHigh || high == limitHigh && low < limitLow
}

// clear drops the values and keeps the sum.
func (c *column) clear() { c.ints, c.bytes, c.ends = c.ints[:0], c.bytes[:0], c.ends[:0] }

// encode appends the page's values, all but integers as PLAIN: a text comes after its length.
func (c *column) encode(b []byte) []byte {
	switch c.kind {
	case integer, date:
		return appendDeltas(b, c.ints, 32)
	case bigint:
		return appendDeltas(b, c.ints, 64)
	case amount:
		for _, v := range c.ints {
			b = binary.LittleEndian.AppendUint64(b, uint64(v))
		}
	case text:
		start := int32(0)
		for _, end := range c.ends {
			b = binary.LittleEndian.AppendUint32(b, uint32(end-start))
			b = append(b, c.bytes[start:end]...)
			start = end
		}
	case total:
		b = append(b, c.bytes...)
	}
	return b
}

// bounds are the minimum and the maximum, as the library compares them: int32, int64, or
// a string of bytes.
func (c *column) bounds() (minimum, maximum any) {
	switch c.kind {
	case integer, date:
		return int32(slices.Min(c.ints)), int32(slices.Max(c.ints))
	case bigint, amount:
		return slices.Min(c.ints), slices.Max(c.ints)
	case total:
		return c.byteBounds(compareSigned)
	default:
		return c.byteBounds(bytes.Compare)
	}
}

func (c *column) byteBounds(compare func(a, b []byte) int) (minimum, maximum string) {
	start, low, high := int32(0), c.bytes[:c.ends[0]], c.bytes[:c.ends[0]]
	for _, end := range c.ends {
		v := c.bytes[start:end]
		start = end
		if compare(v, low) < 0 {
			low = v
		}
		if compare(v, high) > 0 {
			high = v
		}
	}
	return string(low), string(high)
}

// compareSigned compares two's complements of one length, most significant byte first.
func compareSigned(a, b []byte) int {
	if a[0]^b[0] >= 0x80 { // one is negative
		return int(int8(a[0])) - int(int8(b[0]))
	}
	return bytes.Compare(a, b)
}

func parseDate(value []byte) (civil.Date, error) {
	if len(value) != 4 {
		return 0, errors.New("the value is not a DATE")
	}
	return civil.Date(binary.BigEndian.Uint32(value) + pgcopy.Epoch), nil
}
