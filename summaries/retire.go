package summaries

import (
	"context"
	_ "embed" // for retire.sql
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/sqlfile"
)

//go:embed retire.sql
var retireSQL string

// ErrDrift reports that a table is wrong in the months to retire.
var ErrDrift = errors.New("differs from the rows: run tally verify, and tally rebuild")

// RetiredMonth is a month whose rows leave transactions.
type RetiredMonth struct {
	Month  civil.Month
	Rows   int64
	Amount money.Sum
	// KeptTable is the table that has the rows from now on, "" if they are dropped.
	KeptTable string
	// Of the export that has the rows, "" if there is none: its target, and the path and
	// checksum of the file.
	ExportedTo, Path, SHA256 string
}

// Retirement takes months out of the rollups, or fixes their share in them. It works in a
// transaction that has set tally.writer and the load lock.
type Retirement struct {
	Months []RetiredMonth

	tx           pgx.Tx
	statements   sqlfile.Statements
	from, before civil.Date // the months
	seed         string     // of weights, another one each time
}

// NewRetirement finds the months before one, except those that were retired already, and
// compares their rows with the rollups and the keys. No months: there is nothing to retire.
func NewRetirement(ctx context.Context, tx pgx.Tx, before civil.Month) (*Retirement, error) {
	r := &Retirement{tx: tx, statements: sqlfile.Parse(retireSQL), before: before.First(), seed: fmt.Sprintf("(%d)", rand.Int64())}
	if err := tx.QueryRow(ctx, retiredBeforeQuery).Scan(&r.from); err != nil {
		return nil, fmt.Errorf("look up the retired months: %w", err)
	}
	if r.from >= r.before {
		return r, nil
	}
	sums := sumsOfRows(sqlfile.Parse(verifySQL), r.seed, retiredHash())
	for _, sql := range []string{r.get("retired_rows", "sums", sums, "small", small), r.get("retired_months")} {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return nil, fmt.Errorf("read the rows: %w", err)
		}
	}
	rows, _ := tx.Query(ctx, r.get("list_retired")) // CollectRows returns its error
	var err error
	r.Months, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (m RetiredMonth, err error) {
		var first int32
		err = row.Scan(&first, &m.Rows, &m.Amount)
		m.Month = civil.Date(first).Month()
		return m, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the rows: %w", err)
	}
	return r, r.compare(ctx)
}

// retiredBeforeQuery is the first day that is not retired.
const retiredBeforeQuery = `SELECT greatest(before, DATE '0001-01-01') FROM etl_retired_before`

// retiredHash is the hash of a key that verifications compare with later. It has no seed, since
// it is stored.
func retiredHash() string { return strings.ReplaceAll(keyHash, "$1", "0") }

// get is a statement for the months.
func (r *Retirement) get(name string, words ...string) string {
	return r.statements.Get(name, append(words, "from", "'"+r.from.String()+"'", "before", "'"+r.before.String()+"'")...)
}

// periodColumn is the column of the key that is a day or a month, "" if there is none.
func (r Rollup) periodColumn() string {
	for _, k := range r.Keys {
		if k != ByUser {
			return k.Column()
		}
	}
	return ""
}

// compare fails if the rollups or the keys of the months differ from the rows: what is wrong
// now could not be recomputed later.
func (r *Retirement) compare(ctx context.Context) error {
	checks := map[string]string{keyTable: r.get("drift_keys", "hash", retiredHash())}
	for _, rollup := range Rollups() {
		if column := rollup.periodColumn(); column != "" {
			checks[rollup.Table] = r.drift(rollup, column)
		}
	}
	for table, sql := range checks {
		var differs bool
		if err := r.tx.QueryRow(ctx, sql, r.from, r.before).Scan(&differs); err != nil {
			return fmt.Errorf("compare %s: %w", table, err)
		}
		if differs {
			return fmt.Errorf("%s %w", table, ErrDrift)
		}
	}
	return nil
}

func (r *Retirement) drift(rollup Rollup, column string) string {
	n, amount, of := "n", "amount", "1"
	if rollup.PerUser() {
		n, amount, of = "weighted_n", "weighted_amount", weight(r.seed)
	}
	return r.get("drift", "rollup", rollup.Table, "period_of_days", rollup.period(Key.expression), "period", column, "n", n, "amount", amount, "weight", of)
}

// Record notes the months as retired by an entry of the audit chain. It takes their share out
// of the rollups, unless keep says that it stays.
func (r *Retirement) Record(ctx context.Context, change int64, keep bool) error {
	if err := r.note(ctx, change, keep); err != nil {
		return fmt.Errorf("note the months: %w", err)
	}
	if _, err := r.tx.Exec(ctx, deferTrigger); err != nil {
		return err
	}
	if !keep {
		if err := r.drop(ctx); err != nil {
			return fmt.Errorf("take the months out of the rollups: %w", err)
		}
	}
	// Also if no summary changes: readers that compare with the rows see that something did.
	_, err := r.tx.Exec(ctx, "SELECT tally_announce(0, NULL)")
	return err
}

func (r *Retirement) note(ctx context.Context, change int64, keep bool) error {
	var months []time.Time
	var tables, targets, paths, sums []string
	for _, m := range r.Months {
		months, tables = append(months, m.Month.First().Time()), append(tables, m.KeptTable)
		targets, paths, sums = append(targets, m.ExportedTo), append(paths, m.Path), append(sums, m.SHA256)
	}
	totals := "dropped"
	if keep {
		totals = "kept"
	}
	var words []string
	for _, rollup := range Rollups() {
		if column := rollup.periodColumn(); column != "" {
			words = append(words, rollup.Table, r.get("rollup_hash", "rollup", rollup.Table, "period", column, "keys", rollup.keys()))
		}
	}
	if _, err := r.tx.Exec(ctx, r.get("retire", words...), change, r.before, totals, months, tables, targets, paths, sums); err != nil {
		return err
	}
	_, err := r.tx.Exec(ctx, r.get("retire_files"))
	return err
}

func (r *Retirement) drop(ctx context.Context) error {
	for _, name := range []string{"retired_users", "drop_users", "reduce_users"} {
		if _, err := r.tx.Exec(ctx, r.get(name)); err != nil {
			return fmt.Errorf("user_summary: %w", err)
		}
	}
	for _, rollup := range Rollups() {
		if column := rollup.periodColumn(); column != "" {
			if _, err := r.tx.Exec(ctx, r.get("drop_periods", "rollup", rollup.Table, "period", column), r.from, r.before); err != nil {
				return fmt.Errorf("%s: %w", rollup.Table, err)
			}
		}
	}
	return nil
}

// Net is the number of rows and their sum.
func (r *Retirement) Net() (rows int64, amount money.Sum) {
	for _, m := range r.Months {
		rows, amount = rows+m.Rows, amount.Plus(m.Amount)
	}
	return rows, amount
}

// The rows of retired months cannot be recomputed. Where a rollup has a day or a month, its rows of
// those are left out of a comparison. The rows of user_summary have the share of user_months.
const (
	retiredBefore = "(SELECT before FROM etl_retired_before)"
	// retiredShare skips the table if no month is retired.
	retiredShare = "user_months WHERE month < " + retiredBefore + " AND " + retiredBefore + " > '-infinity'"
)

// live are the stored rows that are compared with a recomputation.
func (r Rollup) live() string {
	if column := r.periodColumn(); column != "" {
		return "(SELECT * FROM " + r.Table + " WHERE " + column + " >= " + retiredBefore + ")"
	}
	return r.Table
}

// liveSums are stored rows whose sums are those of the rows in transactions.
func (r Rollup) liveSums() string {
	if r.periodColumn() != "" {
		return r.live()
	}
	return "(SELECT user_id, total_transactions, total_amount FROM " + r.Table +
		" UNION ALL SELECT user_id, -total_transactions, -total_amount FROM " + retiredShare + ")"
}

// recomputed selects what the live rows must be, or those within a condition on the key: n, amount and the
// last file.
func (r Rollup) recomputed(within string) string {
	where, and := "", ""
	if within != "" {
		where, and = " WHERE "+within, " AND "+within
	}
	sql := "SELECT " + r.selected() + ", count(*) AS n, sum(amount::numeric) AS amount, max(file_id) AS file_id FROM transactions" + where +
		" GROUP BY " + r.forKeys(", ", Key.expression)
	if r.periodColumn() != "" {
		return sql
	}
	return "SELECT user_id, sum(n)::bigint AS n, sum(amount) AS amount, max(file_id) AS file_id FROM (" + sql +
		" UNION ALL SELECT user_id, sum(total_transactions)::bigint, sum(total_amount), 0 FROM " + retiredShare + and + " GROUP BY user_id) s GROUP BY user_id"
}

// retiredCheck compares retired months with what they were.
func retiredCheck(sql sqlfile.Statements) string {
	r, words := Retirement{statements: sqlfile.Parse(retireSQL), from: civil.Min, before: civil.Max}, []string{"hash", retiredHash()}
	for _, rollup := range Rollups() {
		if column := rollup.periodColumn(); column != "" {
			hashes := r.get("rollup_hash", "rollup", rollup.Table, "period", column, "keys", rollup.keys())
			words = append(words, rollup.Table, strings.Replace(hashes, "< '"+civil.Max.String()+"'", "< "+retiredBefore, 1))
		}
	}
	return sql.Get("retired", words...)
}
