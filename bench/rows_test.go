package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// firstDay is the first date of generated rows.
const firstDay = "2023-01-01"

// rowset is a set of rows with the required columns. The server generates them, which is
// faster than a transfer. Each user's rows are spread evenly over the table in date
// order; a third of the amounts is negative.
type rowset struct {
	first, last int64 // row numbers, from 1
	total       int64 // number of rows over which the days are spread
	users       int64
	days        int
}

func rowsOf(n, users int64, days int) rowset {
	return rowset{first: 1, last: n, total: n, users: users, days: days}
}

// sql returns a query of id, transaction_id, user_id, amount and transaction_date.
func (r rowset) sql() string {
	return fmt.Sprintf(`SELECT i AS id, 'T' || i AS transaction_id, (1 + i %% %d)::int AS user_id,
		((i * 7919 %% 2000003) - 700000) / 100.0::float8 AS amount, DATE '%s' + (i * %d / %d)::int AS transaction_date
		FROM generate_series(%d, %d::bigint) i`, r.users, firstDay, r.days, r.total+1, r.first, r.last)
}

// file writes the rows to a CSV file.
func (r rowset) file(b *testing.B, pool *pgxpool.Pool) string {
	b.Helper()
	file, err := os.Create(filepath.Join(b.TempDir(), "rows.csv"))
	if err != nil {
		b.Fatal(err)
	}
	err = pool.AcquireFunc(b.Context(), func(conn *pgxpool.Conn) error {
		_, err := conn.Conn().PgConn().CopyTo(b.Context(), file, "COPY ("+r.sql()+") TO STDOUT (FORMAT csv)")
		return err
	})
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		b.Fatal(err)
	}
	return file.Name()
}

// day returns the middle date of the rows as SQL.
func (r rowset) day() string {
	return fmt.Sprintf("DATE '%s' + %d", firstDay, r.days/2)
}

const requiredColumns = `(id BIGINT NOT NULL, transaction_id VARCHAR(50) NOT NULL, user_id INT NOT NULL,
	amount FLOAT NOT NULL, transaction_date DATE NOT NULL)`

// flatTable creates an unpartitioned table with the required columns and these rows,
// without an index.
func flatTable(b *testing.B, pool *pgxpool.Pool, name string, r rowset) {
	b.Helper()
	exec(b, pool, "CREATE TABLE "+name+" "+requiredColumns)
	exec(b, pool, "INSERT INTO "+name+" "+r.sql())
}

// tallyTables writes the rows and their summaries directly to Tally's tables.
func tallyTables(b *testing.B, pool *pgxpool.Pool, r rowset) {
	b.Helper()
	for _, sql := range []string{
		fmt.Sprintf("SELECT tally_ensure_partition(m::date) FROM generate_series(timestamp '%s', timestamp '%s' + interval '%d days', '1 month') m", firstDay, firstDay, r.days),
		"INSERT INTO transactions SELECT id, transaction_id, user_id, amount, transaction_date, 1, id FROM (" + r.sql() + ") r",
		`INSERT INTO user_summary (user_id, total_transactions, total_amount, file_id)
			SELECT user_id, count(*), sum(amount::numeric), 1 FROM transactions GROUP BY 1 ORDER BY 1`,
	} {
		exec(b, pool, "BEGIN; SET LOCAL tally.writer = 'tally'; "+sql+"; COMMIT")
	}
}

// bytesOf evaluates an SQL expression, usually a size in bytes.
func bytesOf(b *testing.B, in querier, expression string) float64 {
	b.Helper()
	var bytes float64
	if err := in.QueryRow(b.Context(), "SELECT ("+expression+")::float8").Scan(&bytes); err != nil {
		b.Fatal(expression, err)
	}
	return bytes
}

// querier is a pool, a connection or a transaction.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// walDuring returns the bytes of WAL that work generates.
func walDuring(b *testing.B, pool *pgxpool.Pool, work func()) float64 {
	b.Helper()
	before := bytesOf(b, pool, "pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
	work()
	return bytesOf(b, pool, "pg_current_wal_insert_lsn() - '0/0'::pg_lsn") - before
}

// column returns the single column of a query, which must return rows.
func column[T any](b *testing.B, pool *pgxpool.Pool, sql string) []T {
	b.Helper()
	rows, err := pool.Query(b.Context(), sql)
	if err != nil {
		b.Fatal(sql, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil || len(all) == 0 {
		b.Fatal(sql, len(all), err)
	}
	return all
}
