package bench

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/shopspring/decimal"
	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/postgres"
)

// transaction is a row in the memory of a program.
type transaction struct {
	bun.BaseModel   `bun:"table:ways"`
	ID              int64
	TransactionID   string
	UserID          int32
	Amount          float64
	TransactionDate time.Time
}

func (t transaction) values() []any {
	return []any{t.ID, t.TransactionID, t.UserID, t.Amount, t.TransactionDate}
}

const insertOne = "INSERT INTO ways VALUES ($1, $2, $3, $4, $5)"

// ingestMethod inserts rows into the table ways, in one transaction unless noted.
type ingestMethod struct {
	name  string
	limit int // rows; 0: all
	load  func(ctx context.Context, conn *pgxpool.Conn, rows []transaction) error

	perRow, wal []float64 // seconds, bytes
}

func ingestMethods(bunDB *bun.DB) []*ingestMethod {
	methods := []*ingestMethod{
		{name: "copy-binary", load: copyBinary},
		{name: "copy-text", load: copyText},
		{name: "unnest", load: insertUnnest},
		{name: "prepared", limit: 20_000, load: insertPrepared},
		{name: "prepared-commit-each", limit: 500, load: insertCommitEach},
		{name: "bun=1000", load: func(ctx context.Context, _ *pgxpool.Conn, rows []transaction) error {
			return insertBun(ctx, bunDB, rows)
		}},
	}
	for _, n := range []int{10, 100, 1_000, 5_000} {
		methods = append(methods, &ingestMethod{name: fmt.Sprintf("values=%d", n), load: func(ctx context.Context, conn *pgxpool.Conn, rows []transaction) error {
			return insertValues(ctx, conn, rows, n)
		}})
	}
	for _, n := range []int{100, 1_000} {
		methods = append(methods, &ingestMethod{name: fmt.Sprintf("pipeline=%d", n), load: func(ctx context.Context, conn *pgxpool.Conn, rows []transaction) error {
			return insertPipelined(ctx, conn, rows, n)
		}})
	}
	return methods
}

// BenchmarkWaysToLoad inserts the same rows from a program's memory into a table
// partitioned by month with Tally's primary key: with COPY, with an INSERT of arrays, of
// many rows, or of one row (prepared, pipelined, or committed each), and through bun.
// Slow methods insert fewer rows; times are per row. fsync is on.
func BenchmarkWaysToLoad(b *testing.B) {
	n := sizes()[len(sizes())-1]
	pool := newServer(b).database(b)
	exec(b, pool, "CREATE TABLE source AS "+rowsOf(n, n/10, 365).sql())
	rows := programRows(b, pool)
	methods := ingestMethods(postgres.Bun(pool))
	b.ResetTimer()
	for range b.N {
		for _, m := range methods {
			m.measure(b, pool, rows)
		}
	}
	for _, m := range methods {
		b.ReportMetric(1/median(m.perRow), "rows-per-s/"+m.name)
		b.ReportMetric(median(m.perRow)/median(methods[0].perRow), "of-copy/"+m.name)
		b.ReportMetric(median(m.wal), "wal-bytes-per-row/"+m.name)
	}
}

func programRows(b *testing.B, pool *pgxpool.Pool) []transaction {
	b.Helper()
	found, err := pool.Query(b.Context(), "SELECT id, transaction_id, user_id, amount, transaction_date FROM source ORDER BY id")
	if err != nil {
		b.Fatal(err)
	}
	rows, err := pgx.CollectRows(found, func(row pgx.CollectableRow) (t transaction, err error) {
		return t, row.Scan(&t.ID, &t.TransactionID, &t.UserID, &t.Amount, &t.TransactionDate)
	})
	if err != nil {
		b.Fatal(err)
	}
	return rows
}

// measure loads into a new table after a checkpoint, and checks the sum.
func (m *ingestMethod) measure(b *testing.B, pool *pgxpool.Pool, rows []transaction) {
	b.Helper()
	if m.limit > 0 {
		rows = rows[:min(m.limit, len(rows))]
	}
	exec(b, pool, "DROP TABLE IF EXISTS ways; CREATE TABLE ways "+strings.TrimSuffix(requiredColumns, ")")+
		", PRIMARY KEY (user_id, transaction_date, id)) PARTITION BY RANGE (transaction_date)")
	exec(b, pool, `DO $$ DECLARE m timestamp; BEGIN
		FOR m IN SELECT generate_series(timestamp '2023-01-01', '2024-01-01', '1 month') LOOP
			EXECUTE format('CREATE TABLE ways_%s PARTITION OF ways FOR VALUES FROM (%L) TO (%L)', to_char(m, 'YYYYMM'), m::date, (m + interval '1 month')::date);
		END LOOP; END $$`)
	settle(b, pool)
	conn, err := pool.Acquire(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Release()
	wal := walDuring(b, pool, func() {
		began := time.Now()
		if err := m.load(b.Context(), conn, rows); err != nil {
			b.Fatal(m.name, err)
		}
		m.perRow = append(m.perRow, time.Since(began).Seconds()/float64(len(rows)))
	})
	m.wal = append(m.wal, wal/float64(len(rows)))
	var want, got decimal.Decimal
	for _, r := range rows {
		want = want.Add(decimal.NewFromFloat(r.Amount))
	}
	if err := pool.QueryRow(b.Context(), "SELECT sum(amount::numeric) FROM ways").Scan(&got); err != nil || !got.Equal(want) {
		b.Fatalf("%s: the sum is %s, want %s (%v)", m.name, got, want, err)
	}
}

func columnNames() []string {
	return []string{"id", "transaction_id", "user_id", "amount", "transaction_date"}
}

func copyBinary(ctx context.Context, conn *pgxpool.Conn, rows []transaction) error {
	_, err := conn.CopyFrom(ctx, pgx.Identifier{"ways"}, columnNames(), pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
		return rows[i].values(), nil
	}))
	return err
}

func copyText(ctx context.Context, conn *pgxpool.Conn, rows []transaction) error {
	var text bytes.Buffer
	for _, r := range rows {
		fmt.Fprintf(&text, "%d\t%s\t%d\t%v\t%s\n", r.ID, r.TransactionID, r.UserID, r.Amount, r.TransactionDate.Format(time.DateOnly))
	}
	_, err := conn.Conn().PgConn().CopyFrom(ctx, &text, "COPY ways FROM STDIN")
	return err
}

func insertUnnest(ctx context.Context, conn *pgxpool.Conn, rows []transaction) error {
	n := len(rows)
	ids, names, users, amounts, dates := make([]int64, n), make([]string, n), make([]int32, n), make([]float64, n), make([]time.Time, n)
	for i, r := range rows {
		ids[i], names[i], users[i], amounts[i], dates[i] = r.ID, r.TransactionID, r.UserID, r.Amount, r.TransactionDate
	}
	_, err := conn.Exec(ctx, "INSERT INTO ways SELECT * FROM unnest($1::bigint[], $2::text[], $3::int[], $4::float8[], $5::date[])", ids, names, users, amounts, dates)
	return err
}

func insertPrepared(ctx context.Context, conn *pgxpool.Conn, rows []transaction) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for _, r := range rows {
			if _, err := tx.Exec(ctx, insertOne, append([]any{pgx.QueryExecModeCacheStatement}, r.values()...)...); err != nil {
				return err
			}
		}
		return nil
	})
}

func insertCommitEach(ctx context.Context, conn *pgxpool.Conn, rows []transaction) error {
	for _, r := range rows {
		if _, err := conn.Exec(ctx, insertOne, append([]any{pgx.QueryExecModeCacheStatement}, r.values()...)...); err != nil {
			return err
		}
	}
	return nil
}

func insertPipelined(ctx context.Context, conn *pgxpool.Conn, rows []transaction, each int) error {
	if _, err := conn.Conn().Prepare(ctx, "ways_one", insertOne); err != nil {
		return err
	}
	defer conn.Conn().Deallocate(ctx, "ways_one")
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for len(rows) > 0 {
			n := min(each, len(rows))
			var batch pgx.Batch
			for _, r := range rows[:n] {
				batch.Queue("ways_one", r.values()...)
			}
			if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
				return err
			}
			rows = rows[n:]
		}
		return nil
	})
}

func insertValues(ctx context.Context, conn *pgxpool.Conn, rows []transaction, each int) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for len(rows) > 0 {
			n := min(each, len(rows))
			var sql strings.Builder
			args := []any{pgx.QueryExecModeCacheStatement}
			for i, r := range rows[:n] {
				sql.WriteString(map[bool]string{true: "INSERT INTO ways VALUES ", false: ", "}[i == 0])
				fmt.Fprintf(&sql, "($%d, $%d, $%d, $%d, $%d)", 5*i+1, 5*i+2, 5*i+3, 5*i+4, 5*i+5)
				args = append(args, r.values()...)
			}
			if _, err := tx.Exec(ctx, sql.String(), args...); err != nil {
				return err
			}
			rows = rows[n:]
		}
		return nil
	})
}

func insertBun(ctx context.Context, db *bun.DB, rows []transaction) error {
	return db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		for len(rows) > 0 {
			n := min(1_000, len(rows))
			some := rows[:n]
			if _, err := tx.NewInsert().Model(&some).Exec(ctx); err != nil {
				return err
			}
			rows = rows[n:]
		}
		return nil
	})
}
