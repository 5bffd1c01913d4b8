package summaries

import (
	"context"
	_ "embed" // for the SQL files
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/sqlfile"
)

//go:embed verify.sql
var verifySQL string

// Drift is one difference between what is stored and what a recomputation gives.
type Drift struct {
	Relation string `json:"relation"` // the table that is wrong
	Key      string `json:"key"`      // the row, such as "user_id 1633"
	Field    string `json:"field"`    // what differs
	Stored   string `json:"stored"`
	Computed string `json:"computed"`
}

func (d Drift) String() string {
	return fmt.Sprintf("%s, %s: %s is %s, recomputed %s", d.Relation, d.Key, d.Field, d.Stored, d.Computed)
}

// Verification is what Verify looked at and how many differences it found.
type Verification struct {
	Transactions int64 `json:"transactions"`
	Users        int64 `json:"users"`
	Days         int64 `json:"days"`
	Files        int64 `json:"files"`
	Drifts       int64 `json:"drifts"`
}

// Clean says that nothing differs.
func (v Verification) Clean() bool { return v.Drifts == 0 }

// Verify recomputes every rollup, the key table and the ledger's counts from the
// rows themselves, in one snapshot, and calls report with each difference, in
// order of relation and key. It changes nothing and blocks nothing.
func Verify(ctx context.Context, pool *pgxpool.Pool, report func(Drift)) (Verification, error) {
	var v Verification
	statements := sqlfile.Parse(verifySQL)
	count := func(d Drift) {
		v.Drifts++
		report(d)
	}
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, pool, options, func(tx pgx.Tx) error {
		if err := v.size(ctx, tx); err != nil {
			return err
		}
		for _, r := range Rollups() {
			if err := verifyRollup(ctx, tx, statements, r, count); err != nil {
				return err
			}
		}
		for _, c := range checks() {
			if err := c.run(ctx, tx, statements, count); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return v, fmt.Errorf("verify: %w", err)
	}
	return v, nil
}

const sizeQuery = `SELECT (SELECT count(*) FROM transactions), (SELECT count(*) FROM user_summary),
	(SELECT count(*) FROM daily_totals), (SELECT count(*) FROM etl_files WHERE status = 'loaded')`

func (v *Verification) size(ctx context.Context, tx pgx.Tx) error {
	return tx.QueryRow(ctx, sizeQuery).Scan(&v.Transactions, &v.Users, &v.Days, &v.Files)
}

// verification compares the stored rows with a recomputation.
func (r Rollup) verification(statements sqlfile.Statements) string {
	both := func(k Key) string { return "coalesce(r." + k.Column() + ", t." + k.Column() + ")" }
	return statements.Get("rollup", "rollup", r.Table, "keys", r.selected(), "match", r.match("t", "r"),
		"label", r.forKeys(", ", func(k Key) string { return "'" + k.Column() + "', " + both(k) }),
		"group", r.forKeys(", ", Key.expression), "order", r.forKeys(", ", both))
}

func verifyRollup(ctx context.Context, tx pgx.Tx, statements sqlfile.Statements, r Rollup, report func(Drift)) error {
	rows, err := tx.Query(ctx, r.verification(statements))
	if err != nil {
		return fmt.Errorf("%s: %w", r.Table, err)
	}
	var key, storedAmount, computedAmount string
	var storedCount, computedCount int64
	_, err = pgx.ForEachRow(rows, []any{&key, &storedCount, &computedCount, &storedAmount, &computedAmount}, func() error {
		d := Drift{Relation: r.Table, Key: key}
		if storedCount != computedCount {
			d.Field, d.Stored, d.Computed = "total_transactions", fmt.Sprint(storedCount), fmt.Sprint(computedCount)
			report(d)
		}
		if storedAmount != computedAmount {
			d.Field, d.Stored, d.Computed = "total_amount", storedAmount, computedAmount
			report(d)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", r.Table, err)
	}
	return nil
}

// A check is a statement of verify.sql that gives key, stored and computed.
type check struct {
	statement, relation, key, field string
}

func checks() []check {
	return []check{
		{"keys", "transaction_keys", "transaction_id ", "place"},
		{"twice", "transactions", "transaction_id ", "stored"},
		{"files", "etl_files", "", "loaded"},
		{"rejects", "etl_rejects", "", "rows kept"},
	}
}

func (c check) run(ctx context.Context, tx pgx.Tx, statements sqlfile.Statements, report func(Drift)) error {
	rows, err := tx.Query(ctx, statements.Get(c.statement))
	if err != nil {
		return fmt.Errorf("%s: %w", c.statement, err)
	}
	d := Drift{Relation: c.relation, Field: c.field}
	var key string
	_, err = pgx.ForEachRow(rows, []any{&key, &d.Stored, &d.Computed}, func() error {
		d.Key = c.key + key
		report(d)
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", c.statement, err)
	}
	return nil
}
