// Package synthetic writes files with the kinds of dirt that real ones have, for
// samples, tests and benchmarks.
package synthetic

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"

	"github.com/opentax/tally/internal/civil"
)

// File describes a file with the dirt of real ones: blank amounts (19.6 %) and dates
// (1.1 %), dates in four shapes, amounts with and without a dollar sign, zeros and
// negatives, rows that come twice (1.5 %) and ids that come again with other values
// (2 %).
//
// A row depends only on its index, Users and Seed, so that the same description
// always gives the same bytes, and a longer file starts with the shorter one.
type File struct {
	Rows  int64  // rows below the header
	Users int    // user ids are 1001 … 1000+Users; 0: 1000
	Seed  uint64 // files of different seeds have different ids, but for rare accidents
}

// All generated dates are within a year that ends on 2025-02-12.
const (
	generatedFrom = civil.Date(19766) // 2024-02-13
	generatedDays = 366
)

const (
	firstUser    = 1001
	defaultUsers = 1000

	// Ids are TXN and ten digits: index × idStep + offset, modulo idCount. The
	// step is prime to the modulus, so no id comes twice by accident. The
	// product stays below 2^64.
	idCount = 10_000_000_000
	idStep  = 618_033_989
)

// Check names the field that makes no sense.
func (f File) Check() error {
	if f.Rows < 0 || f.Rows > idCount {
		return fmt.Errorf("synthetic file: rows is %d, want 0 to %d", f.Rows, int64(idCount))
	}
	if f.Users < 0 || f.Users > 1<<31-firstUser {
		return fmt.Errorf("synthetic file: users is %d, want 0 (for %d) to %d", f.Users, defaultUsers, 1<<31-firstUser)
	}
	return nil
}

// Write writes the file in constant memory. It stops with the context's
// error, or with that of w.
func Write(ctx context.Context, w io.Writer, f File) error {
	if err := f.Check(); err != nil {
		return err
	}
	if f.Users == 0 {
		f.Users = defaultUsers
	}
	const flushAt = 64 << 10
	m := maker{f: f, offset: rand.New(rand.NewPCG(f.Seed, 1)).Uint64N(idCount)}
	buf := make([]byte, 0, flushAt+256)
	buf = append(buf, "transaction_id,user_id,amount,transaction_date\n"...)
	for i := range f.Rows {
		buf = m.row(buf, i)
		if len(buf) < flushAt {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			return fmt.Errorf("generate: %w", err)
		}
		if _, err := w.Write(buf); err != nil {
			return fmt.Errorf("generate: %w", err)
		}
		buf = buf[:0]
	}
	if _, err := w.Write(buf); err != nil {
		return fmt.Errorf("generate: %w", err)
	}
	return nil
}

// maker derives rows from their index.
type maker struct {
	f      File
	offset uint64
	random rand.PCG
}

// kind is what a row is to the rows before it.
type kind uint8

const (
	kindNew   kind = iota
	kindAgain      // an earlier row once more
	kindClash      // an earlier row's id with other values
)

// start seeds the random numbers of a row, and draws its kind.
func (m *maker) start(i int64) kind {
	m.random.Seed(m.f.Seed, uint64(i)*0x9e3779b97f4a7c15)
	switch n := m.below(10_000); {
	case i == 0 || n >= 345:
		return kindNew
	case n < 148:
		return kindAgain
	default:
		return kindClash
	}
}

// below is a random number from 0 to n-1. Its bias, n in 2^32, does not show.
func (m *maker) below(n uint64) uint64 { return m.random.Uint64() >> 32 * n >> 32 }

func (m *maker) row(b []byte, i int64) []byte {
	id := i
	kind := m.start(i)
	if kind != kindNew {
		id = m.earlier(i)
	}
	if kind == kindClash {
		m.start(i) // earlier left another row's random numbers behind
	}
	b = m.id(b, id)
	b = append(b, ',')
	b = strconv.AppendUint(b, firstUser+m.below(uint64(m.f.Users)), 10)
	b = append(b, ',')
	b = m.amount(b)
	b = append(b, ',')
	b = m.date(b)
	return append(b, '\n')
}

// earlier picks a row before i that is new, and leaves its random numbers
// ready to be drawn again. Row 0 is new, so there is one.
func (m *maker) earlier(i int64) int64 {
	j := int64(m.random.Uint64() % uint64(i))
	for m.start(j) != kindNew {
		j--
	}
	return j
}

func (m *maker) id(b []byte, i int64) []byte {
	n := (uint64(i)*idStep + m.offset) % idCount
	b = append(b, "TXN0000000000"...)
	for p := len(b) - 1; n > 0; p-- {
		b[p] = byte('0' + n%10)
		n /= 10
	}
	return b
}

func (m *maker) amount(b []byte) []byte {
	switch n := m.below(1000); {
	case n < 196:
		return b
	case n < 370:
		return append(b, "0.0"...)
	case n < 573:
		return appendCents(append(b, '-'), 1+m.below(499_999))
	case n < 792:
		b = strconv.AppendUint(append(b, '$'), 1+m.below(4999), 10)
		return append(b, ".00"...)
	default:
		return appendCents(b, 1+m.below(499_999))
	}
}

// appendCents writes at least one decimal and no trailing zero after it, as
// many programs print a float.
func appendCents(b []byte, cents uint64) []byte {
	b = append(strconv.AppendUint(b, cents/100, 10), '.', byte('0'+cents/10%10))
	if cents%10 != 0 {
		b = append(b, byte('0'+cents%10))
	}
	return b
}

func (m *maker) date(b []byte) []byte {
	if m.below(1000) < 11 {
		return b
	}
	year, month, day := (generatedFrom + civil.Date(m.below(generatedDays))).Time().Date()
	y, mo, d := year, int(month), day
	switch m.below(4) {
	case 0:
		return twoDigits(append(twoDigits(append(strconv.AppendInt(b, int64(y), 10), '-'), mo), '-'), d)
	case 1:
		return twoDigits(append(twoDigits(append(strconv.AppendInt(b, int64(y), 10), '/'), mo), '/'), d)
	case 2:
		return strconv.AppendInt(append(twoDigits(append(twoDigits(b, mo), '/'), d), '/'), int64(y), 10)
	default:
		return strconv.AppendInt(append(twoDigits(append(twoDigits(b, d), '-'), mo), '-'), int64(y), 10)
	}
}

func twoDigits(b []byte, n int) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }
