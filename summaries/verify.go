package summaries

import (
	"cmp"
	"context"
	_ "embed" // for verify.sql
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/audit"
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

	id, month string // of a key: the transaction's, and the month of its date
}

// keyTable is the table of keys. Its place is noKey if a row has no key, and noRow if a key has no row.
const (
	keyTable = "transaction_keys"
	noKey    = "no key"
	noRow    = "no row"
)

func (d Drift) String() string {
	return fmt.Sprintf("%s, %s: %s is %s, recomputed %s", d.Relation, d.Key, d.Field, d.Stored, d.Computed)
}

// VerifyLockClass is the first half of the advisory lock of an exclusive verification; the other
// half is 0.
const VerifyLockClass = 0x7476

// ErrVerifying reports that another verification has the lock.
var ErrVerifying = errors.New("another verification is going on")

// Verification counts the rows that Verify compared and the differences that it found.
type Verification struct {
	Transactions int64 `json:"transactions"`
	Users        int64 `json:"users"`
	Days         int64 `json:"days"`
	Files        int64 `json:"files"`
	Drifts       int64 `json:"drifts"`
	// OrphanKeys are keys without a row, RowsWithoutKey rows without a key. Both are among the
	// differences.
	OrphanKeys     LostKeys `json:"orphan_keys"`
	RowsWithoutKey LostKeys `json:"rows_without_key"`
	rebuildable    bool
}

// LostKeys are keys without a row, or rows without a key.
type LostKeys struct {
	Count  int64            `json:"count"`
	First  []string         `json:"first"`  // transaction_ids, a few
	Months map[string]int64 `json:"months"` // how many of each month, such as "2024-01"
}

// maxFirstKeys bounds the ids that are named.
const maxFirstKeys = 5

func (k *LostKeys) add(id, month string) {
	if k.Months == nil {
		k.Months = map[string]int64{}
	}
	k.Count++
	k.Months[month]++
	if len(k.First) < maxFirstKeys {
		k.First = append(k.First, id)
	}
}

// String is such as "2 (2024-01: 2), first T1, T2".
func (k LostKeys) String() string {
	var months []string
	for _, month := range slices.Sorted(maps.Keys(k.Months)) {
		months = append(months, fmt.Sprintf("%s: %d", month, k.Months[month]))
	}
	return fmt.Sprintf("%d (%s), first %s", k.Count, strings.Join(months, ", "), strings.Join(k.First, ", "))
}

// Clean reports whether there are no differences.
func (v Verification) Clean() bool { return v.Drifts == 0 }

// NextStep is what to do about the differences, "" if there are none.
func (v Verification) NextStep() string {
	switch {
	case v.Clean():
		return ""
	case v.rebuildable:
		return "tally rebuild"
	default:
		return "compare the files' entries in etl_files with their rows: what the ledger says cannot be rebuilt"
	}
}

const sizeQuery = `SELECT (SELECT count(*) FROM user_summary), (SELECT count(*) FROM daily_totals),
	(SELECT count(*) FROM etl_files WHERE status = 'loaded')`

// VerifyOptions are the options of [Verify]. The zero value is the usual verification.
type VerifyOptions struct {
	// Full compares every key with its recomputation, although the sums over all keys are the same.
	Full bool
	// Exclusive excludes other exclusive verifications, which then return ErrVerifying.
	Exclusive bool
	// Progress receives the number of transactions read and the share of the work done, 0 to 1. It may be nil.
	Progress func(rows int64, share float64)
}

// Verify recomputes every rollup, the key table and the ledger's counts from the rows, in one
// snapshot, and calls report with each difference, in order of relation and key. It changes
// nothing and blocks nothing, except loads on a cluster ([ExcludeLoads]).
//
// It reads the rows once for all rollups and the keys, and once to count those of each file. It compares
// sums weighted at random; only tables whose sums differ are compared key by key, unless the options say
// Full. A difference escapes the sums with a probability of about 2^-63, independently of earlier
// verifications.
func Verify(ctx context.Context, pool *pgxpool.Pool, o VerifyOptions, report func(Drift)) (v Verification, err error) {
	v.OrphanKeys.First, v.RowsWithoutKey.First = []string{}, []string{} // JSON has no null for them
	v.OrphanKeys.Months, v.RowsWithoutKey.Months = map[string]int64{}, map[string]int64{}
	count := func(d Drift) {
		v.count(d)
		report(d)
	}
	exclusion, err := ExcludeLoads(ctx, pool)
	if err != nil {
		return v, fmt.Errorf("verify: %w", err)
	}
	defer exclusion.End(ctx)
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, pool, options, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL jit = off"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, audit.LockRetired); err != nil {
			return err
		}
		if err := o.lock(ctx, tx); err != nil {
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
	err = cmp.Or(err, exclusion.Check(ctx))
	if err != nil {
		return v, fmt.Errorf("verify: %w", err)
	}
	return v, nil
}

// releasing releases the locks on tables after do: it rolls back to a savepoint. Otherwise a load
// that locks a table would wait for the whole verification.
func releasing(ctx context.Context, tx pgx.Tx, do func(pgx.Tx) error) error {
	reading, err := tx.Begin(ctx)
	if err != nil {
		return err
	}
	err = do(reading)
	return cmp.Or(err, reading.Rollback(ctx))
}

// lock takes the lock of verifications until the transaction ends.
func (o VerifyOptions) lock(ctx context.Context, tx pgx.Tx) error {
	if !o.Exclusive {
		return nil
	}
	var free bool
	err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1::int4, 0)", VerifyLockClass).Scan(&free)
	if err == nil && !free {
		err = ErrVerifying
	}
	return err
}

// count counts a difference.
func (v *Verification) count(d Drift) {
	v.Drifts++
	switch {
	case d.month == "":
	case d.Stored == noKey:
		v.RowsWithoutKey.add(d.id, d.month)
	case d.Computed == noRow:
		v.OrphanKeys.add(d.id, d.month)
	}
	v.rebuildable = v.rebuildable || slices.Contains(RebuildTables(), d.Relation) || d.Relation == keyTable
}

// compare runs the checks, without those whose sums are the same.
func (o VerifyOptions) compare(ctx context.Context, tx pgx.Tx, days daySums, report func(Drift)) error {
	list := checks()
	for i, c := range list {
		same := false
		if c.same != "" && !o.Full {
			err := releasing(ctx, tx, func(tx pgx.Tx) error { return tx.QueryRow(ctx, c.same, c.args(days)...).Scan(&same) })
			if err != nil {
				return fmt.Errorf("sums of %s: %w", c.name, err)
			}
		}
		if !same {
			if err := releasing(ctx, tx, func(tx pgx.Tx) error { return c.run(ctx, tx, report) }); err != nil {
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
		{name: "keys", relation: keyTable, key: "transaction_id ", fields: []string{"place"}},
		{name: "twice", relation: "transactions", key: "transaction_id ", fields: []string{"stored"}},
		{name: "retired", relation: "etl_retired", key: "month ", fields: []string{"hashes"}},
		{name: "files", relation: "etl_files", fields: []string{"loaded"}},
		{name: "rejects", relation: "etl_rejects", fields: []string{"rows kept"}},
	} {
		if c.name == "keys" || c.name == "twice" { // a key can be stored only once
			c.same, c.args = statements.Get("same_keys", "hash", keyHash), daySums.keys
		}
		if c.name == "retired" {
			c.sql = retiredCheck(statements)
		} else {
			c.sql = statements.Get(c.name)
		}
		c.name = "verify_" + c.name
		list = append(list, c)
	}
	return list
}

func (r Rollup) verification(statements sqlfile.Statements) string {
	both := func(k Key) string { return "coalesce(r." + k.Column() + ", t." + k.Column() + ")" }
	return statements.Get("rollup", "stored", r.live(), "recomputed", r.recomputed(""), "match", r.match("t", "r"),
		"label", r.forKeys(", ", func(k Key) string { return "'" + k.Column() + "', " + both(k) }),
		"order", r.forKeys(", ", both))
}

func (c check) run(ctx context.Context, tx pgx.Tx, report func(Drift)) error {
	rows, err := tx.Query(ctx, c.sql)
	if err != nil {
		return err
	}
	var key, month string
	values := make([][2]string, len(c.fields)) // stored and computed
	into := []any{&key}
	for i := range values {
		into = append(into, &values[i][0], &values[i][1])
	}
	if c.relation == keyTable {
		into = append(into, &month)
	}
	_, err = pgx.ForEachRow(rows, into, func() error {
		for i, v := range values {
			if v[0] != v[1] {
				report(Drift{c.relation, c.key + key, c.fields[i], v[0], v[1], key, month})
			}
		}
		return nil
	})
	return err
}
