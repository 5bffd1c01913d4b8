package summaries_test

import (
	"fmt"
	"testing"

	"github.com/opentax/tally/internal/civil"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/summaries"
)

func texts(totals []summaries.Total) []string {
	list := []string{}
	for _, t := range totals {
		list = append(list, fmt.Sprintf("%s %d %s", t.Start.String(), t.Transactions, t.Amount))
	}
	return list
}

// days are those between two days; "" is no bound.
func days(from, to string) summaries.Days {
	all := summaries.AllDays()
	if from != "" {
		all.From = civil.MustParse(from)
	}
	if to != "" {
		all.To = civil.MustParse(to)
	}
	return all
}

func TestTotals(t *testing.T) {
	t.Parallel()
	store := summaries.NewStore(written(t, rows...))
	for _, c := range []struct {
		name            string
		user            int32
		by              summaries.Period
		from, to, after string
		limit           int
		want            []string
	}{
		{"all by day", 0, summaries.Day, "", "", "", 10, []string{"2024-01-05 3 -3.9", "2024-02-05 1 0.2"}},
		{"all by month", 0, summaries.Month, "", "", "", 10, []string{"2024-01-01 3 -3.9", "2024-02-01 1 0.2"}},
		{"a user by day", 7, summaries.Day, "", "", "", 10, []string{"2024-01-05 2 1.1", "2024-02-05 1 0.2"}},
		{"a user by month", 7, summaries.Month, "", "", "", 10, []string{"2024-01-01 2 1.1", "2024-02-01 1 0.2"}},
		{"from its own day on", 7, summaries.Day, "2024-02-05", "", "", 10, []string{"2024-02-05 1 0.2"}},
		{"up to its own day", 0, summaries.Day, "", "2024-01-05", "", 10, []string{"2024-01-05 3 -3.9"}},
		{"a month that is cut", 7, summaries.Month, "2024-01-06", "2024-02-05", "", 10, []string{"2024-02-01 1 0.2"}},
		{"after a month", 0, summaries.Month, "2024-01-05", "", "2024-01-01", 10, []string{"2024-02-01 1 0.2"}},
		{"after a day", 7, summaries.Day, "", "", "2024-01-05", 10, []string{"2024-02-05 1 0.2"}},
		{"the first", 0, summaries.Day, "", "", "", 1, []string{"2024-01-05 3 -3.9"}},
		{"nothing", 0, summaries.Day, "2024-01-06", "2024-02-04", "", 10, []string{}},
		{"the end of time", 0, summaries.Day, "9999-12-31", "9999-12-31", "9999-12-31", 10, []string{}},
		{"nobody", 999, summaries.Month, "", "", "", 10, []string{}},
	} {
		query := summaries.TotalsQuery{UserID: c.user, By: c.by, Days: days(c.from, c.to), Limit: c.limit}
		if c.after != "" {
			after := civil.MustParse(c.after)
			query.After = &after
		}
		totals, err := store.Totals(t.Context(), query)
		require.NoError(t, err, c.name)
		assert.Equal(t, c.want, texts(totals), c.name)
	}
}

func TestManySummaries(t *testing.T) {
	t.Parallel()
	store := summaries.NewStore(written(t, rows...))
	many, err := store.Many(t.Context(), []int32{999, 8, 7, 7})
	require.NoError(t, err)
	require.Len(t, many, 2)
	for _, got := range many {
		one, err := store.Get(t.Context(), got.UserID)
		require.NoError(t, err)
		assert.Equal(t, one, got)
	}
	assert.Less(t, many[0].UserID, many[1].UserID)
	none, err := store.Many(t.Context(), nil)
	require.NoError(t, err)
	assert.Empty(t, none)
}

func TestRange(t *testing.T) {
	t.Parallel()
	store := summaries.NewStore(written(t, rows...))
	whole, err := store.Get(t.Context(), 7)
	require.NoError(t, err)
	for _, c := range []struct {
		user     int32
		from, to string
		want     string // "" where there is nothing
	}{
		{7, "", "", "3 1.3"},
		{7, "2024-01-05", "2024-02-05", "3 1.3"},
		{7, "2024-01-06", "", "1 0.2"},
		{7, "", "2024-02-04", "2 1.1"},
		{7, "2024-01-05", "2024-01-05", "2 1.1"},
		{7, "2024-01-06", "2024-02-04", ""},
		{7, "2025-01-01", "9999-12-31", ""},
		{999, "", "", ""},
	} {
		got, err := store.Range(t.Context(), c.user, days(c.from, c.to))
		if c.want == "" {
			require.ErrorIs(t, err, summaries.ErrNotFound, c)
			continue
		}
		require.NoError(t, err, c)
		assert.Equal(t, c.want, fmt.Sprint(got.Transactions, " ", got.Total), c)
		assert.Equal(t, [3]any{whole.Version, whole.FileID, whole.UpdatedAt}, [3]any{got.Version, got.FileID, got.UpdatedAt}, c)
	}
}

func TestTopUsers(t *testing.T) {
	t.Parallel()
	store := summaries.NewStore(written(t, rows...))
	ids := func(by summaries.Order, limit int) (ids []int32) {
		list, err := store.Top(t.Context(), by, limit)
		require.NoError(t, err)
		for _, s := range list {
			ids = append(ids, s.UserID)
		}
		return ids
	}
	assert.Equal(t, []int32{7, 8}, ids(summaries.ByAmount, 10))
	assert.Equal(t, []int32{7}, ids(summaries.ByTransactions, 1))
	_, err := store.Top(t.Context(), "user_id", 1)
	assert.Error(t, err)
}
