package parquet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
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
	// decimals of amounts and totals, as many as an amount has.
	decimals = 4
	// amountDigits is the precision of any decimal in 64 bits, and the one that Spark
	// reads such a column with.
	amountDigits = 18
	// totalDigits is what Spark gives a sum of DECIMAL(18,4), and within BigQuery's
	// NUMERIC.
	totalDigits = 28
	totalBytes  = 12
	// postgresEpoch is 2000-01-01, from which PostgreSQL counts days.
	postgresEpoch = 10957
)

const amountLimit = 1_000_000_000_000_000_000 // 10^amountDigits

// column is one column's values of a page.
type column struct {
	name string
	kind kind

	ints  []int32 // integer, date
	longs []int64 // bigint, amount
	text  []byte  // text, one after the other
	ends  []int32 // of each in text
	wide  []byte  // total, totalBytes each

	sum money.Sum // of amount and total, over all pages
}

// add takes a value in PostgreSQL's binary form.
func (c *column) add(value []byte) error {
	if value == nil {
		return fmt.Errorf("column %s has a NULL", c.name)
	}
	switch c.kind {
	case integer:
		c.ints = append(c.ints, int32(binary.BigEndian.Uint32(value)))
	case date:
		return c.addDate(int32(binary.BigEndian.Uint32(value)))
	case bigint:
		c.longs = append(c.longs, int64(binary.BigEndian.Uint64(value)))
	case text:
		c.text = append(c.text, value...)
		c.ends = append(c.ends, int32(len(c.text)))
	case amount:
		return c.addAmount(math.Float64frombits(binary.BigEndian.Uint64(value)))
	case total:
		return c.addTotal(value)
	}
	return nil
}

func (c *column) addDate(days int32) error {
	if days == math.MaxInt32 || days == math.MinInt32 {
		return fmt.Errorf("column %s is infinite", c.name)
	}
	c.ints = append(c.ints, days+postgresEpoch)
	return nil
}

func (c *column) addAmount(f float64) error {
	unscaled, err := unscaledAmount(f)
	if err != nil {
		return err
	}
	c.longs = append(c.longs, unscaled)
	c.sum = c.sum.Plus(money.NewSum(unscaled, decimals))
	return nil
}

// unscaledAmount is the decimal that a stored float stands for, in ten-thousandths.
func unscaledAmount(f float64) (int64, error) {
	// Below this the product is off by less than a half, and of the decimals of 15
	// digits no two are one float, so the one that gives f back is it.
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
	high, low := sum.Words()
	var whole [16]byte
	binary.BigEndian.PutUint64(whole[:], uint64(high))
	binary.BigEndian.PutUint64(whole[8:], low)
	if !fits(high, low) {
		return fmt.Errorf("column %s: %s does not fit DECIMAL(%d,%d)", c.name, sum, totalDigits, decimals)
	}
	c.wide = append(c.wide, whole[len(whole)-totalBytes:]...)
	c.sum = c.sum.Plus(sum)
	return nil
}

// fits reports whether 128 bits are a decimal of at most totalDigits.
func fits(high int64, low uint64) bool {
	if high == int64(low)>>63 {
		return true
	}
	v := new(big.Int).Lsh(big.NewInt(high), 64)
	v.Add(v, new(big.Int).SetUint64(low))
	return v.CmpAbs(new(big.Int).Exp(big.NewInt(10), big.NewInt(totalDigits), nil)) < 0
}

// clear forgets the values, and keeps the sum.
func (c *column) clear() {
	c.ints, c.longs, c.text, c.ends, c.wide = c.ints[:0], c.longs[:0], c.text[:0], c.ends[:0], c.wide[:0]
}

// encode appends the page's values.
func (c *column) encode(b []byte) []byte {
	switch c.kind {
	case integer, date:
		return appendDeltas(b, c.ints)
	case bigint:
		return appendDeltas(b, c.longs)
	case text:
		return appendTexts(b, c.ends, c.text)
	case amount:
		return appendPlain(b, c.longs)
	case total:
		return append(b, c.wide...)
	}
	return b
}

// bounds are the minimum and the maximum, as the library compares them: int32, int64, or
// a string of bytes.
func (c *column) bounds() (minimum, maximum any) {
	switch c.kind {
	case integer, date:
		return slices.Min(c.ints), slices.Max(c.ints)
	case bigint, amount:
		return slices.Min(c.longs), slices.Max(c.longs)
	case text:
		return c.textBounds()
	case total:
		return c.wideBounds()
	}
	return nil, nil
}

func (c *column) textBounds() (minimum, maximum string) {
	start := int32(0)
	low, high := c.text[:c.ends[0]], c.text[:c.ends[0]]
	for _, end := range c.ends {
		v := c.text[start:end]
		start = end
		if bytes.Compare(v, low) < 0 {
			low = v
		}
		if bytes.Compare(v, high) > 0 {
			high = v
		}
	}
	return string(low), string(high)
}

func (c *column) wideBounds() (minimum, maximum string) {
	low, high := c.wide[:totalBytes], c.wide[:totalBytes]
	for v := range slices.Chunk(c.wide, totalBytes) {
		if compareSigned(v, low) < 0 {
			low = v
		}
		if compareSigned(v, high) > 0 {
			high = v
		}
	}
	return string(low), string(high)
}

// compareSigned compares two's complements of one length, the highest byte first.
func compareSigned(a, b []byte) int {
	if a[0]^b[0] >= 0x80 { // one is below zero
		return int(int8(a[0])) - int(int8(b[0]))
	}
	return bytes.Compare(a, b)
}

func parseDate(value []byte) (civil.Date, error) {
	if len(value) != 4 {
		return 0, errors.New("a value that is no DATE")
	}
	return civil.Date(binary.BigEndian.Uint32(value) + postgresEpoch), nil
}
