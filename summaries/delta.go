package summaries

import (
	"context"
	"encoding/binary"
	"errors"
	"io"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/extsort"
	"github.com/opentax/tally/internal/money"
)

// Deltas is what a load changes of the rollups: for each key of each of them, the
// transactions added and removed, and by how much the amount moves. Its memory is
// bounded, however many keys there are. It is for one goroutine, and must be closed.
type Deltas struct {
	added   int64
	amount  money.Sum
	rollups []*rollupDeltas
}

// NewDeltas makes an empty set; ctx ends what it writes to disk.
func NewDeltas(ctx context.Context) *Deltas {
	d := &Deltas{}
	for _, r := range Rollups() {
		d.rollups = append(d.rollups, newRollupDeltas(ctx, r))
	}
	return d
}

// Add notes a transaction that is added.
func (d *Deltas) Add(user int32, date civil.Date, amount money.Sum) error {
	d.added++
	d.amount = d.amount.Plus(amount)
	return d.note(user, date, delta{added: 1, amount: amount})
}

// Remove notes a transaction that is removed.
func (d *Deltas) Remove(user int32, date civil.Date, amount money.Sum) error {
	return d.note(user, date, delta{removed: 1, amount: amount.Neg()})
}

func (d *Deltas) note(user int32, date civil.Date, change delta) error {
	for _, r := range d.rollups {
		change.key = r.key(user, date)
		if err := r.add(change); err != nil {
			return err
		}
	}
	return nil
}

// Added counts the transactions that are added.
func (d *Deltas) Added() int64 { return d.added }

// Amount is the sum of those.
func (d *Deltas) Amount() money.Sum { return d.amount }

// Close releases memory and files.
func (d *Deltas) Close() {
	for _, r := range d.rollups {
		r.sorter.Close()
	}
}

// delta is the change of one row of a rollup.
type delta struct {
	key            uint64
	added, removed int64
	amount         money.Sum
}

func (d delta) plus(e delta) delta {
	d.added, d.removed, d.amount = d.added+e.added, d.removed+e.removed, d.amount.Plus(e.amount)
	return d
}

// empty reports whether it is of no transaction.
func (d delta) empty() bool { return d.added|d.removed == 0 }

func (d delta) transactions() int64 { return d.added - d.removed }

// rollupDeltas sums the deltas of one rollup by key: some in memory, which go to a sorter
// when there are too many, and in the end.
type rollupDeltas struct {
	Rollup
	sums    []delta
	indexes map[uint64]int32 // in sums, by key
	sorter  *extsort.Sorter
}

// maxSums bounds the deltas in memory, of some 70 bytes each.
const maxSums = 1 << 19

func newRollupDeltas(ctx context.Context, r Rollup) *rollupDeltas {
	return &rollupDeltas{Rollup: r, indexes: map[uint64]int32{}, sorter: extsort.New(ctx, byKey(), extsort.Limits{})}
}

func (r *rollupDeltas) add(d delta) error {
	if r.large() { // there is next to nothing to sum
		return r.sort(&d)
	}
	if i, ok := r.indexes[d.key]; ok {
		r.sums[i] = r.sums[i].plus(d)
		return nil
	}
	if len(r.sums) == maxSums {
		if err := r.spill(); err != nil {
			return err
		}
	}
	r.indexes[d.key] = int32(len(r.sums))
	r.sums = append(r.sums, d)
	return nil
}

// spill empties the memory into the sorter.
func (r *rollupDeltas) spill() error {
	for i := range r.sums {
		if err := r.sort(&r.sums[i]); err != nil {
			return err
		}
	}
	clear(r.indexes)
	r.sums = r.sums[:0]
	return nil
}

func (r *rollupDeltas) sort(d *delta) error {
	var record [deltaBytes]byte
	d.encode(&record)
	return r.sorter.Add(record[:])
}

// each gives the delta of every key in the order of the keys. It can be called once.
func (r *rollupDeltas) each(yield func(delta) error) error {
	if err := r.spill(); err != nil {
		return err
	}
	r.sums, r.indexes = nil, nil
	merge, err := r.sorter.Sorted()
	if err != nil {
		return err
	}
	var sum delta
	for {
		record, err := merge.Next()
		if errors.Is(err, io.EOF) && sum.empty() {
			return nil
		}
		if errors.Is(err, io.EOF) {
			return yield(sum)
		}
		if err != nil {
			return err
		}
		next := decodeDelta(record)
		if next.key != sum.key && !sum.empty() {
			if err := yield(sum); err != nil {
				return err
			}
			sum = delta{}
		}
		sum = next.plus(sum)
	}
}

const deltaBytes = 5 * 8

func (d *delta) encode(b *[deltaBytes]byte) {
	binary.LittleEndian.PutUint64(b[0:], d.key)
	binary.LittleEndian.PutUint64(b[8:], uint64(d.added))
	binary.LittleEndian.PutUint64(b[16:], uint64(d.removed))
	hi, lo := d.amount.Words()
	binary.LittleEndian.PutUint64(b[24:], uint64(hi))
	binary.LittleEndian.PutUint64(b[32:], lo)
}

func decodeDelta(b []byte) delta {
	return delta{
		key:   binary.LittleEndian.Uint64(b),
		added: int64(binary.LittleEndian.Uint64(b[8:])), removed: int64(binary.LittleEndian.Uint64(b[16:])),
		amount: money.FromWords(int64(binary.LittleEndian.Uint64(b[24:])), binary.LittleEndian.Uint64(b[32:])),
	}
}

// byKey sorts deltas by key; a sum does not depend on the order of equal keys.
func byKey() extsort.Order {
	return extsort.Order{
		Key:  func(r []byte) uint64 { return binary.LittleEndian.Uint64(r) },
		Rest: func(_, _ []byte) int { return 0 },
	}
}
