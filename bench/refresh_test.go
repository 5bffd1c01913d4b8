package bench

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opentax/tally/internal/civil"

	"github.com/opentax/tally/internal/money"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/shopspring/decimal"

	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/sqlfile"
	"github.com/opentax/tally/summaries"
)

//go:embed refresh.sql
var refreshStudySQL string

// lockWait is how long a reader waits for a lock before it counts as kept out.
const lockWait = "100ms"

// noTrigger is the way to insert a night's rows that moves no summary.
const noTrigger = "no-trigger"

// BenchmarkRefresh brings summaries up to date after a night of new rows on a table of
// so many, one way after the other:
//
//	tally              summaries.Refresh, which moves three rollups and announces it
//	deltas             the night's sums by user, added to one table in one statement
//	swap               summed from all rows into a new table that takes the old one's name
//	upsert-all         summed from all rows, each user's row written
//	upsert-changed     the same, but a row that is as it was is left alone
//	view               REFRESH MATERIALIZED VIEW
//	view-concurrently  REFRESH MATERIALIZED VIEW CONCURRENTLY
//	row-trigger        a trigger that moves a user's summary for each new row
//	statement-trigger  a trigger that adds the new rows' sums by user for each statement
//
// The night's rows are in transactions already, so what is timed is the refresh and
// its commit alone. That of a trigger is the time that a table with it takes to take
// the same rows longer than a table without, medians; its log likewise. Each way has a
// table of its own, vacuumed and analyzed after each night, and a checkpoint before
// each measurement. blocks-readers is 1 where a reader of one summary gave up after
// 100 ms while the refresh was done and its transaction still open; longest-read is the
// longest look-up of a reader that asks all along, on a further night that is not
// timed (up to a million rows). In the end, all answers are held against the rows.
func BenchmarkRefresh(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			s := newRefreshing(b, n)
			for _, night := range []int64{1_000, 10_000} {
				b.Run(fmt.Sprintf("night=%d", night), func(b *testing.B) {
					ways := s.ways()
					for range b.N {
						s.arrive(b, night)
						for _, w := range ways {
							s.time(b, w)
						}
					}
					b.StopTimer()
					if n <= 1_000_000 {
						s.arrive(b, night)
						for _, w := range ways {
							s.watch(b, w)
						}
					}
					s.check(b, ways)
					reportRefreshes(b, ways)
				})
			}
		})
	}
}

// refreshing is a database whose summaries are kept in all the ways.
type refreshing struct {
	pool       *pgxpool.Pool
	statements sqlfile.Statements
	users      int64
	nights     int64
	night      []nightRow // the last one's
}

type nightRow struct {
	user, day int32
	amount    money.Sum
}

// refreshWay is a way to bring a table of summaries up to date.
type refreshWay struct {
	name, table string
	refresh     func(context.Context, pgx.Tx) error
	extra       bool // its price is what it takes longer than noTrigger

	ms, log     []float64 // of each night; log in bytes
	blocks      bool
	longestRead float64 // ms
}

func newRefreshing(b *testing.B, rows int64) *refreshing {
	b.Helper()
	server := newServer(b)
	pool, runID := server.tally(b)
	s := &refreshing{pool: pool, statements: sqlfile.Parse(refreshStudySQL), users: rows / 10}
	loadFile(b, pool, runID, dirtyFile(b, rows, 1, s.users))
	exec(b, pool, "VACUUM ANALYZE")
	exec(b, pool, s.statements.Get("night"))
	for _, w := range s.ways() {
		kind := "table"
		if strings.HasPrefix(w.name, "view") {
			kind = "view"
		}
		if w.table != "" && w.name != "tally" {
			exec(b, pool, s.statements.Get(kind, "table", w.table))
		}
	}
	exec(b, pool, s.statements.Get("triggers"))
	return s
}

// ways are measured in this order, so that what triggers are held against, which has no
// summary, comes right before them.
func (s *refreshing) ways() []*refreshWay {
	run := func(name string, words ...string) func(context.Context, pgx.Tx) error {
		return func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, s.statements.Get(name, words...), pgx.QueryExecModeSimpleProtocol)
			return err
		}
	}
	return []*refreshWay{
		{name: "tally", table: "user_summary", refresh: s.tally},
		{name: "deltas", table: "summary_deltas", refresh: run("deltas")},
		{name: "swap", table: "summary_swap", refresh: run("swap")},
		{name: "upsert-all", table: "summary_upsert_all", refresh: run("upsert_all")},
		{name: "upsert-changed", table: "summary_upsert_changed", refresh: run("upsert_changed")},
		{name: "view", table: "summary_view", refresh: run("view_refresh")},
		{name: "view-concurrently", table: "summary_view_concurrently", refresh: run("view_concurrently")},
		{name: noTrigger, refresh: run("insert", "table", "night_plain")},
		{name: "row-trigger", table: "summary_row_trigger", refresh: run("insert", "table", "night_row_trigger"), extra: true},
		{name: "statement-trigger", table: "summary_statement_trigger", refresh: run("insert", "table", "night_statement_trigger"), extra: true},
	}
}

// tally sums the night's rows, which a load has in memory, and moves all rollups.
func (s *refreshing) tally(ctx context.Context, tx pgx.Tx) error {
	deltas := summaries.NewDeltas(ctx)
	defer deltas.Close()
	for _, r := range s.night {
		if err := deltas.Add(r.user, civil.Date(r.day), r.amount); err != nil {
			return err
		}
	}
	_, err := summaries.Refresh(ctx, tx, deltas, s.nights)
	return err
}

// arrive stores a night's rows, which no summary knows of yet.
func (s *refreshing) arrive(b *testing.B, rows int64) {
	b.Helper()
	s.nights++
	exec(b, s.pool, s.statements.Get("empty_nights"))
	err := pgx.BeginFunc(b.Context(), s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(b.Context(), s.statements.Get("fill_night"), s.nights, rows, s.users); err != nil {
			return err
		}
		_, err := tx.Exec(b.Context(), "SET LOCAL tally.writer = 'tally'; "+s.statements.Get("store_night"), pgx.QueryExecModeSimpleProtocol)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	found, err := s.pool.Query(b.Context(), "SELECT user_id, transaction_date - date '1970-01-01', (amount::numeric * 100)::bigint FROM night")
	if err == nil {
		s.night, err = pgx.CollectRows(found, func(row pgx.CollectableRow) (r nightRow, err error) {
			var cents int64
			err = row.Scan(&r.user, &r.day, &cents)
			r.amount = money.NewSum(cents, 2)
			return r, err
		})
	}
	if err != nil || int64(len(s.night)) != rows {
		b.Fatalf("%d rows of %d: %v", len(s.night), rows, err)
	}
	exec(b, s.pool, "ANALYZE night")
	for _, w := range s.ways() {
		if w.table != "" {
			exec(b, s.pool, "VACUUM ANALYZE "+w.table)
		}
	}
}

// time refreshes in a transaction, and asks before the commit whether it is in a
// reader's way.
func (s *refreshing) time(b *testing.B, w *refreshWay) {
	b.Helper()
	settle(b, s.pool)
	ctx, position := b.Context(), logPosition(b, s.pool)
	tx, err := s.begin(ctx)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = tx.Rollback(ctx) }() // where it has not been committed
	began := time.Now()
	if err := w.refresh(ctx, tx); err != nil {
		b.Fatal(w.name, err)
	}
	took := time.Since(began)
	if w.table != "" && s.keptOut(b, w.table) {
		w.blocks = true
	}
	began = time.Now()
	if err := tx.Commit(ctx); err != nil {
		b.Fatal(w.name, err)
	}
	took += time.Since(began)
	w.ms = append(w.ms, 1000*took.Seconds())
	w.log = append(w.log, float64(logPosition(b, s.pool)-position))
}

func (s *refreshing) begin(ctx context.Context) (pgx.Tx, error) {
	tx, err := s.pool.Begin(ctx)
	if err == nil {
		_, err = tx.Exec(ctx, "SET LOCAL tally.writer = 'tally'")
	}
	return tx, err
}

// keptOut says whether a look-up gives up on a lock.
func (s *refreshing) keptOut(b *testing.B, table string) bool {
	b.Helper()
	err := pgx.BeginFunc(b.Context(), s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(b.Context(), "SET LOCAL lock_timeout = '"+lockWait+"'"); err != nil {
			return err
		}
		return readOne(b.Context(), tx, table, s.night[0].user-1)
	})
	if err != nil && postgres.State(err) != "55P03" { // lock_not_available
		b.Fatal(err)
	}
	return err != nil
}

// readOne looks one summary up, or sees that there is none.
func readOne(ctx context.Context, q interface {
	Query(context.Context, string, ...any) (pgx.Rows, error)
}, table string, user int32,
) error {
	rows, err := q.Query(ctx, "SELECT total_amount FROM "+table+" WHERE user_id = $1", user)
	if err != nil {
		return err
	}
	_, err = pgx.CollectRows(rows, pgx.RowTo[decimal.Decimal])
	return err
}

// watch refreshes while a reader asks all along.
func (s *refreshing) watch(b *testing.B, w *refreshWay) {
	b.Helper()
	if w.table == "" {
		return
	}
	done, longest := make(chan struct{}), make(chan time.Duration)
	go func() {
		var most time.Duration
		for {
			began := time.Now()
			if err := readOne(b.Context(), s.pool, w.table, s.night[0].user); err != nil {
				b.Error(w.name, err)
			}
			most = max(most, time.Since(began))
			select {
			case <-done:
				longest <- most
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	tx, err := s.begin(b.Context())
	if err == nil {
		err = w.refresh(b.Context(), tx)
	}
	if err == nil {
		err = tx.Commit(b.Context())
	}
	close(done)
	w.longestRead = 1000 * (<-longest).Seconds()
	if err != nil {
		b.Fatal(w.name, err)
	}
}

func (s *refreshing) check(b *testing.B, ways []*refreshWay) {
	b.Helper()
	digest := func(table string) (text string) {
		if err := s.pool.QueryRow(b.Context(), s.statements.Get("digest", "table", table)).Scan(&text); err != nil {
			b.Fatal(err)
		}
		return text
	}
	want := digest(s.statements.Get("recomputed"))
	for _, w := range ways {
		if w.table == "" {
			continue
		}
		if got := digest(w.table); got != want {
			b.Errorf("%s has %s, the rows %s", w.name, got, want)
		}
	}
}

func reportRefreshes(b *testing.B, ways []*refreshWay) {
	b.Helper()
	var plainTime, plainLog float64
	for _, w := range ways {
		took, written, blocks := median(w.ms), median(w.log), 0.0
		if w.name == noTrigger {
			plainTime, plainLog = took, written
			continue
		}
		if w.extra {
			took, written = took-plainTime, written-plainLog
		}
		if w.blocks {
			blocks = 1
		}
		b.ReportMetric(took, "ms/"+w.name)
		b.ReportMetric(written/(1<<20), "wal-MiB/"+w.name)
		b.ReportMetric(blocks, "blocks-readers/"+w.name)
		if w.longestRead > 0 {
			b.ReportMetric(w.longestRead, "longest-read-ms/"+w.name)
		}
	}
}

// logPosition is where the write-ahead log ends, in bytes.
func logPosition(b *testing.B, pool *pgxpool.Pool) (position int64) {
	b.Helper()
	err := pool.QueryRow(b.Context(), "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").Scan(&position)
	if err != nil {
		b.Fatal(err)
	}
	return position
}
