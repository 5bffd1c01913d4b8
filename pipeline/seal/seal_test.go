package seal_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/seal"
	"github.com/opentax/tally/pipeline/transform"
)

const header = "transaction_id,user_id,amount,transaction_date\n"

// loaded is a database with three loaded files: rows of all outcomes, a replaced row, and
// a file of which nothing was loaded.
func loaded(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool := testdb.New(t, migrations.Schema{})
	_, err := pool.Exec(t.Context(), `INSERT INTO etl_runs (kind, logical_date, requested_by) VALUES ('manual', '2024-01-31', 'test');
		INSERT INTO etl_attempts (run_id, attempt, worker, code_version) VALUES (1, 1, 'test', 'test')`, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	loader := load.New(pool, nil)
	first := "A,1,10.25,2024-01-05\nA,1,10.25,2024-01-05\nA,1,11,2024-01-05\nB,2,-3,2024-02-01\nC,3,,2024-01-06\n\xff,3,1,2024-01-06\n"
	require.Equal(t, load.StatusLoaded, loadFile(t, loader, "1.csv", first).Status)
	require.Equal(t, load.StatusLoaded, loadFile(t, loader, "2.csv", "B,2,-4,2024-03-01\nD,4,1.5,2024-01-01\n").Status)
	require.Equal(t, load.StatusFailed, loadFile(t, loader, "3.csv", "E,,,\nF,,,\n").Status)
	require.Equal(t, load.StatusLoaded, loadFile(t, loader, "4.csv", "G,5,7,2024-01-01\n").Status)
	return pool
}

func loadFile(t *testing.T, loader *load.Loader, name, content string) load.Result {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(header+content), 0o600))
	result, err := loader.Load(t.Context(), load.Request{RunID: 1, Attempt: 1, Source: "test", Path: bucket.Path(path),
		Rules: transform.Rules{Corrections: transform.CorrectionsReplace, RejectLimit: "60%"}, LogicalDate: civil.MustParse("2024-01-31"), CodeVersion: "test"})
	require.NoError(t, err)
	return result
}

func TestVerifyHolds(t *testing.T) {
	t.Parallel()
	pool := loaded(t)
	v, err := seal.Verify(t.Context(), pool, audit.Head{})
	require.NoError(t, err)
	assert.Nil(t, v.Broken)
	assert.Equal(t, int64(3), v.Entries, "a file of which nothing was loaded has no entry")

	head, err := seal.ReadHead(t.Context(), pool)
	require.NoError(t, err)
	assert.Equal(t, head, v.Head)
	parsed, err := audit.ParseHead(head.String())
	require.NoError(t, err)
	v, err = seal.Verify(t.Context(), pool, parsed)
	require.NoError(t, err)
	assert.Nil(t, v.Broken)
}

func TestVerifyOfAnEmptyChain(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t, migrations.Schema{})
	v, err := seal.Verify(t.Context(), pool, audit.Head{})
	require.NoError(t, err)
	assert.False(t, v.At.IsZero())
	assert.Equal(t, audit.Verification{At: v.At}, v)
}

// A verification may take longer than a pool of short requests lets a statement take.
func TestVerifyOnAPoolOfRequests(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t, migrations.Schema{})
	config := pool.Config()
	config.ConnConfig.RuntimeParams["statement_timeout"] = "200"
	requests, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(requests.Close)
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "LOCK TABLE audit_chain")
	require.NoError(t, err)
	verified := make(chan error)
	go func() {
		_, err := seal.Verify(t.Context(), requests, audit.Head{})
		verified <- err
	}()
	select {
	case err := <-verified:
		require.NoError(t, err)
		require.Fail(t, "it did not wait")
	case <-time.After(400 * time.Millisecond):
	}
	require.NoError(t, tx.Rollback(t.Context()))
	require.NoError(t, <-verified)
}

// A verification that begins while months are retired waits: the rows of changes would be gone, and the entry
// that says so not yet there.
func TestVerifyBesideRetirement(t *testing.T) {
	t.Parallel()
	pool := changed(t)
	type result struct {
		v   audit.Verification
		err error
	}
	verified := make(chan result, 1)
	q := load.Retirement{Before: civil.MustParse("2024-12-01").Month()}
	q.Record = func(ctx context.Context, tx pgx.Tx, _ reject.RetireResult) error {
		_, err := tx.Exec(ctx, "LOCK TABLE ONLY transactions IN ACCESS EXCLUSIVE MODE") // as it does before the commit
		require.NoError(t, err)
		go func() {
			v, err := seal.Verify(t.Context(), pool, audit.Head{})
			verified <- result{v, err}
		}()
		require.Eventually(t, func() (blocked bool) {
			const waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE relation IS NOT NULL AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
			require.NoError(t, pool.QueryRow(t.Context(), waiting).Scan(&blocked))
			return blocked
		}, testdb.Patience, 5*time.Millisecond)
		return nil
	}
	_, err := load.New(pool, nil).Retire(t.Context(), q, audit.By{Actor: "test"}, false)
	require.NoError(t, err)
	r := <-verified
	require.NoError(t, r.err)
	assert.Nil(t, r.v.Broken)
	assert.Equal(t, int64(11), r.v.Entries)
}

// What a person with all rights on the database changes is noticed, and the first entry
// that does not hold is named.
func TestVerifyNoticesChanges(t *testing.T) {
	t.Parallel()
	const rewrite = `DO $$ DECLARE c RECORD; previous BYTEA := decode(repeat('00', 32), 'hex'); BEGIN
		FOR c IN SELECT * FROM audit_chain ORDER BY number LOOP
			previous := sha256(previous || sha256(convert_to(c.entry, 'UTF8')));
			UPDATE audit_chain SET hash = previous WHERE number = c.number;
		END LOOP; END $$`
	for name, c := range map[string]struct {
		sql    string
		entry  int64
		reason string
	}{
		"an entry's text":                            {`UPDATE audit_chain SET entry = replace(entry, '"rows":1', '"rows":2') WHERE number = 2`, 2, "hash does not follow"},
		"an entry's time":                            {`UPDATE audit_chain SET at = at - interval '1 day' WHERE number = 2`, 2, "columns and its text differ"},
		"an entry is gone":                           {`DELETE FROM audit_chain WHERE number = 2`, 3, "entry 2 is missing"},
		"the end is cut off":                         {`DELETE FROM audit_chain WHERE number = 3`, 3, "is loaded and has no entry"},
		"all of it is gone":                          {`DELETE FROM audit_chain`, 1, "is loaded and has no entry"},
		"two in another order":                       {`UPDATE audit_chain SET number = 100 - number WHERE number > 1; UPDATE audit_chain SET number = number - 95 WHERE number > 50`, 2, "hash does not follow"},
		"a file's counts":                            {`UPDATE etl_files SET rejected = rejected - 1, read = read - 1 WHERE id = 1`, 1, "was sealed with"},
		"a file's path":                              {`UPDATE etl_files SET path = 'elsewhere.csv' WHERE id = 2`, 2, "was sealed with"},
		"a file is gone":                             {`DELETE FROM etl_files WHERE id = 2`, 2, "not in the ledger"},
		"a reject's text":                            {`UPDATE etl_rejects SET raw = 'C,3,5,2024-01-06' WHERE file_id = 1 AND 'missing_amount' = ANY(faults)`, 1, "etl_rejects"},
		"a reject is gone":                           {`DELETE FROM etl_rejects WHERE file_id = 1 AND outcome = 'conflict'`, 1, "etl_rejects"},
		"a reject is added":                          {`INSERT INTO etl_rejects SELECT file_id, line + 100, outcome, faults, transaction_id, kept_file_id, kept_line, raw, raw_bytes, raw_length, hints FROM etl_rejects WHERE outcome = 'duplicate'`, 1, "etl_rejects"},
		"the totals":                                 {`UPDATE daily_totals SET total_amount = total_amount + 1 WHERE transaction_date = '2024-03-01'`, 3, "were sealed"},
		"an entry, hashes renewed":                   {`UPDATE audit_chain SET entry = replace(entry, '"amount":0.50', '"amount":2.50') WHERE number = 2;` + rewrite, 2, "was sealed with"},
		"an entry that no table has, hashes renewed": {`UPDATE audit_chain SET entry = replace(entry, '"rows":1', '"rows":2') WHERE number = 2;` + rewrite, 3, "were sealed"},
		"a former row's amount":                      {`UPDATE transaction_versions SET amount = 9`, 2, "was sealed with"},
		"a former row is gone":                       {`DELETE FROM transaction_versions`, 2, "was sealed with"},
		"a former row of a later change":             {`UPDATE transaction_versions SET to_change = 7`, 2, "was sealed with"},
		"a former row of another file":               {`UPDATE transaction_versions SET from_change = 3`, 3, "it loaded another file"},
		"an origin of a load":                        {`INSERT INTO transaction_origins VALUES (1, 2, 1)`, 1, "rows of a load have no origin"},
		"an origin of no entry":                      {`INSERT INTO transaction_origins VALUES (1, 2, 9)`, 9, "there is no such entry"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := loaded(t)
			before, err := seal.ReadHead(t.Context(), pool)
			require.NoError(t, err)
			_, err = pool.Exec(t.Context(), "BEGIN; SET LOCAL session_replication_role = replica;"+c.sql+"; COMMIT", pgx.QueryExecModeSimpleProtocol)
			require.NoError(t, err)
			v, err := seal.Verify(t.Context(), pool, audit.Head{})
			require.NoError(t, err)
			require.NotNil(t, v.Broken)
			assert.Equal(t, c.entry, v.Broken.Number, v.Broken.Reason)
			assert.Contains(t, v.Broken.Reason, c.reason)
			if v.Entries < before.Number {
				return
			}
			if after, err := seal.ReadHead(t.Context(), pool); assert.NoError(t, err) && after != before {
				v, err = seal.Verify(t.Context(), pool, before)
				require.NoError(t, err)
				assert.Contains(t, v.Broken.Reason, "written anew", "a head that was noted tells a chain that was renewed as a whole")
			}
		})
	}
}

// changed is the database with changes of what was loaded: entry 4 replays a row and repeats
// another, 5 fixes a row, 6 discards one, 7 decides a conflict for the row that was not
// loaded, 8 reverts two files, and a row that had lost against one of theirs is loaded.
func changed(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool := loaded(t)
	loader, by := load.New(pool, nil), audit.By{Actor: "test", Reason: "because"}
	settings := func(string, transform.Rules) (transform.Rules, bool) { return transform.Rules{Slash: "dmy"}, false }
	file := loadFile(t, loader, "5.csv", "K,1,1,03/04/2024\nL,1,2,2024-01-01\nM,1,,2024-01-01\nN,1,,2024-01-01\nA,1,10.25,05/06/2024\nL,1,3,2024-01-01\nQ,1,1,2024-01-01\n").FileID
	require.Equal(t, load.StatusLoaded, loadFile(t, loader, "6.csv", "L,1,7,2024-01-01\nP,1,1,2024-01-01\n").Status)
	at := func(line int64) reject.ID { return reject.ID{FileID: file, Line: line} }
	_, err := loader.Replay(t.Context(), []reject.ID{at(2), at(6)}, settings, by, false)
	require.NoError(t, err)
	_, err = loader.Fix(t.Context(), at(4), transform.Fix{Amount: "5"}, settings, by)
	require.NoError(t, err)
	_, err = loader.Discard(t.Context(), []reject.ID{at(5)}, by)
	require.NoError(t, err)
	_, err = loader.Take(t.Context(), at(7), settings, by)
	require.NoError(t, err)
	_, err = loader.Revert(t.Context(), []int64{1, 2}, settings, by, false)
	require.NoError(t, err)
	v, err := seal.Verify(t.Context(), pool, audit.Head{})
	require.NoError(t, err)
	require.Nil(t, v.Broken)
	require.Equal(t, int64(10), v.Entries)
	return pool
}

// So are changes of what became of rejects, of reverts, and of where rows came from.
func TestVerifyNoticesChangesOfChanges(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sql    string
		entry  int64
		reason string
	}{
		"a reject is open again":   {`DELETE FROM etl_reject_states WHERE change = 8`, 8, "was changed in etl_reject_states"},
		"a state":                  {`UPDATE etl_reject_states SET state = 'discarded' WHERE change = 7`, 7, "was changed in etl_reject_states"},
		"a state is added":         {`INSERT INTO etl_reject_states SELECT file_id, line + 100, change, state, outcome FROM etl_reject_states WHERE change = 6`, 6, "was changed in etl_reject_states"},
		"a state of a load":        {`UPDATE etl_reject_states SET change = 2 WHERE change = 8`, 2, "no change of rejects"},
		"a state of no entry":      {`UPDATE etl_reject_states SET change = 99 WHERE change = 8`, 99, "no change of rejects"},
		"a revert is gone":         {`DELETE FROM etl_reverts WHERE file_id = 2`, 10, "it reverted the files [1 2], and etl_reverts has [1]"},
		"a revert is added":        {`INSERT INTO etl_reverts VALUES (4, 10)`, 10, "it reverted the files"},
		"a revert of no entry":     {`INSERT INTO etl_reverts VALUES (4, 99)`, 99, "there is no such entry"},
		"a revert of a load":       {`INSERT INTO etl_reverts VALUES (4, 4)`, 4, "it reverted the files []"},
		"an origin is gone":        {`DELETE FROM transaction_origins WHERE change = 6`, 6, "was sealed with 1 rows added"},
		"an origin is added":       {`INSERT INTO transaction_origins VALUES (4, 2, 8)`, 8, "was sealed with 0 rows added"},
		"an origin of a revert":    {`UPDATE transaction_origins SET change = 10 WHERE change = 6`, 6, "was sealed with 1 rows added"},
		"a row that was fixed":     {`UPDATE transactions SET amount = 6 WHERE transaction_id = 'M'`, 7, "was sealed with a change of 5"},
		"a row that was taken out": {`UPDATE transaction_versions SET amount = amount + 1 WHERE to_change = 10 AND transaction_id = 'A'`, 10, "was sealed with a change"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := changed(t)
			_, err := pool.Exec(t.Context(), "BEGIN; SET LOCAL session_replication_role = replica;"+c.sql+"; COMMIT", pgx.QueryExecModeSimpleProtocol)
			require.NoError(t, err)
			v, err := seal.Verify(t.Context(), pool, audit.Head{})
			require.NoError(t, err)
			require.NotNil(t, v.Broken)
			assert.Equal(t, c.entry, v.Broken.Number, v.Broken.Reason)
			assert.Contains(t, v.Broken.Reason, c.reason)
		})
	}
}

// A chain that was renewed together with the tables is told only by a head that was noted.
func TestVerifyAgainstANotedHead(t *testing.T) {
	t.Parallel()
	pool := loaded(t)
	head, err := seal.ReadHead(t.Context(), pool)
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), `BEGIN; SET LOCAL session_replication_role = replica;
		DELETE FROM audit_chain WHERE number = 3; DELETE FROM etl_files WHERE id = (SELECT max(id) FROM etl_files);
		UPDATE daily_totals SET total_transactions = 1, total_amount = 1.5 WHERE transaction_date = '2024-01-01'; COMMIT`, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	v, err := seal.Verify(t.Context(), pool, audit.Head{})
	require.NoError(t, err)
	assert.Nil(t, v.Broken)
	v, err = seal.Verify(t.Context(), pool, head)
	require.NoError(t, err)
	require.NotNil(t, v.Broken)
	assert.Equal(t, int64(3), v.Broken.Number)
	assert.Contains(t, v.Broken.Reason, "the chain ends with entry 2")
}

// Files that were loaded before there was a chain get their entries when it is made.
func TestFilesLoadedBeforeTheChain(t *testing.T) {
	t.Parallel()
	pool := loaded(t)
	_, err := pool.Exec(t.Context(), `BEGIN; SET LOCAL session_replication_role = replica;
		ALTER TABLE transaction_versions ADD COLUMN replaced_by_file BIGINT, ADD COLUMN replaced_at TIMESTAMPTZ DEFAULT now();
		UPDATE transaction_versions v SET replaced_by_file = (SELECT file_id FROM audit_chain WHERE number = to_change);
		ALTER TABLE transaction_versions DROP COLUMN from_change, DROP COLUMN to_change, ADD PRIMARY KEY (transaction_id, replaced_by_file);
		DROP INDEX transaction_versions_user; DROP TABLE audit_chain, transaction_origins;
		DELETE FROM bun_migrations WHERE name = '0016'; COMMIT`, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	applied, err := migrations.Up(t.Context(), pool)
	require.NoError(t, err)
	assert.Contains(t, applied, "0016_seal")
	v, err := seal.Verify(t.Context(), pool, audit.Head{})
	require.NoError(t, err)
	assert.Nil(t, v.Broken)
	assert.Equal(t, int64(3), v.Entries)
	var from, to int64
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT from_change, to_change FROM transaction_versions").Scan(&from, &to))
	assert.Equal(t, [2]int64{1, 2}, [2]int64{from, to})

	require.Equal(t, load.StatusLoaded, loadFile(t, load.New(pool, nil), "5.csv", "H,6,8,2024-01-02\nX,,,\n").Status)
	v, err = seal.Verify(t.Context(), pool, v.Head)
	require.NoError(t, err)
	assert.Nil(t, v.Broken)
	assert.Equal(t, int64(4), v.Entries)
}

func TestParseHead(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "1", "1:", "x:00", "1:abc", "1 :" + string(make([]byte, 64))} {
		_, err := audit.ParseHead(text)
		assert.ErrorContains(t, err, "want NUMBER:HASH", text)
	}
}
