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

// Deltas are a load's changes of the rollups: for each key of each of them, the transactions added
// and removed, and the difference of the amount. Its memory is bounded, however many keys there are.
// It is for one goroutine, and must be closed.
type Deltas struct {
	added, removed int64
	amount         money.Sum // of the transactions added
	net            money.Sum // less that of those removed
	rollups        []*rollupDeltas
}

// NewDeltas makes an empty set; ctx ends its writes to disk.
func NewDeltas(ctx context.Context) *Deltas {
	d := &Deltas{}
	for _, r := range Rollups() {
		d.rollups = append(d.rollups, &rollupDeltas{Rollup: r, indexes: map[uint64]int32{}, sorter: extsort.New(ctx, byKey(), extsort.Limits{})})
	}
	return d
}

// Add adds a transaction.
func (d *Deltas) Add(user int32, date civil.Date, amount money.Sum) error {
	d.added++
	d.amount, d.net = d.amount.Plus(amount), d.net.Plus(amount)
	return d.change(user, date, delta{added: 1, amount: amount})
}

// Remove removes a transaction.
func (d *Deltas) Remove(user int32, date civil.Date, amount money.Sum) error {
	d.removed++
	d.net = d.net.Minus(amount)
	return d.change(user, date, delta{removed: 1, amount: amount.Neg()})
}

func (d *Deltas) change(user int32, date civil.Date, change delta) error {
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

// Amount is the sum of the transactions that are added.
func (d *Deltas) Amount() money.Sum { return d.amount }

// Net is the transactions added less those removed, and the amount that they differ by.
func (d *Deltas) Net() (transactions int64, amount money.Sum) { return d.added - d.removed, d.net }

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

func (d delta) transactions() int64 { return d.added - d.removed }

// rollupDeltas sums the deltas of one rollup by key, in memory as far as they fit, then in a sorter.
type rollupDeltas struct {
	Rollup
	sums    []delta
	indexes map[uint64]int32 // in sums, by key
	sorter  *extsort.Sorter
}

// maxSums bounds the deltas in memory, of some 70 bytes each.
const maxSums = 1 << 19

func (r *rollupDeltas) add(d delta) error {
	if r.large() { // hardly two of a key
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

// spill moves the sums from memory to the sorter.
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

// each yields the delta of every key in order of the keys. It can be called once.
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
	for end := false; !end; {
		record, err := merge.Next()
		if end = errors.Is(err, io.EOF); err != nil && !end {
			return err
		}
		var next delta
		if !end {
			next = decodeDelta(record)
		}
		if sum.added|sum.removed != 0 && (end || next.key != sum.key) {
			if err := yield(sum); err != nil {
				return err
			}
			sum = delta{}
		}
		sum = next.plus(sum)
	}
	return nil
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

// byKey sorts deltas by key. The order of equal keys does not change their sum.
func byKey() extsort.Order {
	return extsort.Order{
		Key:  func(r []byte) uint64 { return binary.LittleEndian.Uint64(r) },
		Rest: func(_, _ []byte) int { return 0 },
	}
}
