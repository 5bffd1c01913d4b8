package summaries

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/opentax/tally/internal/sqlfile"
)

// stepRows is the number of rows, about, after which the progress moves. A step is long enough for
// parallel workers.
const stepRows = 1_000_000

// keyHash is the hash of a row or its key: the order of the partitions does not matter to its sum.
const keyHash = "hashtextextended(transaction_id, hashint4extended(user_id, timestamp_hash_extended(transaction_date, $1)))"

// units are an amount in units of 0.0001, where it is small: less than 2^31 of them, and none left
// over. An amount of at most 15 digits is the float next to units/10000, and that quotient is
// rounded to the nearest float, so the comparison is exact.
const (
	units = "round(amount * 10000)::int8"
	small = "(abs(amount) < 200000 AND round(amount * 10000) / 10000 = amount)"
)

// weight is the random weight of a row's user. Without weights, an amount that moved from one user
// to another would not change a sum.
func weight(seed string) string { return "hashint4extended(user_id, " + seed + ")" }

// daySums are the sums of the rows of each day: a few thousand rows however many transactions there
// are. Sums of a month or of all time are sums of these.
type daySums struct {
	seed int64 // of weights and hashes, another one each time
	rows int64
	days []daySum
}

// daySum is one day. Its fields are in the order of the statement's columns.
type daySum struct {
	Date                 pgtype.Date
	Rows, Amount         pgtype.Numeric
	Weights, WeightedSum pgtype.Numeric
	Hashes               pgtype.Numeric
}

// dateRange are the days from From to To, inclusive, with about Rows rows.
type dateRange struct {
	From, To pgtype.Date
	Rows     int64
}

// readDays reads the transactions, once.
func (o VerifyOptions) readDays(ctx context.Context, tx pgx.Tx) (s daySums, err error) {
	s.seed = rand.Int64()
	statements := sqlfile.Parse(verifySQL)
	ranges, err := collectRows[dateRange](ctx, tx, statements.Get("ranges"), stepRows)
	if err != nil {
		return s, err
	}
	var all int64
	for _, r := range ranges {
		all += r.Rows
	}
	for _, r := range ranges {
		err := releasing(ctx, tx, func(tx pgx.Tx) error {
			days, err := collectRows[daySum](ctx, tx, daysQuery(statements), s.seed, r.From, r.To)
			s.add(days)
			return err
		})
		if err != nil {
			return s, err
		}
		o.progress(s.rows, o.readShare()*min(1, float64(s.rows)/float64(max(1, all))))
	}
	return s, nil
}

func daysQuery(statements sqlfile.Statements) string {
	return statements.Get("days", "sums", sumsOfRows(statements, "$1", keyHash), "small", small)
}

// sumsOfRows are the columns of a daySum but its date.
func sumsOfRows(statements sqlfile.Statements, seed, hash string) string {
	return statements.Get("sums", "weight", weight(seed), "hash", hash, "units", units, "small", small)
}

func (s *daySums) add(days []daySum) {
	s.days = append(s.days, days...)
	for _, d := range days {
		n, _ := d.Rows.Int64Value() // a count
		s.rows += n.Int64
	}
}

// column is a column of all days.
func column[T any](s daySums, of func(daySum) T) []T {
	values := make([]T, len(s.days))
	for i, d := range s.days {
		values[i] = of(d)
	}
	return values
}

// keys are the arguments of same_keys.
func (s daySums) keys() []any {
	return []any{s.seed, column(s, func(d daySum) pgtype.Numeric { return d.Hashes })}
}

// sums are the arguments of same_sums.
func (r Rollup) sums(s daySums) []any {
	dates := column(s, func(d daySum) pgtype.Date { return d.Date })
	if !r.PerUser() {
		return []any{
			dates, column(s, func(d daySum) pgtype.Numeric { return d.Rows }),
			column(s, func(d daySum) pgtype.Numeric { return d.Amount }),
		}
	}
	return []any{
		dates, column(s, func(d daySum) pgtype.Numeric { return d.Weights }),
		column(s, func(d daySum) pgtype.Numeric { return d.WeightedSum }), s.seed,
	}
}

func (r Rollup) sameSums(statements sqlfile.Statements) string {
	of := "1"
	if r.PerUser() {
		of = weight("$4")
	}
	return statements.Get("same_sums", "stored", r.liveSums(), "weight", of,
		"period_of_days", r.period(Key.expression), "period", r.period(Key.Column))
}

// period is the part of the key that is not the user, 0 for none.
func (r Rollup) period(column func(Key) string) string {
	var columns []string
	for _, k := range slices.DeleteFunc(slices.Clone(r.Keys), func(k Key) bool { return k == ByUser }) {
		columns = append(columns, column(k))
	}
	if columns == nil {
		return "0"
	}
	return "(" + strings.Join(columns, ", ") + ")"
}

// collectRows returns a statement's rows, whose columns are in the order of T's fields. Each is
// planned for its arguments.
func collectRows[T any](ctx context.Context, tx pgx.Tx, sql string, args ...any) ([]T, error) {
	rows, err := tx.Query(ctx, sql, append([]any{pgx.QueryExecModeDescribeExec}, args...)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[T])
}
