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

// lockWait is the lock_timeout after which a reader counts as blocked.
const lockWait = "100ms"

// noTrigger is the reference of the triggers: it inserts the rows without a summary.
const noTrigger = "no-trigger"

// BenchmarkRefresh refreshes summaries after a night of new rows, with each of these
// methods:
//
//	tally              summaries.Refresh: updates three rollups and sends a notification
//	deltas             adds the night's sums by user to one table in one statement
//	swap               sums all rows into a new table, which replaces the old one
//	upsert-all         sums all rows and writes every user's row
//	upsert-changed     sums all rows and writes only changed rows
//	view               REFRESH MATERIALIZED VIEW
//	view-concurrently  REFRESH MATERIALIZED VIEW CONCURRENTLY
//	row-trigger        a row trigger that updates the user's summary for each new row
//	statement-trigger  a statement trigger that adds the new rows' sums by user
//
// The night's rows are stored before, so only the refresh and its commit are timed. The
// time and the WAL of a trigger are the difference between the medians of an INSERT into
// a table with it and into a table without. Each method has its own table, which is
// vacuumed and analyzed after each night; a checkpoint precedes each measurement.
// blocks-readers is 1 if a look-up waited more than 100 ms for a lock while the refresh's
// transaction was open. longest-read is the longest look-up of a reader during a further
// night, which is not timed (up to a million rows). At the end, all summaries are
// compared with the rows.
func BenchmarkRefresh(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			s := newRefreshStudy(b, n)
			for _, night := range []int64{1_000, 10_000} {
				b.Run(fmt.Sprintf("night=%d", night), func(b *testing.B) {
					methods := s.methods()
					for range b.N {
						s.addNight(b, night)
						for _, m := range methods {
							s.time(b, m)
						}
					}
					b.StopTimer()
					if n <= 1_000_000 {
						s.addNight(b, night)
						for _, m := range methods {
							s.watch(b, m)
						}
					}
					s.check(b, methods)
					reportRefreshes(b, methods)
				})
			}
		})
	}
}

// refreshStudy is a database with a summary table for each method.
type refreshStudy struct {
	pool       *pgxpool.Pool
	statements sqlfile.Statements
	users      int64
	nights     int64
	night      []nightRow // of the last night
}

type nightRow struct {
	user, day int32
	amount    money.Sum
}

// refreshMethod is a method to refresh a summary table.
type refreshMethod struct {
	name, table string
	refresh     func(context.Context, pgx.Tx) error
	extra       bool // report the difference to noTrigger

	ms, wal     []float64 // of each night; wal in bytes
	blocks      bool
	longestRead float64 // ms
}

func newRefreshStudy(b *testing.B, rows int64) *refreshStudy {
	b.Helper()
	server := newServer(b)
	pool, runID := server.tally(b)
	s := &refreshStudy{pool: pool, statements: sqlfile.Parse(refreshStudySQL), users: rows / 10}
	loadFile(b, pool, runID, dirtyFile(b, rows, 1, s.users))
	exec(b, pool, "VACUUM ANALYZE")
	exec(b, pool, s.statements.Get("night"))
	for _, m := range s.methods() {
		kind := "table"
		if strings.HasPrefix(m.name, "view") {
			kind = "view"
		}
		if m.table != "" && m.name != "tally" {
			exec(b, pool, s.statements.Get(kind, "table", m.table))
		}
	}
	exec(b, pool, s.statements.Get("triggers"))
	return s
}

// methods returns the methods in the order of measurement. noTrigger, the reference of
// the triggers, immediately precedes them.
func (s *refreshStudy) methods() []*refreshMethod {
	run := func(name string, words ...string) func(context.Context, pgx.Tx) error {
		return func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, s.statements.Get(name, words...), pgx.QueryExecModeSimpleProtocol)
			return err
		}
	}
	return []*refreshMethod{
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

// tally sums the night's rows in memory, as a load does, and updates all rollups.
func (s *refreshStudy) tally(ctx context.Context, tx pgx.Tx) error {
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

// addNight stores a night's rows without updating the summaries.
func (s *refreshStudy) addNight(b *testing.B, rows int64) {
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
	for _, m := range s.methods() {
		if m.table != "" {
			exec(b, s.pool, "VACUUM ANALYZE "+m.table)
		}
	}
}

// time times a refresh and its commit, and checks before the commit whether the refresh
// blocks readers.
func (s *refreshStudy) time(b *testing.B, m *refreshMethod) {
	b.Helper()
	settle(b, s.pool)
	ctx, position := b.Context(), walPosition(b, s.pool)
	tx, err := s.begin(ctx)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = tx.Rollback(ctx) }() // does nothing after the commit
	began := time.Now()
	if err := m.refresh(ctx, tx); err != nil {
		b.Fatal(m.name, err)
	}
	took := time.Since(began)
	if m.table != "" && s.blocksReader(b, m.table) {
		m.blocks = true
	}
	began = time.Now()
	if err := tx.Commit(ctx); err != nil {
		b.Fatal(m.name, err)
	}
	took += time.Since(began)
	m.ms = append(m.ms, 1000*took.Seconds())
	m.wal = append(m.wal, float64(walPosition(b, s.pool)-position))
}

func (s *refreshStudy) begin(ctx context.Context) (pgx.Tx, error) {
	tx, err := s.pool.Begin(ctx)
	if err == nil {
		_, err = tx.Exec(ctx, "SET LOCAL tally.writer = 'tally'")
	}
	return tx, err
}

// blocksReader reports whether a look-up exceeds its lock_timeout.
func (s *refreshStudy) blocksReader(b *testing.B, table string) bool {
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

// readOne looks up a summary, which may not exist.
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

// watch measures the longest look-up of a reader during a refresh.
func (s *refreshStudy) watch(b *testing.B, m *refreshMethod) {
	b.Helper()
	if m.table == "" {
		return
	}
	done, longest := make(chan struct{}), make(chan time.Duration)
	go func() {
		var longestRead time.Duration
		for {
			began := time.Now()
			if err := readOne(b.Context(), s.pool, m.table, s.night[0].user); err != nil {
				b.Error(m.name, err)
			}
			longestRead = max(longestRead, time.Since(began))
			select {
			case <-done:
				longest <- longestRead
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	tx, err := s.begin(b.Context())
	if err == nil {
		err = m.refresh(b.Context(), tx)
	}
	if err == nil {
		err = tx.Commit(b.Context())
	}
	close(done)
	m.longestRead = 1000 * (<-longest).Seconds()
	if err != nil {
		b.Fatal(m.name, err)
	}
}

func (s *refreshStudy) check(b *testing.B, methods []*refreshMethod) {
	b.Helper()
	digest := func(table string) (text string) {
		if err := s.pool.QueryRow(b.Context(), s.statements.Get("digest", "table", table)).Scan(&text); err != nil {
			b.Fatal(err)
		}
		return text
	}
	want := digest(s.statements.Get("recomputed"))
	for _, m := range methods {
		if m.table == "" {
			continue
		}
		if got := digest(m.table); got != want {
			b.Errorf("%s has %s, want %s", m.name, got, want)
		}
	}
}

func reportRefreshes(b *testing.B, methods []*refreshMethod) {
	b.Helper()
	var plainTime, plainWAL float64
	for _, m := range methods {
		took, written, blocks := median(m.ms), median(m.wal), 0.0
		if m.name == noTrigger {
			plainTime, plainWAL = took, written
			continue
		}
		if m.extra {
			took, written = took-plainTime, written-plainWAL
		}
		if m.blocks {
			blocks = 1
		}
		b.ReportMetric(took, "ms/"+m.name)
		b.ReportMetric(written/(1<<20), "wal-MiB/"+m.name)
		b.ReportMetric(blocks, "blocks-readers/"+m.name)
		if m.longestRead > 0 {
			b.ReportMetric(m.longestRead, "longest-read-ms/"+m.name)
		}
	}
}

// walPosition returns the current WAL insert position in bytes.
func walPosition(b *testing.B, pool *pgxpool.Pool) (position int64) {
	b.Helper()
	err := pool.QueryRow(b.Context(), "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").Scan(&position)
	if err != nil {
		b.Fatal(err)
	}
	return position
}
