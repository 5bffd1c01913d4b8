package summaries

import (
	"cmp"
	"context"
	_ "embed" // for rebuild.sql
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/postgres"
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

// rebuildPart is how many keys of a rollup a rebuild stores at most while loads wait.
const rebuildPart = 10_000

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
	// Waited is how long loads could not write at most, in seconds: at each of several times if a table
	// was lost.
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
	since      rebuiltSince
	differing  map[string]int64 // keys of rollups, and ids, by table
	result     Rebuilt
}

// rebuiltSince is a state of the summaries that the differing keys are of.
type rebuiltSince struct {
	epoch int64
	entry int64 // the last one of the audit chain
}

// Rebuild makes rollups, or the keys, equal to a recomputation from transactions. Up to 10,000
// differing keys of each rollup, and all ids, are stored in one commit, so that readers see the old
// or the new state. Of a rollup with more, which was lost as a whole, the others are stored before
// that, in a commit for each 10,000: its readers see the rows return one part after the other. The
// ids are stored first then.
//
// It compares without locks. A load moves stored and recomputed values by the same difference, so
// no other key can come to differ meanwhile, and the differing keys move with what is stored. If
// anything but loads that added rows was committed since the comparison, they are recomputed. Loads
// wait for one part at a time; readers do not wait.
func Rebuild(ctx context.Context, pool *pgxpool.Pool, o RebuildOptions) (Rebuilt, error) {
	r := rebuild{statements: sqlfile.Parse(rebuildSQL), options: o, differing: map[string]int64{}}
	err := o.Check()
	if err == nil {
		err = postgres.NeedSessions(ctx, pool) // for temporary tables
	}
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
	exclusion, err := ExcludeLoads(ctx, pool)
	if err != nil {
		return err
	}
	defer exclusion.End(ctx)
	if r.conn, err = pool.Acquire(ctx); err != nil {
		return err
	}
	defer r.conn.Release()
	defer r.drop(ctx)
	// Two transactions: while it waits for a load, it must hold no table that the load may lock.
	if err := cmp.Or(r.begin(ctx, r.compare), exclusion.Check(ctx)); err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	exclusion.End(ctx)
	if err := r.storeParts(ctx); err != nil {
		return err
	}
	return r.begin(ctx, r.swap)
}

// storeParts stores all but the last part of rollups that were lost, each in a commit. The keys come
// before: a load that misses the key of a stored id stores a second row.
func (r *rebuild) storeParts(ctx context.Context) error {
	commit := func(do func(context.Context, pgx.Tx) error) error {
		return r.begin(ctx, func(ctx context.Context, tx pgx.Tx) error {
			return r.locked(ctx, tx, func() error { return do(ctx, tx) })
		})
	}
	if r.differing[Keys] > 0 && slices.ContainsFunc(r.rollups, func(rollup Rollup) bool { return r.last(rollup) > 0 }) {
		if err := commit(r.storeKeys); err != nil {
			return fmt.Errorf("keys: %w", err)
		}
		r.keys = false
	}
	for _, rollup := range r.rollups {
		for part := range r.last(rollup) {
			if err := commit(func(ctx context.Context, tx pgx.Tx) error { return r.storeRollup(ctx, tx, rollup, part) }); err != nil {
				return fmt.Errorf("%s: %w", rollup.Table, err)
			}
		}
	}
	return nil
}

// last is the number of a rollup's last part, from 0.
func (r *rebuild) last(rollup Rollup) int64 { return max(0, r.differing[rollup.Table]-1) / rebuildPart }

func (r *rebuild) begin(ctx context.Context, do func(context.Context, pgx.Tx) error) error {
	// Each statement needs its own snapshot, which sees what was committed before the lock.
	return pgx.BeginTxFunc(ctx, r.conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		for _, sql := range []string{"SET LOCAL jit = off", "SET LOCAL tally.writer = 'tally'", deferTrigger} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
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
	if _, err := tx.Exec(ctx, audit.LockRetired); err != nil {
		return err
	}
	if r.since, _, err = r.state(ctx, tx); err != nil {
		return err
	}
	for _, rollup := range r.rollups {
		if err := r.collect(ctx, tx, rollup.Table, r.statement(rollup, "differing", 0)); err != nil {
			return fmt.Errorf("%s: %w", rollup.Table, err)
		}
		if _, err := tx.Exec(ctx, "CREATE INDEX ON rebuild_"+rollup.Table+" (part)"); err != nil {
			return fmt.Errorf("%s: %w", rollup.Table, err)
		}
	}
	if r.keys {
		return r.collect(ctx, tx, Keys, r.statements.Get("keys"))
	}
	return nil
}

func (r *rebuild) collect(ctx context.Context, tx pgx.Tx, table, sql string) error {
	tag, err := tx.Exec(ctx, sql)
	r.differing[table] = tag.RowsAffected()
	if err == nil {
		_, err = tx.Exec(ctx, "ANALYZE rebuild_"+table)
	}
	return err
}

// state is the present one, and how many loads have only added rows since r.since.
func (r *rebuild) state(ctx context.Context, tx pgx.Tx) (now rebuiltSince, added int64, err error) {
	err = tx.QueryRow(ctx, r.statements.Get("state"), r.since.entry).Scan(&now.epoch, &now.entry, &added)
	return now, added, err
}

// locked changes tables under the lock of loads, and notifies the caches.
func (r *rebuild) locked(ctx context.Context, tx pgx.Tx, do func() error) error {
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", LoadLock); err != nil {
		return fmt.Errorf("wait for the loads: %w", err)
	}
	began := time.Now()
	if err := r.catchUp(ctx, tx); err != nil {
		return fmt.Errorf("recompute: %w", err)
	}
	if err := do(); err != nil {
		return err
	}
	// It locks the epoch, so it comes last.
	if _, err := tx.Exec(ctx, "SELECT tally_announce(0, NULL)"); err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	r.since.epoch++
	r.result.Waited = max(r.result.Waited, time.Since(began).Seconds())
	return nil
}

// catchUp recomputes the differing keys if rows were removed since, or by someone unknown.
func (r *rebuild) catchUp(ctx context.Context, tx pgx.Tx) error {
	now, added, err := r.state(ctx, tx)
	if err != nil || now.epoch-r.since.epoch == added {
		return err
	}
	for _, rollup := range r.rollups {
		if _, err := tx.Exec(ctx, r.statement(rollup, "again", 0)); err != nil {
			return fmt.Errorf("%s: %w", rollup.Table, err)
		}
	}
	r.since = now
	return nil
}

// swap stores the last part of each rollup, and the keys.
func (r *rebuild) swap(ctx context.Context, tx pgx.Tx) error {
	store := func() error { return r.store(ctx, tx) }
	var err error
	if slices.Max(slices.Collect(maps.Values(r.differing))) > 0 {
		err = r.locked(ctx, tx, store)
	} else {
		err = store()
	}
	if err != nil || r.options.Record == nil {
		return err
	}
	return r.options.Record(ctx, tx, r.result)
}

func (r *rebuild) store(ctx context.Context, tx pgx.Tx) error {
	for _, rollup := range r.rollups {
		if err := r.storeRollup(ctx, tx, rollup, r.last(rollup)); err != nil {
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

func (r *rebuild) storeRollup(ctx context.Context, tx pgx.Tx, rollup Rollup, part int64) error {
	if _, err := tx.Exec(ctx, r.statement(rollup, "added", part)); err != nil {
		return fmt.Errorf("add what was loaded since: %w", err)
	}
	changed, err := r.change(ctx, tx, rollup.Table, r.statement(rollup, "remove", part), r.statement(rollup, "store", part))
	if err != nil || !changed || rollup.Versioned {
		return err
	}
	for _, other := range Rollups() {
		if sql := r.touch(rollup, other, part); sql != "" {
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

// change removes and stores rows of a table, counts them, and reports whether the table has changed
// by now.
func (r *rebuild) change(ctx context.Context, tx pgx.Tx, table, remove, store string) (bool, error) {
	removed, err := tx.Exec(ctx, remove)
	if err != nil {
		return false, fmt.Errorf("remove: %w", err)
	}
	stored, err := tx.Exec(ctx, store)
	if err != nil {
		return false, fmt.Errorf("store: %w", err)
	}
	i := slices.IndexFunc(r.result.Tables, func(t RebuiltTable) bool { return t.Table == table })
	if i < 0 {
		i = len(r.result.Tables)
		r.result.Tables = append(r.result.Tables, RebuiltTable{Table: table})
	}
	done := &r.result.Tables[i]
	done.Removed, done.Stored = done.Removed+removed.RowsAffected(), done.Stored+stored.RowsAffected()
	return done.Removed+done.Stored > 0, nil
}

func (r *rebuild) statement(rollup Rollup, name string, part int64) string {
	column, value, file, stamp := "", "", "0", ""
	if rollup.Versioned {
		column, value, file, stamp = ", file_id", ", file_id", "r.file_id", r.statements.Get("stamp")
	}
	match := rollup.match("r", "d")
	if name == "differing" {
		match = rollup.match("t", "r")
	}
	within := ""
	if name == "again" {
		within = fmt.Sprintf("(%s) IN (SELECT %s FROM rebuild_%s)", rollup.forKeys(", ", Key.expression), rollup.keys(), rollup.Table)
	}
	return r.statements.Get(name, "rollup", rollup.Table, "columns", rollup.keys(),
		"stored", rollup.live(), "recomputed", rollup.recomputed(within), "match", match, "match_k", rollup.match("t", "k"), "match_d", rollup.match("d", "k"), "match_r", rollup.match("r", "k"),
		"part", strconv.FormatInt(part, 10), "size", strconv.Itoa(rebuildPart), "file", file,
		"both", rollup.forKeys(", ", func(k Key) string { return fmt.Sprintf("coalesce(r.%[1]s, t.%[1]s) AS %[1]s", k.Column()) }),
		"file_column", column, "file_value", value, "stamp", stamp)
}

// touch changes the versions of the rows of a versioned rollup that stand for changed rows of
// one that has no versions: entity tags, Last-Modified and the state of an exported month are
// made of them. It is "" if the other has none, or no key in common. Days are in every part, so their
// versions change with the last one.
func (r *rebuild) touch(changed, other Rollup, part int64) string {
	var columns, match []string
	within := "WHERE part = " + strconv.FormatInt(part, 10)
	for _, k := range other.Keys {
		switch {
		case slices.Contains(changed.Keys, k):
			columns, match = append(columns, k.Column()), append(match, "r."+k.Column()+" = d."+k.Column())
		case k == ByDay && slices.Contains(changed.Keys, ByMonth) && part == r.last(changed):
			month := ByMonth.Column()
			within = ""
			columns, match = append(columns, month), append(match, "date_trunc('month', r."+k.Column()+")::date = d."+month)
		}
	}
	if !other.Versioned || len(match) == 0 {
		return ""
	}
	return r.statements.Get("touch", "rollup", other.Table, "changed", changed.Table, "within", within,
		"distinct", strings.Join(columns, ", "), "match", strings.Join(match, " AND "))
}
