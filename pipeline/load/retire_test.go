package load_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/seal"
	"github.com/opentax/tally/pipeline/transform"
	"github.com/opentax/tally/summaries"
)

const threeMonths = header + "A,1,5,2024-01-01\nB,2,6.50,2024-01-31\nC,1,7,2024-02-01\nD,3,-1,2024-02-03\nE,1,2,2024-03-01\nF,4,2.25,2024-03-31\n"

func (f *fixture) retire(q load.Retirement) reject.RetireResult {
	f.t.Helper()
	result, err := f.loader.Retire(f.t.Context(), q, by(), false)
	require.NoError(f.t, err)
	return result
}

func before(month string) load.Retirement {
	return load.Retirement{Before: civil.MustParse(month + "-01").Month()}
}

// sealed is that everything holds, and that a rebuild changes nothing.
func (f *fixture) sealed() {
	f.t.Helper()
	f.holds()
	v, err := summaries.Verify(f.t.Context(), f.pool, summaries.VerifyOptions{Full: true}, func(d summaries.Drift) { f.t.Error(d) })
	require.NoError(f.t, err)
	assert.True(f.t, v.Clean())
	r, err := summaries.Rebuild(f.t.Context(), f.pool, summaries.RebuildOptions{})
	require.NoError(f.t, err)
	assert.Zero(f.t, r.Changed())
}

func (f *fixture) userSummary() string {
	f.t.Helper()
	return one[string](f, `SELECT coalesce(string_agg(concat_ws(' ', user_id, total_transactions, trim_scale(total_amount)), ', ' ORDER BY user_id), '') FROM user_summary`)
}

func TestRetire(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{true, false} {
		t.Run(map[bool]string{true: "keep", false: "drop"}[keep], func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.load("a.csv", threeMonths)
			q := before("2024-02")
			q.KeepTotals = keep
			preview, err := f.loader.Retire(t.Context(), q, by(), true)
			require.NoError(t, err)
			assert.Equal(t, "A 1 5 2024-01-01", strings.SplitN(f.transactions(), "\n", 2)[0], "a preview changes nothing")
			got := f.retire(q)
			assert.Equal(t, preview, got)
			assert.Equal(t, reject.RetireResult{Months: []reject.RetiredMonth{{Month: "2024-01", Rows: 2, TotalAmount: money.MustParse("11.5")}}, Rows: 2, TotalAmount: money.MustParse("11.5")}, got)
			assert.Equal(t, "C 1 7 2024-02-01\nD 3 -1 2024-02-03\nE 1 2 2024-03-01\nF 4 2.25 2024-03-31", f.transactions())
			assert.Equal(t, map[bool]string{true: "1 3 14, 2 1 6.5, 3 1 -1, 4 1 2.25", false: "1 2 9, 3 1 -1, 4 1 2.25"}[keep], f.userSummary())
			f.sealed()
			assert.Empty(t, f.retire(q).Months, "there is nothing more to retire")
			assert.Equal(t, int64(2), one[int64](f, "SELECT count(*) FROM audit_chain"))

			f.load("b.csv", header+"G,2,1,2024-02-01\nH,1,1,2024-04-01\n")
			f.sealed()
			q = before("2024-04")
			q.KeepTotals, q.KeepTables = !keep, true
			assert.Equal(t, "transactions_2024_02", f.retire(q).Months[0].KeptTable)
			assert.Equal(t, int64(3), one[int64](f, "SELECT count(*) FROM transactions_2024_02"))
			assert.Equal(t, map[bool]string{true: "1 2 6, 2 1 6.5", false: "1 3 10, 2 1 1, 3 1 -1, 4 1 2.25"}[keep], f.userSummary())
			f.sealed()
		})
	}
}

// An id of a retired month is a duplicate or a conflict, and a new row of it is rejected.
func TestLoadOfRetiredIDs(t *testing.T) {
	t.Parallel()
	for _, corrections := range []string{transform.CorrectionsKeep, transform.CorrectionsReplace} {
		t.Run(corrections, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.load("a.csv", threeMonths)
			q := before("2024-02")
			q.KeepTotals = true
			f.retire(q)
			f.rules.Corrections = corrections
			got := f.load("b.csv", header+"A,1,5,2024-01-01\nB,2,7,2024-01-31\nX,1,1,2024-01-05\nX,1,1,2024-02-05\nA,9,5,2024-01-01\nC,1,7,2023-02-01\nY,1,1,2024-02-01\n")
			require.Equal(t, load.StatusLoaded, got.Status, got.Error)
			replaced := int64(0)
			if corrections == transform.CorrectionsReplace {
				replaced = 1
			}
			assert.Equal(t, [5]int64{7, 2, 2, 2 - replaced, 1 + replaced}, [5]int64{got.Read, got.Loaded, got.Duplicate, got.Conflict, got.Rejected})
			assert.Equal(t, map[string]int64{"retired_month": 1 + replaced}, got.Faults)
			assert.Contains(t, strings.Join(got.Warnings, " "), "3 rows have ids of months before 2024-02, which are retired")
			assert.Contains(t, strings.Join(got.Hints, " "), "the months before it are retired")
			assert.Equal(t, int64(0), one[int64](f, "SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = inhrelid WHERE relname < 'transactions_2024_02' AND inhparent = 'transactions'::regclass"))
			f.sealed()

			replayed := f.replay(f.rejects("rejected")...)
			assert.Equal(t, replayed.Read, replayed.Rejected+replayed.Conflict)
			states := f.states()
			_, err := f.loader.Take(t.Context(), f.rejects("conflict")[0], f.settings, by())
			require.ErrorIs(t, err, load.ErrRetired)
			assert.Equal(t, states, f.states(), "nothing is decided")
			assert.Equal(t, "C 1 7 2024-02-01", strings.SplitN(f.transactions(), "\n", 2)[0], "a retired row stays")
			f.sealed()
		})
	}
}

// A revert that would have to change a retired month is refused.
func TestRevertOfRetiredRows(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.rules.Corrections = transform.CorrectionsReplace
	a := f.load("a.csv", threeMonths)
	b := f.load("b.csv", header+"A,1,6,2024-03-01\n")
	c := f.load("c.csv", header+"Z,1,6,2024-03-01\n")
	f.retire(before("2024-02"))
	for _, file := range []int64{a.FileID, b.FileID} {
		_, err := f.loader.Revert(t.Context(), []int64{file}, f.settings, by(), false)
		require.ErrorIs(t, err, load.ErrRetired)
	}
	f.revert(c.FileID)
	f.sealed()
}

// A change by hand of what is fixed is found.
func TestRetiredTotalsAreVerified(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.load("a.csv", threeMonths)
	q := before("2024-02")
	q.KeepTotals = true
	f.retire(q)
	f.sealed()
	drifts := func(sql string) (found string) {
		tx, err := f.pool.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), "SET LOCAL tally.writer = 'tally'; "+sql)
		require.NoError(t, err)
		require.NoError(t, tx.Commit(t.Context()))
		_, err = summaries.Verify(t.Context(), f.pool, summaries.VerifyOptions{}, func(d summaries.Drift) { found += d.Relation + " " + d.Key + ";" })
		require.NoError(t, err)
		return found
	}
	assert.Equal(t, "user_summary user_id 1;etl_retired month 2024-01-01;", drifts("UPDATE user_months SET total_amount = 6 WHERE user_id = 1 AND month = '2024-01-01'"))
	assert.Empty(t, drifts("UPDATE user_months SET total_amount = 5 WHERE user_id = 1 AND month = '2024-01-01'"))
	assert.Equal(t, "etl_retired month 2024-01-01;", drifts("DELETE FROM transaction_keys WHERE transaction_id = 'A'"))
	f.exec("ALTER TABLE etl_retired_files DISABLE TRIGGER ALL; UPDATE etl_retired_files SET rows = 1")
	v, err := seal.Verify(t.Context(), f.pool, audit.Head{})
	require.NoError(t, err)
	require.NotNil(t, v.Broken)
	assert.Equal(t, "entry 2: the months that it has retired were changed in etl_retired or etl_retired_files", v.Broken.String())
}

// A month whose rollups or keys are wrong is not retired, since that could not be repaired later.
func TestRetireRefusesDrift(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{
		"UPDATE user_months SET total_amount = 6 WHERE user_id = 1 AND month = '2024-01-01'",
		"UPDATE daily_totals SET total_amount = 6 WHERE transaction_date = '2024-01-01'",
		"UPDATE user_months SET total_amount = 11.5 - total_amount WHERE month = '2024-01-01'", // the amounts of two users
		"UPDATE daily_totals SET total_amount = 11.5 - total_amount WHERE transaction_date < '2024-02-01'",
		"DELETE FROM transaction_keys WHERE transaction_id = 'A'",
	} {
		f := newFixture(t)
		f.load("a.csv", threeMonths)
		f.exec("SET tally.writer = 'tally'; " + sql + "; RESET tally.writer")
		_, err := f.loader.Retire(t.Context(), before("2024-02"), by(), false)
		require.ErrorIs(t, err, summaries.ErrDrift)
	}
	f := newFixture(t)
	f.exec("CREATE TABLE quarter PARTITION OF transactions FOR VALUES FROM ('2024-01-01') TO ('2024-04-01')")
	f.load("a.csv", threeMonths)
	_, err := f.loader.Retire(t.Context(), before("2024-02"), by(), false)
	require.ErrorIs(t, err, load.ErrStraddles)
	q := before("2024-04")
	q.KeepTables = true
	_, err = f.loader.Retire(t.Context(), q, by(), false)
	require.ErrorIs(t, err, load.ErrByHand)
	f.retire(before("2024-04"))
	f.sealed()
}

// A wrong year must not close the months to come.
func TestRetireRefusesMonthsThatHaveNotEnded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.load("a.csv", threeMonths)
	now := civil.Of(time.Now().UTC()).Month()
	_, err := f.loader.Retire(t.Context(), load.Retirement{Before: now + 1}, by(), true)
	require.ErrorIs(t, err, load.ErrMonthOpen)
	result, err := f.loader.Retire(t.Context(), load.Retirement{Before: now}, by(), true)
	require.NoError(t, err)
	assert.Len(t, result.Months, 3)
}

// A retirement whose connection is cut at any moment has happened as a whole, or not at all.
func TestRetireIsInterrupted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.load("a.csv", threeMonths)
	boom := errors.New("no export")
	q := before("2024-03")
	q.Exported = func(context.Context, pgx.Tx, []summaries.RetiredMonth) error { return boom }
	_, err := f.loader.Retire(t.Context(), q, by(), false)
	require.ErrorIs(t, err, boom)
	q.Exported = func(ctx context.Context, tx pgx.Tx, _ []summaries.RetiredMonth) error {
		_, err := f.pool.Exec(ctx, "SELECT pg_terminate_backend($1)", tx.Conn().PgConn().PID())
		return err
	}
	_, err = f.loader.Retire(t.Context(), q, by(), false)
	require.Error(t, err)
	assert.Equal(t, int64(6), one[int64](f, "SELECT count(*) FROM transactions"))
	f.sealed()
	for i := range 12 { // at a moment that the clock chooses
		var cutting sync.WaitGroup
		q.Exported = func(ctx context.Context, tx pgx.Tx, _ []summaries.RetiredMonth) error {
			pid := tx.Conn().PgConn().PID()
			cutting.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				_, _ = f.pool.Exec(ctx, "SELECT pg_terminate_backend($1)", pid)
			})
			return nil
		}
		_, err := f.loader.Retire(t.Context(), q, by(), false)
		cutting.Wait()
		f.pool.Reset() // the connection may be back in it
		gone := one[int64](f, "SELECT count(*) FROM etl_retired")
		if err == nil {
			assert.Equal(t, int64(2), gone)
		}
		assert.Equal(t, 6-2*gone, one[int64](f, "SELECT count(*) FROM transactions"))
		f.sealed()
	}
}

// Readers of transactions and loads go on beside a retirement, and see it as a whole.
func TestRetireBesideReadersAndLoads(t *testing.T) {
	t.Parallel()
	testdb.SkipOnCluster(t, "its nodes commit one after the other")
	f := newFixture(t)
	f.load("a.csv", threeMonths)
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	for range 3 {
		work.Go(func() {
			for ctx.Err() == nil {
				// One statement, so one snapshot.
				var same bool
				err := f.pool.QueryRow(t.Context(), `SELECT (SELECT sum(amount::numeric) FROM transactions) = (SELECT sum(total_amount) FROM user_summary)`).Scan(&same)
				assert.NoError(t, err)
				assert.True(t, same)
			}
		})
	}
	work.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			r := f.load("n.csv", header+"N"+strings.Repeat("x", i%40)+",1,1,2024-05-01\n")
			assert.Contains(t, []string{load.StatusLoaded, load.StatusUnchanged}, r.Status)
		}
	})
	f.retire(before("2024-02"))
	f.retire(before("2024-03"))
	stop()
	work.Wait()
	assert.Equal(t, int64(0), one[int64](f, "SELECT count(*) FROM transactions WHERE transaction_date < '2024-03-01'"))
	f.sealed()
}

// A session that reads for long makes the retirement give up, without keeping others waiting.
func TestVerifyExcludesRetire(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.load("a.csv", threeMonths)
	tx, err := f.pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), audit.LockRetired)
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.retire(before("2024-02"))
	}()
	select {
	case <-done:
		t.Error("it did not wait for the verification")
	case <-time.After(300 * time.Millisecond):
	}
	f.load("b.csv", header+"N,1,1,2024-05-01\n") // a load does not wait for either
	require.NoError(t, tx.Commit(t.Context()))
	<-done
	f.sealed()
}

// Ranges that lie in retired months are right, or refused.
func TestReadsOfRetiredMonths(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{true, false} {
		f := newFixture(t)
		f.load("a.csv", threeMonths)
		q := before("2024-02")
		q.KeepTotals = keep
		f.retire(q)
		store := summaries.NewStore(f.pool)
		kept := map[bool]string{true: "3 14", false: "2 9"}[keep]
		const refused = "refused"
		for _, c := range [][3]string{
			{"", "", kept}, {"2024-01-01", "2024-02-29", map[bool]string{true: "2 12", false: refused}[keep]},
			{"2024-01-01", "2024-02-01", map[bool]string{true: "2 12", false: refused}[keep]},
			{"2024-01-02", "2024-02-29", refused}, {"", "2024-01-15", refused}, {"2024-02-01", "2024-02-20", "1 7"}, {"2024-02-02", "", "1 2"},
		} {
			days := summaries.AllDays()
			if c[0] != "" {
				days.From = civil.MustParse(c[0])
			}
			if c[1] != "" {
				days.To = civil.MustParse(c[1])
			}
			outcome := func(n int64, amount string, err error) string {
				if retired, ok := errors.AsType[*summaries.RetiredError](err); ok {
					assert.Equal(t, "2024-02", retired.Before.String())
					return refused
				}
				require.NoError(t, err, "%v", c)
				return fmt.Sprint(n, " ", amount)
			}
			s, err := store.Range(t.Context(), 1, days)
			assert.Equal(t, c[2], outcome(s.Transactions, s.Total.String(), err), "%v", c)

			months, err := store.Totals(t.Context(), summaries.TotalsQuery{UserID: 1, By: summaries.Month, Days: days, Limit: 10})
			var n int64
			var sum money.Sum
			for _, m := range months {
				n, sum = n+m.Transactions, sum.Plus(m.Amount)
			}
			assert.Equal(t, c[2], outcome(n, sum.String(), err), "by month: %v", c)
		}
		retiredAt := one[time.Time](f, "SELECT at FROM audit_chain WHERE kind = 'retire'")
		f.load("later.csv", header+"L,1,100,2024-02-05\n")
		past, err := store.AsOf(t.Context(), 1, retiredAt, summaries.AllDays())
		require.NoError(t, err)
		assert.Equal(t, kept, fmt.Sprint(past.Transactions, " ", past.Total))
		_, err = store.AsOf(t.Context(), 1, retiredAt.Add(-time.Microsecond), summaries.AllDays())
		require.ErrorIs(t, err, summaries.ErrRetiredSince)
		past, err = store.AsOf(t.Context(), 1, retiredAt.Add(-time.Microsecond), summaries.Days{From: civil.MustParse("2024-02-01"), To: civil.MustParse("2024-03-31")})
		require.NoError(t, err)
		assert.Equal(t, "2 9", fmt.Sprint(past.Transactions, " ", past.Total))

		byDay := func(user int32, from string) (int, error) {
			days := summaries.AllDays()
			if from != "" {
				days.From = civil.MustParse(from)
			}
			list, err := store.Totals(t.Context(), summaries.TotalsQuery{UserID: user, By: summaries.Day, Days: days, Limit: 10})
			return len(list), err
		}
		n, err := byDay(1, "")
		require.NoError(t, err)
		assert.Equal(t, 3, n, "begins with the first day that is stored")
		_, err = byDay(1, "2024-01-01")
		require.Error(t, err)
		n, err = byDay(0, "2024-01-01")
		if keep {
			require.NoError(t, err)
			assert.Equal(t, 7, n)
		} else {
			require.Error(t, err)
		}
	}
}
