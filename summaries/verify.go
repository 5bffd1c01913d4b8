package summaries

import (
	"context"
	_ "embed" // for verify.sql
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/sqlfile"
)

//go:embed verify.sql
var verifySQL string

// Drift is one difference between a stored and a recomputed value.
type Drift struct {
	Relation string `json:"relation"` // the table that is wrong
	Key      string `json:"key"`      // the row, such as "user_id 1633"
	Field    string `json:"field"`
	Stored   string `json:"stored"`
	Computed string `json:"computed"`
}

func (d Drift) String() string {
	return fmt.Sprintf("%s, %s: %s is %s, recomputed %s", d.Relation, d.Key, d.Field, d.Stored, d.Computed)
}

// Verification counts the rows that Verify compared and the differences that it found.
type Verification struct {
	Transactions int64 `json:"transactions"`
	Users        int64 `json:"users"`
	Days         int64 `json:"days"`
	Files        int64 `json:"files"`
	Drifts       int64 `json:"drifts"`
}

// Clean reports whether there are no differences.
func (v Verification) Clean() bool { return v.Drifts == 0 }

const sizeQuery = `SELECT (SELECT count(*) FROM transactions), (SELECT count(*) FROM user_summary),
	(SELECT count(*) FROM daily_totals), (SELECT count(*) FROM etl_files WHERE status = 'loaded')`

// Verify recomputes every rollup, the key table and the ledger's counts from the rows, in one
// snapshot, and calls report with each difference, in order of relation and key. It changes
// nothing and blocks nothing.
func Verify(ctx context.Context, pool *pgxpool.Pool, report func(Drift)) (v Verification, err error) {
	count := func(d Drift) {
		v.Drifts++
		report(d)
	}
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, pool, options, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, sizeQuery).Scan(&v.Transactions, &v.Users, &v.Days, &v.Files); err != nil {
			return err
		}
		for _, c := range checks() {
			if err := c.run(ctx, tx, count); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
		return nil
	})
	if err != nil {
		return v, fmt.Errorf("verify: %w", err)
	}
	return v, nil
}

// A check is a statement that selects a key and, for each of some fields, the stored and the
// computed value.
type check struct {
	name, sql     string
	relation, key string // key is the prefix of the selected one
	fields        []string
}

// checks are those of every rollup, then those of other tables.
func checks() []check {
	statements := sqlfile.Parse(verifySQL)
	var list []check
	for _, r := range Rollups() {
		list = append(list, check{r.Table + "/verify", r.verification(statements), r.Table, "", []string{"total_transactions", "total_amount"}})
	}
	for _, c := range []check{
		{"keys", "", "transaction_keys", "transaction_id ", []string{"place"}},
		{"twice", "", "transactions", "transaction_id ", []string{"stored"}},
		{"files", "", "etl_files", "", []string{"loaded"}},
		{"rejects", "", "etl_rejects", "", []string{"rows kept"}},
	} {
		c.name, c.sql = "verify_"+c.name, statements.Get(c.name)
		list = append(list, c)
	}
	return list
}

func (r Rollup) verification(statements sqlfile.Statements) string {
	both := func(k Key) string { return "coalesce(r." + k.Column() + ", t." + k.Column() + ")" }
	return statements.Get("rollup", "rollup", r.Table, "keys", r.selected(), "match", r.match("t", "r"),
		"label", r.forKeys(", ", func(k Key) string { return "'" + k.Column() + "', " + both(k) }),
		"group", r.forKeys(", ", Key.expression), "order", r.forKeys(", ", both))
}

func (c check) run(ctx context.Context, tx pgx.Tx, report func(Drift)) error {
	rows, err := tx.Query(ctx, c.sql)
	if err != nil {
		return err
	}
	var key string
	values := make([][2]string, len(c.fields)) // stored and computed
	into := []any{&key}
	for i := range values {
		into = append(into, &values[i][0], &values[i][1])
	}
	_, err = pgx.ForEachRow(rows, into, func() error {
		for i, v := range values {
			if v[0] != v[1] {
				report(Drift{c.relation, c.key + key, c.fields[i], v[0], v[1]})
			}
		}
		return nil
	})
	return err
}
