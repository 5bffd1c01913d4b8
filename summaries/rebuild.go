package summaries

import (
	"context"
	_ "embed" // for rebuild.sql
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/sqlfile"
)

//go:embed rebuild.sql
var rebuildSQL string

// LoadLock is the advisory lock under which transactions, their keys and their rollups are changed,
// until the commit: they take turns. Migrations know it too.
const LoadLock int64 = 0x74616c6c79_02

// Keys is the name of the key table for [Rebuild], beside the tables of [Rollups].
const Keys = "keys"

// maxSecondRows bounds the ids that [Rebuilt] names.
const maxSecondRows = 100

// RebuildOptions are the options of [Rebuild].
type RebuildOptions struct {
	// Tables are tables of Rollups, or Keys; none means all.
	Tables []string
	// Record is called in the transaction that changes the tables. It may be nil.
	Record func(context.Context, pgx.Tx, Rebuilt) error
}

// Check names the table that there is not.
func (o RebuildOptions) Check() error {
	known := RebuildTables()
	for _, table := range o.Tables {
		if !slices.Contains(known, table) {
			return fmt.Errorf("there is no rollup %q: there are %s", table, strings.Join(known, ", "))
		}
	}
	return nil
}

// RebuildTables are the tables that can be rebuilt.
func RebuildTables() []string {
	names := []string{Keys}
	for _, r := range Rollups() {
		names = append(names, r.Table)
	}
	return names
}

// Rebuilt is the result of a rebuild.
type Rebuilt struct {
	Tables []RebuiltTable `json:"tables"`
	// SecondRows counts the ids with a row besides the one that their key names, or with several
	// rows and no key. They stay as they are: no rule says which row is right.
	SecondRows   int64    `json:"second_rows"`
	SecondRowIDs []string `json:"second_row_ids"` // the first ones
	// Waited is how long loads could not write, in seconds.
	Waited float64 `json:"locked_seconds"`
}

// RebuiltTable counts the rows of a table that a rebuild changed.
type RebuiltTable struct {
	Table   string `json:"table"`
	Stored  int64  `json:"stored"` // added or corrected
	Removed int64  `json:"removed"`
}

// Changed counts all rows that were changed.
func (r Rebuilt) Changed() (n int64) {
	for _, t := range r.Tables {
		n += t.Stored + t.Removed
	}
	return n
}

// rebuild is the work of [Rebuild], on one connection.
type rebuild struct {
	conn       *pgxpool.Conn
	statements sqlfile.Statements
	options    RebuildOptions
	rollups    []Rollup
	keys       bool
	epoch      int64 // before the comparison
	differing  int64 // keys of rollups, and ids
	result     Rebuilt
}

// Rebuild makes rollups, or the keys, equal to a recomputation from transactions, in one commit,
// so that readers see the old or the new state.
//
// It compares without locks. A load moves stored and recomputed values by the same difference, so
// no other key can come to differ meanwhile. Under the lock of loads it then recomputes the
// differing keys, if anything was committed since the comparison, and stores them. Loads wait for
// the latter only; readers do not wait.
func Rebuild(ctx context.Context, pool *pgxpool.Pool, o RebuildOptions) (Rebuilt, error) {
	r := rebuild{statements: sqlfile.Parse(rebuildSQL), options: o}
	err := o.Check()
	if err == nil {
		err = r.run(ctx, pool)
	}
	if err != nil {
		return Rebuilt{}, fmt.Errorf("rebuild: %w", err)
	}
	return r.result, nil
}

func (r *rebuild) run(ctx context.Context, pool *pgxpool.Pool) (err error) {
	named := func(table string) bool { return len(r.options.Tables) == 0 || slices.Contains(r.options.Tables, table) }
	for _, rollup := range Rollups() {
		if named(rollup.Table) {
			r.rollups = append(r.rollups, rollup)
		}
	}
	r.keys = named(Keys)
	r.result.SecondRowIDs = []string{} // JSON has no null for it
	if r.conn, err = pool.Acquire(ctx); err != nil {
		return err
	}
	defer r.conn.Release()
	defer r.drop(ctx)
	// Two transactions: while it waits for a load, it must hold no table that the load may lock.
	if err := r.begin(ctx, r.compare); err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	return r.begin(ctx, r.swap)
}

func (r *rebuild) begin(ctx context.Context, do func(context.Context, pgx.Tx) error) error {
	// Each statement needs its own snapshot, which sees what was committed before the lock.
	return pgx.BeginTxFunc(ctx, r.conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL jit = off"); err != nil {
			return err
		}
		return do(ctx, tx)
	})
}

// drop drops the temporary tables. If it fails, the connection is lost, and they are too.
func (r *rebuild) drop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_, _ = r.conn.Exec(ctx, "DISCARD TEMP")
}

// compare collects the keys that differ.
func (r *rebuild) compare(ctx context.Context, tx pgx.Tx) (err error) {
	if _, err := tx.Exec(ctx, LockRetired); err != nil {
		return err
	}
	if r.epoch, err = readEpoch(ctx, tx); err != nil {
		return err
	}
	for _, rollup := range r.rollups {
		if err := r.collect(ctx, tx, "rebuild_"+rollup.Table, r.statement(rollup, "differing")); err != nil {
			return fmt.Errorf("%s: %w", rollup.Table, err)
		}
	}
	if r.keys {
		return r.collect(ctx, tx, "rebuild_keys", r.statements.Get("keys"))
	}
	return nil
}

func (r *rebuild) collect(ctx context.Context, tx pgx.Tx, table, sql string) error {
	tag, err := tx.Exec(ctx, sql)
	r.differing += tag.RowsAffected()
	if err == nil {
		_, err = tx.Exec(ctx, "ANALYZE "+table)
	}
	return err
}

func readEpoch(ctx context.Context, tx pgx.Tx) (epoch int64, err error) {
	err = tx.QueryRow(ctx, "SELECT epoch FROM summary_epoch").Scan(&epoch)
	return epoch, err
}

// swap stores the differing keys, under the lock of loads.
func (r *rebuild) swap(ctx context.Context, tx pgx.Tx) error {
	if r.differing > 0 {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", LoadLock); err != nil {
			return fmt.Errorf("wait for the loads: %w", err)
		}
	}
	began := time.Now()
	for _, sql := range []string{"SET LOCAL tally.writer = 'tally'", deferTrigger} {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return err
		}
	}
	if err := r.store(ctx, tx); err != nil {
		return err
	}
	if r.differing > 0 {
		// It locks the epoch, so it comes last.
		if _, err := tx.Exec(ctx, "SELECT tally_announce(0, NULL)"); err != nil {
			return fmt.Errorf("announce: %w", err)
		}
		r.result.Waited = time.Since(began).Seconds()
	}
	if r.options.Record == nil {
		return nil
	}
	return r.options.Record(ctx, tx, r.result)
}

func (r *rebuild) store(ctx context.Context, tx pgx.Tx) error {
	epoch, err := readEpoch(ctx, tx)
	if err != nil {
		return err
	}
	for _, rollup := range r.rollups {
		if err := r.storeRollup(ctx, tx, rollup, epoch != r.epoch); err != nil {
			return fmt.Errorf("%s: %w", rollup.Table, err)
		}
	}
	if r.keys {
		if err := r.storeKeys(ctx, tx); err != nil {
			return fmt.Errorf("keys: %w", err)
		}
	}
	return nil
}

func (r *rebuild) storeRollup(ctx context.Context, tx pgx.Tx, rollup Rollup, again bool) error {
	if again {
		if _, err := tx.Exec(ctx, r.statement(rollup, "again")); err != nil {
			return fmt.Errorf("recompute: %w", err)
		}
	}
	done, err := r.change(ctx, tx, rollup.Table, r.statement(rollup, "remove"), r.statement(rollup, "store"))
	if err != nil || done.Removed+done.Stored == 0 || rollup.Versioned {
		return err
	}
	for _, other := range Rollups() {
		if sql := r.touch(rollup, other); sql != "" {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return fmt.Errorf("versions of %s: %w", other.Table, err)
			}
		}
	}
	return nil
}

func (r *rebuild) storeKeys(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, r.statements.Get("key_rows")); err != nil {
		return err
	}
	if _, err := r.change(ctx, tx, Keys, r.statements.Get("remove_keys"), r.statements.Get("store_keys")); err != nil {
		return err
	}
	rows, _ := tx.Query(ctx, r.statements.Get("second_rows")) // ForEachRow returns its error
	var id string
	_, err := pgx.ForEachRow(rows, []any{&id}, func() error {
		if r.result.SecondRows++; r.result.SecondRows <= maxSecondRows {
			r.result.SecondRowIDs = append(r.result.SecondRowIDs, id)
		}
		return nil
	})
	return err
}

// change removes and stores rows of a table, and counts them.
func (r *rebuild) change(ctx context.Context, tx pgx.Tx, table, remove, store string) (RebuiltTable, error) {
	done := RebuiltTable{Table: table}
	tag, err := tx.Exec(ctx, remove)
	if err != nil {
		return done, fmt.Errorf("remove: %w", err)
	}
	done.Removed = tag.RowsAffected()
	if tag, err = tx.Exec(ctx, store); err != nil {
		return done, fmt.Errorf("store: %w", err)
	}
	done.Stored = tag.RowsAffected()
	r.result.Tables = append(r.result.Tables, done)
	return done, nil
}

func (r *rebuild) statement(rollup Rollup, name string) string {
	column, value, stamp := "", "", ""
	if rollup.Versioned {
		column, value, stamp = ", file_id", ", file_id", r.statements.Get("stamp")
	}
	match := map[string]string{"differing": rollup.match("t", "r"), "remove": rollup.match("r", "d")}[name]
	within := ""
	if name == "again" {
		within = fmt.Sprintf("(%s) IN (SELECT %s FROM rebuild_%s)", rollup.forKeys(", ", Key.expression), rollup.keys(), rollup.Table)
	}
	return r.statements.Get(name, "rollup", rollup.Table, "columns", rollup.keys(),
		"stored", rollup.live(), "recomputed", rollup.recomputed(within), "match", match, "match_k", rollup.match("t", "k"), "match_d", rollup.match("d", "k"),
		"both", rollup.forKeys(", ", func(k Key) string { return fmt.Sprintf("coalesce(r.%[1]s, t.%[1]s) AS %[1]s", k.Column()) }),
		"file_column", column, "file_value", value, "stamp", stamp)
}

// touch changes the versions of the rows of a versioned rollup that stand for changed rows of
// one that has no versions: entity tags, Last-Modified and the state of an exported month are
// made of them. It is "" if the other has none, or no key in common.
func (r *rebuild) touch(changed, other Rollup) string {
	var columns, match []string
	for _, k := range other.Keys {
		switch {
		case slices.Contains(changed.Keys, k):
			columns, match = append(columns, k.Column()), append(match, "r."+k.Column()+" = d."+k.Column())
		case k == ByDay && slices.Contains(changed.Keys, ByMonth):
			month := ByMonth.Column()
			columns, match = append(columns, month), append(match, "date_trunc('month', r."+k.Column()+")::date = d."+month)
		}
	}
	if !other.Versioned || len(match) == 0 {
		return ""
	}
	return r.statements.Get("touch", "rollup", other.Table, "changed", changed.Table,
		"distinct", strings.Join(columns, ", "), "match", strings.Join(match, " AND "))
}
