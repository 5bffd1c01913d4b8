package summaries

import (
	"context"
	"encoding/binary"
	"errors"
	"io"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"

	"github.com/opentax/tally/internal/extsort"
)

// Deltas is what a load changes of the rollups: for each user, each month of a user and each day, the
// transactions that came and went, and by how much the amount moves. Its memory
// is bounded, however many users there are. It is for one goroutine, and is to be
// closed.
type Deltas struct {
	totals
	users  *deltaTable
	months *deltaTable
	days   *deltaTable
}

// totals are those of the rows that came.
type totals struct {
	came   int64
	amount money.Sum
}

// maxDeltas bounds the users whose deltas are in memory at once, at 40 bytes a
// place of a table that is at most three quarters full. Of users' months there are
// nearly as many as rows, so that a large table of them would sum next to nothing.
const (
	maxDeltas      = 3 << 18
	maxMonthDeltas = 3 << 14
)

// NewDeltas makes an empty set; ctx ends what it writes to disk.
func NewDeltas(ctx context.Context) *Deltas {
	return &Deltas{users: newDeltaTable(ctx, maxDeltas), months: newDeltaTable(ctx, maxMonthDeltas), days: newDeltaTable(ctx, maxDeltas)}
}

// Add notes a transaction that came.
func (d *Deltas) Add(user int32, date civil.Date, amount money.Sum) error {
	d.came++
	d.amount = d.amount.Plus(amount)
	return d.note(user, date, delta{came: 1, amount: amount})
}

// Remove notes a transaction that went.
func (d *Deltas) Remove(user int32, date civil.Date, amount money.Sum) error {
	return d.note(user, date, delta{went: 1, amount: amount.Neg()})
}

func (d *Deltas) note(user int32, date civil.Date, change delta) error {
	for _, to := range [...]struct {
		table *deltaTable
		key   int64
	}{{d.users, int64(user)}, {d.months, monthKey(user, date.Month())}, {d.days, int64(date)}} {
		change.key = to.key
		if err := to.table.add(change); err != nil {
			return err
		}
	}
	return nil
}

// Came counts the transactions that came.
func (d *Deltas) Came() int64 { return d.came }

// Amount is the sum of those that came.
func (d *Deltas) Amount() money.Sum { return d.amount }

// Close gives memory and files back.
func (d *Deltas) Close() {
	d.users.sorter.Close()
	d.months.sorter.Close()
	d.days.sorter.Close()
}

// delta is the change of one row of a rollup.
type delta struct {
	key        int64
	came, went int64
	amount     money.Sum
}

func (d delta) plus(e delta) delta {
	d.came, d.went, d.amount = d.came+e.came, d.went+e.went, d.amount.Plus(e.amount)
	return d
}

func (d delta) transactions() int64 { return d.came - d.went }

// deltaTable sums deltas by key: a hash table with open addressing, whose content
// goes to a sorter when it is full, and in the end.
type deltaTable struct {
	slots  []delta // came and went of an empty one are 0
	used   int
	most   int // slots in use
	sorter *extsort.Sorter
}

const firstSlots = 1 << 10

func newDeltaTable(ctx context.Context, most int) *deltaTable {
	return &deltaTable{most: most, sorter: extsort.New(ctx, byKey(), extsort.Limits{})}
}

func (t *deltaTable) add(d delta) error {
	if 4*(t.used+1) > 3*len(t.slots) {
		if err := t.grow(); err != nil {
			return err
		}
	}
	slot := t.find(d.key)
	if slot.came|slot.went == 0 {
		t.used++
		*slot = d
		return nil
	}
	*slot = slot.plus(d)
	return nil
}

func (t *deltaTable) find(key int64) *delta {
	mask := len(t.slots) - 1
	i := int(uint64(key)*0x9e3779b97f4a7c15>>32) & mask
	for {
		if s := &t.slots[i]; s.key == key || s.came|s.went == 0 {
			return s
		}
		i = (i + 1) & mask
	}
}

// grow doubles the table, or empties it where it may not grow.
func (t *deltaTable) grow() error {
	if t.used >= t.most {
		return t.spill()
	}
	old := t.slots
	t.slots = make([]delta, max(firstSlots, 2*len(old)))
	for _, d := range old {
		if d.came|d.went != 0 {
			*t.find(d.key) = d
		}
	}
	return nil
}

func (t *deltaTable) spill() error {
	var record [deltaBytes]byte
	for i := range t.slots {
		if d := &t.slots[i]; d.came|d.went != 0 {
			d.encode(&record)
			if err := t.sorter.Add(record[:]); err != nil {
				return err
			}
		}
	}
	clear(t.slots)
	t.used = 0
	return nil
}

// each gives every key's delta in the order of the keys. It can be called once.
func (t *deltaTable) each(yield func(delta) error) error {
	if err := t.spill(); err != nil {
		return err
	}
	t.slots = nil
	merge, err := t.sorter.Sorted()
	if err != nil {
		return err
	}
	var sum delta
	for first := true; ; first = false {
		record, err := merge.Next()
		if errors.Is(err, io.EOF) {
			if first {
				return nil
			}
			return yield(sum)
		}
		if err != nil {
			return err
		}
		next := decodeDelta(record)
		switch {
		case first:
			sum = next
		case next.key == sum.key:
			sum = sum.plus(next)
		default:
			if err := yield(sum); err != nil {
				return err
			}
			sum = next
		}
	}
}

const deltaBytes = 5 * 8

func (d *delta) encode(b *[deltaBytes]byte) {
	high, low := d.amount.Words()
	binary.LittleEndian.PutUint64(b[0:], uint64(d.key))
	binary.LittleEndian.PutUint64(b[8:], uint64(d.came))
	binary.LittleEndian.PutUint64(b[16:], uint64(d.went))
	binary.LittleEndian.PutUint64(b[24:], uint64(high))
	binary.LittleEndian.PutUint64(b[32:], low)
}

func decodeDelta(b []byte) delta {
	return delta{
		key:  int64(binary.LittleEndian.Uint64(b)),
		came: int64(binary.LittleEndian.Uint64(b[8:])), went: int64(binary.LittleEndian.Uint64(b[16:])),
		amount: money.FromWords(int64(binary.LittleEndian.Uint64(b[24:])), binary.LittleEndian.Uint64(b[32:])),
	}
}

// byKey sorts deltas by key; it is all one to a sum in which order equal keys come.
func byKey() extsort.Order {
	return extsort.Order{
		Key: func(r []byte, _ int) uint64 {
			return binary.LittleEndian.Uint64(r) ^ 1<<63 // those below zero first
		},
		Rest: func(_, _ []byte) int { return 0 },
	}
}
