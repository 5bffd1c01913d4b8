package summaries

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
)

// More users than fit in memory, each again after a spill: every sum equals that of a map.
func TestDeltasOfManyUsers(t *testing.T) {
	t.Parallel()
	d := NewDeltas(t.Context())
	defer d.Close()
	const users = int32(maxSums + maxSums/4)
	random := rand.New(rand.NewPCG(1, 2))
	want := map[string]map[uint64]delta{}
	for range 2 * users {
		user, amount := random.Int32N(users)+1, random.Int64N(2_000_001)-1_000_000
		date := civil.Date(user%400 - 200)
		e := delta{added: 1, amount: money.NewSum(amount, 2)}
		err := d.Add(user, date, e.amount)
		if amount%5 == 0 {
			gone := delta{removed: 1, amount: money.NewSum(-7, 4)}
			err = errors.Join(err, d.Remove(user, date, money.NewSum(7, 4)))
			e = e.plus(gone)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range Rollups() {
			if want[r.Table] == nil {
				want[r.Table] = map[uint64]delta{}
			}
			e.key = r.key(user, date)
			sum := want[r.Table][e.key]
			sum.key = e.key
			want[r.Table][e.key] = sum.plus(e)
		}
	}
	for _, r := range d.rollups {
		if r.PerUser() {
			require.NotZero(t, r.sorter.Len(), "the premise of this test")
		}
		last, n := uint64(0), 0
		require.NoError(t, r.each(func(got delta) error {
			if got.key <= last || got != want[r.Table][got.key] {
				t.Fatalf("%s: %+v after %d, want %+v", r.Table, got, last, want[r.Table][got.key])
			}
			last = got.key
			n++
			return nil
		}))
		assert.Len(t, want[r.Table], n, r.Table)
		if r.Table == "daily_totals" {
			assert.Equal(t, 400, n)
		}
	}
}

// Keys are in the order of the columns, also before 1970, and their columns are those of
// the transaction.
func TestKeysOfRollups(t *testing.T) {
	t.Parallel()
	for _, keys := range [][]Key{{ByUser}, {ByDay}, {ByMonth}, {ByUser, ByDay}, {ByUser, ByMonth}, {ByMonth, ByUser}, {ByDay, ByUser}} {
		r := Rollup{Keys: keys}
		require.LessOrEqual(t, len(r.Keys), 2)
		type position struct {
			user int32
			date civil.Date
		}
		var indexes []position
		for _, user := range []int32{1, 2, 1<<31 - 1} {
			for _, date := range []civil.Date{-25567, -1, 0, 1, 19782, 19783, 47482} {
				indexes = append(indexes, position{user, date})
			}
		}
		columns := func(p position) []int32 {
			var all []int32
			for _, k := range r.Keys {
				all = append(all, k.of(p.user, p.date))
			}
			return all
		}
		for _, p := range indexes {
			for i, want := range columns(p) {
				assert.Equal(t, want, r.column(r.key(p.user, p.date), i))
			}
			for _, q := range indexes {
				assert.Equal(t, slices.Compare(columns(p), columns(q)), cmp.Compare(r.key(p.user, p.date), r.key(q.user, q.date)))
			}
		}
	}
}

// The code that ranges over the registry relies on this.
func TestRollups(t *testing.T) {
	t.Parallel()
	for _, r := range Rollups() {
		assert.NotEmpty(t, r.Keys, r.Table)
		assert.LessOrEqual(t, len(r.Keys), 2, "a delta's key is two columns at most: %s", r.Table)
	}
}
