package summaries

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// More users than the table holds at once, each met again after the table was
// emptied: every sum is that of a map.
func TestDeltasOfManyUsers(t *testing.T) {
	t.Parallel()
	d := NewDeltas(t.Context())
	defer d.Close()
	const users = int32(maxDeltas + maxDeltas/4)
	random := rand.New(rand.NewPCG(1, 2))
	want := make(map[int64]delta, users)
	months := map[int64]delta{}
	for range 2 * users {
		user, amount := random.Int32N(users)+1, random.Int64N(2_000_001)-1_000_000
		e := delta{key: int64(user), came: 1, amount: money.NewSum(amount, 2)}
		err := d.Add(user, civil.Date(user%400-200), e.amount)
		if amount%5 == 0 {
			gone := delta{key: int64(user), went: 1, amount: money.NewSum(-7, 4)}
			err = errors.Join(err, d.Remove(user, civil.Date(user%400-200), money.NewSum(7, 4)))
			e = e.plus(gone)
		}
		if err != nil {
			t.Fatal(err)
		}
		want[int64(user)] = want[int64(user)].plus(e)
		month := int64(user)<<32 | (12*1970 + int64(time.Unix(int64(civil.Date(user%400-200))*86400, 0).UTC().Month()) - 1 + 12*int64(time.Unix(int64(civil.Date(user%400-200))*86400, 0).UTC().Year()-1970))
		months[month] = months[month].plus(e)
	}
	require.NotZero(t, d.users.sorter.Len(), "the premise of this test")
	last, n := int64(0), 0
	require.NoError(t, d.users.each(func(got delta) error {
		e := want[got.key]
		e.key = got.key
		if got.key <= last || got != e {
			t.Fatalf("%+v after %d, want %+v", got, last, e)
		}
		last = got.key
		n++
		return nil
	}))
	assert.Equal(t, len(want), n)
	last, n = 0, 0
	require.NoError(t, d.months.each(func(got delta) error {
		e := months[got.key]
		e.key = got.key
		if got.key <= last || got != e {
			t.Fatalf("%+v after %d, want %+v", got, last, e)
		}
		last = got.key
		n++
		return nil
	}))
	assert.Equal(t, len(months), n)
	last, n = -1<<31, 0
	require.NoError(t, d.days.each(func(got delta) error {
		require.Greater(t, got.key, last, "also below zero")
		last = got.key
		n++
		return nil
	}))
	assert.Equal(t, 400, n)
}
