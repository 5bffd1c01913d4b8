package parquet_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
	tally "github.com/opentax/tally/pipeline/parquet"
)

// whole verifies every file that the manifest names: its checksum and its rows.
func (l *lake) whole() map[string]bool {
	l.t.Helper()
	named := map[string]bool{tally.ManifestName: true}
	for _, f := range l.manifest().Files {
		assert.Len(l.t, rows(l.t, l.open(f.Path)), int(f.Rows), f.Path)
		named[f.Path] = true
	}
	return named
}

// An export that fails at any step leaves the previous one complete, and the next one cleans up. A step
// is the appearance of a file.
func TestFailureAtEveryStep(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.generate(3_000, 1)
	l.export()
	broken := errors.New("the disk failed")
	manifest := l.contents()[tally.ManifestName]
	for step := 0; ; step++ {
		require.Less(t, step, 1000)
		l.load(strings.ReplaceAll("N%,77,5,2024-05-30\nM%,77,5,2024-06-01\n", "%", string(rune('A'+step))))
		var mu sync.Mutex
		left := step
		published := false
		plain := l.config.Target
		l.config.Target = &watched{Target: plain, appeared: func(path string) error {
			mu.Lock()
			defer mu.Unlock()
			published = published || path == tally.ManifestName
			if left--; left < 0 {
				return broken
			}
			return nil
		}}
		_, err := tally.Export(t.Context(), l.config)
		l.config.Target = plain
		if err == nil {
			require.Greater(t, step, filesOf(2), "every file of two months, and the manifest")
			break
		}
		require.ErrorIs(t, err, broken)
		l.whole()
		assert.Equal(t, !published, manifest == l.contents()[tally.ManifestName])

		l.export()
		named := l.whole()
		for path := range l.contents() {
			assert.True(t, named[path], "%s is left over", path)
		}
		manifest = l.contents()[tally.ManifestName]
	}
	assert.True(t, l.check().Clean())
}

// What a killed process leaves behind is cleaned up, and other files are
// left as they are.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.load("A,1,1,2024-01-15\n")
	l.export()
	theirs := []string{"notes.txt", "transactions/README.md", "transactions/month=2024-01-01/mine.parquet", "other/part-0123456789abcdef.parquet"}
	left := []string{
		"transactions/month=2024-01-01/part-0123456789abcdef.parquet", "transactions/month=2024-01-01/part-0123456789abcdef.parquet.18fa.tmp",
		"user_summary/part-0123456789abcdef.parquet", "manifest.json.18fa.tmp",
	}
	for _, name := range slices.Concat(theirs, left) {
		path := filepath.Join(l.dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
	}
	assert.Equal(t, len(left), l.export().Removed)
	after := l.contents()
	for _, name := range theirs {
		assert.Contains(t, after, name)
	}
	for _, name := range left {
		assert.NotContains(t, after, name)
	}
}

// A target has one export at a time; exports to two targets do not wait for each other.
func TestTwoExportsAtOnce(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.load("A,1,1,2024-01-15\n")
	other := l.config
	dir := t.TempDir()
	other.Target = folder(t, dir)
	same := l.config
	var once sync.Once
	l.config.Target = &watched{Target: same.Target, appeared: func(string) error {
		once.Do(func() {
			_, err := tally.Export(t.Context(), same)
			assert.ErrorIs(t, err, tally.ErrBusy)
			_, err = tally.Export(t.Context(), other)
			assert.NoError(t, err)
		})
		return nil
	}}
	l.export()
	assert.True(t, l.check().Clean())
}

// Loads go on during exports: each export is one snapshot.
func TestExportIsOneSnapshot(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.generate(2_000, 1)
	ctx, stop := context.WithCancel(t.Context())
	var exports sync.WaitGroup
	exports.Go(func() {
		for ctx.Err() == nil {
			// It fails if the sums of its tables differ.
			_, err := tally.Export(t.Context(), l.config)
			assert.NoError(t, err)
		}
	})
	for seed := range uint64(10) {
		l.generate(500, seed+2)
	}
	stop()
	exports.Wait()
	l.export()
	assert.True(t, l.check().Clean())
}

// A load that commits before the snapshot's second connection is acquired is not in the export: both
// have the first one's snapshot. Before them there is the connection that would exclude loads.
func TestConnectionsShareTheSnapshot(t *testing.T) {
	t.Parallel()
	testdb.SkipOnCluster(t, "an export excludes loads there")
	l := newLake(t)
	l.load("A,1,1,2024-01-15\nB,1,2,2024-02-15\n")
	config := l.pool.Config()
	acquired := 0
	config.PrepareConn = func(context.Context, *pgx.Conn) (bool, error) {
		if acquired++; acquired == 3 {
			l.load("C,1,4,2024-01-16\nD,1,8,2024-02-16\n")
		}
		return true, nil
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	l.config.Pool = pool
	assert.Equal(t, "3", l.export().TotalAmount)
	assert.Equal(t, 3, acquired)
	assert.Equal(t, "15", l.export().TotalAmount)
}

// An export whose sessions were terminated has lost its lock: if another export was made meanwhile, it
// fails and removes nothing of that one.
func TestExportThatLostItsLock(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.load("A,1,1,2024-01-15\n")
	l.export()
	l.load("B,1,2,2024-02-15\n")
	other := l.config
	var once sync.Once
	l.config.Target = &watched{Target: other.Target, appeared: func(string) error {
		once.Do(func() {
			config := l.pool.Config()
			pool, err := pgxpool.NewWithConfig(t.Context(), config)
			if !assert.NoError(t, err) {
				return
			}
			defer pool.Close()
			_, err = pool.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
			assert.NoError(t, err)
			other.Pool = pool
			assert.Eventually(t, func() bool {
				_, err := tally.Export(t.Context(), other)
				return err == nil
			}, testdb.Patience, 10*time.Millisecond)
		})
		return nil
	}}
	_, err := tally.Export(t.Context(), l.config)
	require.Error(t, err)
	assert.False(t, tally.Permanent(err))
	l.config = other
	l.config.Pool = l.pool
	l.whole()
	assert.Equal(t, "3", l.export().TotalAmount)
	assert.Len(t, l.whole(), len(l.contents()))
}

// Also an export that kept its session fails if the manifest has changed.
func TestManifestThatChangedMeanwhile(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.load("A,1,1,2024-01-15\n")
	theirs := []byte(`{"format": 1, "database": "another"}`)
	var once sync.Once
	l.config.Target = &watched{Target: l.config.Target, appeared: func(string) error {
		once.Do(func() { assert.NoError(t, os.WriteFile(filepath.Join(l.dir, tally.ManifestName), theirs, 0o600)) })
		return nil
	}}
	_, err := tally.Export(t.Context(), l.config)
	require.ErrorContains(t, err, "another export was made here meanwhile")
	assert.Equal(t, string(theirs), l.contents()[tally.ManifestName])
}

// Locks on tables are released after reading, so that no load waits for a slow target.
func TestExportLocksNothingWhileItWrites(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.load("A,1,1,2024-01-15\n")
	held := -1
	l.config.Target = &watched{Target: l.config.Target, creating: func(path string) {
		if path != tally.ManifestName {
			return
		}
		err := l.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks k JOIN pg_class c ON c.oid = k.relation
			WHERE c.relnamespace = 'public'::regnamespace AND k.pid <> pg_backend_pid()
			AND c.relname <> 'etl_retired' -- keeps months from being retired, no load waits for it
			AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&held)
		assert.NoError(t, err)
	}}
	l.export()
	assert.Zero(t, held)
	assert.True(t, l.check().Clean())
}

// A database that is restored from a backup assigns versions and file ids again, but not the times of
// changes.
func TestRestoredDatabase(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.load("A,1,1,2024-01-15\nB,1,2,2024-02-15\n")
	l.export()
	l.exec("DO $$ BEGIN PERFORM set_config('tally.writer', 'tally', true); UPDATE daily_totals SET updated_at = updated_at - interval '1 hour' WHERE transaction_date = '2024-02-15'; END $$")
	monthly := filesOf(2) - filesOf(1) // tables with a file for each month
	assert.Equal(t, monthly, l.export().Written)
	l.exec("DO $$ BEGIN PERFORM set_config('tally.writer', 'tally', true); PERFORM set_config('tally.announced', 'yes', true); UPDATE user_summary SET updated_at = now() - interval '1 hour'; END $$")
	assert.Equal(t, filesOf(1)-monthly, l.export().Written)
}

// Rollups that differ from the rows are not exported.
func TestSumsThatDiffer(t *testing.T) {
	t.Parallel()
	for statement, want := range map[string]string{
		"UPDATE user_months SET total_amount = total_amount + 1":           "user_months of 2024-01-01 has a sum of 4, but transactions has 3: run tally verify",
		"UPDATE user_summary SET total_amount = 9":                         "user_summary has a sum of 9, but transactions has 3: run tally verify",
		"UPDATE daily_totals SET total_transactions = 5":                   "transactions of 2024-01-01 has 2 rows, but the rollups count 5: run tally verify",
		"INSERT INTO user_months VALUES (5, '2024-01-01', 1, 1)":           "user_months of 2024-01-01 has a sum of 4",
		"DELETE FROM daily_totals":                                         "has a sum of 3, but transactions has 0",
		"UPDATE transactions SET amount = 1e-7 WHERE transaction_id = 'A'": "transaction_id A: amount 0.0000001 is none that Tally stores",
		"UPDATE user_summary SET total_amount = 1e30 WHERE user_id = 1":    "user_id 1: column total_amount: 1000000000000000000000000000000 does not fit DECIMAL(28,4)",
		"UPDATE user_summary SET total_amount = 'NaN' WHERE user_id = 1":   "user_id 1: column total_amount: a NUMERIC that is not finite",
		"UPDATE daily_totals SET transaction_date = 'infinity'":            "",
	} {
		t.Run(statement, func(t *testing.T) {
			t.Parallel()
			l := newLake(t)
			l.load("A,1,1,2024-01-15\nB,1,2,2024-01-15\n")
			l.exec("DO $$ BEGIN PERFORM set_config('tally.writer', 'tally', true); " + statement + "; END $$")
			_, err := tally.Export(t.Context(), l.config)
			require.ErrorContains(t, err, want)
			assert.Empty(t, l.contents()[tally.ManifestName])
		})
	}
}

func TestManifestsThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.load("A,1,1,2024-01-15\n")
	l.export()
	for content, want := range map[string]string{
		"{":                                    "manifest.json at " + l.dir + ": it cannot be read (unexpected end of JSON input): export to another target, or replace the export with --replace",
		`{"format": 2}`:                        "it has format 2, and this version of Tally knows up to 1: use the newer version",
		`{"format": 1, "database": "another"}`: "it is of another database (another): export to another target",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(l.dir, tally.ManifestName), []byte(content), 0o600))
		_, err := tally.Export(t.Context(), l.config)
		require.ErrorContains(t, err, want)
		bad, ok := errors.AsType[*tally.ManifestError](err)
		require.True(t, ok)
		assert.Equal(t, l.dir, bad.Target)
		l.config.Replace = true
		l.export()
		l.config.Replace = false
		assert.True(t, l.check().Clean())
		assert.Len(t, l.whole(), len(l.contents()), "nothing is left over")
	}
}
