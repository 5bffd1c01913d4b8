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

const sizeQuery = `SELECT (SELECT count(*) FROM user_summary), (SELECT count(*) FROM daily_totals),
	(SELECT count(*) FROM etl_files WHERE status = 'loaded')`

// VerifyOptions are the options of [Verify]. The zero value is the usual verification.
type VerifyOptions struct {
	// Full compares every key with its recomputation, although the sums over all keys are the same.
	Full bool
	// Progress receives the number of transactions read and the share of the work done, 0 to 1. It may be nil.
	Progress func(rows int64, share float64)
}

// Verify recomputes every rollup, the key table and the ledger's counts from the rows, in one
// snapshot, and calls report with each difference, in order of relation and key. It changes
// nothing and blocks nothing.
//
// It reads the rows once and compares sums weighted at random. Only tables whose sums differ are
// compared key by key, unless the options say Full. A difference escapes the sums with a
// probability of about 2^-63, independently of earlier verifications.
func Verify(ctx context.Context, pool *pgxpool.Pool, o VerifyOptions, report func(Drift)) (v Verification, err error) {
	count := func(d Drift) {
		v.Drifts++
		report(d)
	}
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, pool, options, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL jit = off"); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, sizeQuery).Scan(&v.Users, &v.Days, &v.Files); err != nil {
			return err
		}
		days, err := o.readDays(ctx, tx)
		if err != nil {
			return fmt.Errorf("read the rows: %w", err)
		}
		v.Transactions = days.rows
		return o.compare(ctx, tx, days, count)
	})
	if err != nil {
		return v, fmt.Errorf("verify: %w", err)
	}
	return v, nil
}

// compare runs the checks, without those whose sums are the same.
func (o VerifyOptions) compare(ctx context.Context, tx pgx.Tx, days daySums, report func(Drift)) error {
	list := checks()
	for i, c := range list {
		same := false
		if c.same != "" && !o.Full {
			if err := tx.QueryRow(ctx, c.same, c.args(days)...).Scan(&same); err != nil {
				return fmt.Errorf("sums of %s: %w", c.name, err)
			}
		}
		if !same {
			if err := c.run(ctx, tx, report); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
		o.progress(days.rows, o.readShare()+(1-o.readShare())*float64(i+1)/float64(len(list)))
	}
	return nil
}

func (o VerifyOptions) progress(rows int64, share float64) {
	if o.Progress != nil {
		o.Progress(rows, share)
	}
}

// readShare is the share of the time, about, in which the rows are read.
func (o VerifyOptions) readShare() float64 {
	if o.Full {
		return 0.2
	}
	return 0.75
}

// A check is a statement that selects a key and, for each of some fields, the stored and the
// computed value.
type check struct {
	name, sql     string
	relation, key string // key is the prefix of the selected one
	fields        []string
	same          string // selects whether the sums are the same; "" for none
	args          func(daySums) []any
}

// checks are those of every rollup, then those of other tables.
func checks() []check {
	statements := sqlfile.Parse(verifySQL)
	var list []check
	for _, r := range Rollups() {
		list = append(list, check{
			name: r.Table + "/verify", sql: r.verification(statements), relation: r.Table, fields: []string{"total_transactions", "total_amount"},
			same: r.sameSums(statements), args: r.sums,
		})
	}
	for _, c := range []check{
		{name: "keys", relation: "transaction_keys", key: "transaction_id ", fields: []string{"place"}},
		{name: "twice", relation: "transactions", key: "transaction_id ", fields: []string{"stored"}},
		{name: "files", relation: "etl_files", fields: []string{"loaded"}},
		{name: "rejects", relation: "etl_rejects", fields: []string{"rows kept"}},
	} {
		if c.name == "keys" || c.name == "twice" { // a key can be stored only once
			c.same, c.args = statements.Get("same_keys", "hash", keyHash), daySums.keys
		}
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
