package main

import (
	"bufio"
	"bytes"
	_ "embed" // for the ledger
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/explain"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/sqlfile"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/pipeline/load"
)

var updatePlans = flag.Bool("update-plans", false, "write the golden plans that do not hold, for the version of PostgreSQL that the tests run on")

//go:embed testdata/ledger.sql
var ledgerOfNights string

const (
	planRows  = 100_000
	planUsers = 4_000
	planDays  = 3 * 365 // from 2021-01-01 on: 36 months
)

// planSettings keep plans from depending on the moment: nothing collects statistics
// but the test, from every row that there is. Parallel query and JIT are as PostgreSQL
// sets them.
func planSettings() map[string]string {
	return map[string]string{"autovacuum": "off", "default_statistics_target": "1000"}
}

// Every statement is planned as it was when its golden plan was written, and touches
// no more pages. Those that write are carried out, too, and taken back.
func TestPlans(t *testing.T) {
	t.Parallel()
	pool := plannedDatabase(t)
	inTransaction(t, pool, func(tx pgx.Tx) {
		sample, err := explain.TakeSample(t.Context(), tx)
		require.NoError(t, err)
		require.False(t, sample.Empty)
		require.NotEmpty(t, sample.TransactionIDs)
		for _, q := range queries(sample) {
			p := carriedOut(t, tx, q)
			assert.Empty(t, p.Violations(q.Expect), "%s\n%s", q.Name, p.Text())
			holdAgainstGolden(t, major(t, tx), q, p)
		}
	})
	if !*updatePlans {
		plantFaults(t, pool)
	}
}

// plantFaults does to the database what must not go unseen.
func plantFaults(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	for _, f := range []struct{ fault, query, sentence string }{
		{"ALTER TABLE user_summary DROP CONSTRAINT user_summary_pkey", "summaries/look_up", "index user_summary_pkey is not used: user_summary is read from end to end, "},
		{"ALTER TABLE transactions DROP CONSTRAINT transactions_pkey", "summaries/range_cut", "index transactions_pkey is not used: transactions_20"},
		{"ALTER TABLE transaction_keys DROP CONSTRAINT transaction_keys_pkey", "pipeline/known_keys", "index transaction_keys_pkey is not used: transaction_keys is read from end to end, "},
		{"DROP INDEX etl_files_run", "jobs/files", "index etl_files_run is not used: etl_files is read from end to end, "},
		{"SET LOCAL enable_partition_pruning = off", "summaries/user_totals_by_day", "36 partitions of transactions are scanned, where at most 4 hold what is asked for: transactions_2021_01, "},
	} {
		inTransaction(t, pool, func(tx pgx.Tx) {
			sample, err := explain.TakeSample(t.Context(), tx)
			require.NoError(t, err)
			_, err = tx.Exec(t.Context(), f.fault)
			require.NoError(t, err)
			q := named(t, queries(sample), f.query)
			p := carriedOut(t, tx, q)
			assert.Contains(t, strings.Join(p.Violations(q.Expect), "\n"), f.sentence, f.fault)
			wanted, _, _ := golden(t, major(t, tx), q)
			assert.NotEqual(t, wanted, shape(p), f.fault)
		})
	}
}

func named(t *testing.T, all []explain.Query, name string) explain.Query {
	t.Helper()
	for _, q := range all {
		if q.Name == name {
			return q
		}
	}
	require.Fail(t, "no such query", name)
	return explain.Query{}
}

// carriedOut is the plan of a statement that was run; one that writes is run as well,
// in the savepoint that Explain takes back.
func carriedOut(t *testing.T, tx pgx.Tx, q explain.Query) explain.Plan {
	t.Helper()
	q.Writes = false
	p, err := explain.Explain(t.Context(), tx, q, true)
	require.NoError(t, err)
	return p
}

func inTransaction(t *testing.T, pool *pgxpool.Pool, do func(pgx.Tx)) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback(t.Context())) }()
	do(tx)
}

// Plans of an older version of PostgreSQL are in NAME.txt, those of 18 and later in
// NAME.18.txt where they differ. Those of PACKAGE/TABLE/STATEMENT are in one file for each
// table, in the form of a file of named statements.
const newMajor = 18

func major(t *testing.T, tx pgx.Tx) int {
	t.Helper()
	var version int
	require.NoError(t, tx.QueryRow(t.Context(), "SELECT current_setting('server_version_num')::int / 10000").Scan(&version))
	return version
}

func goldenFiles(q explain.Query) (old, newer, statement string) {
	file := strings.ReplaceAll(q.Name, "/", "_")
	if parts := strings.Split(q.Name, "/"); len(parts) == 3 {
		file, statement = parts[1], parts[0]+"/"+parts[2]
	}
	path := filepath.Join("testdata", "plans", file)
	return path + ".txt", path + ".18.txt", statement
}

// readGolden are the plans of a file by their statements; a file of one has it under "".
func readGolden(path string) (sqlfile.Statements, error) {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return sqlfile.Statements{}, nil
	case bytes.HasPrefix(text, []byte("-- name: ")):
		return sqlfile.Parse(string(text)), nil
	default:
		return sqlfile.Statements{"": string(text)}, err
	}
}

// golden is the shape that is expected, and how many pages may be touched.
func golden(t *testing.T, major int, q explain.Query) (shape string, pages int64, known bool) {
	t.Helper()
	path, newer, statement := goldenFiles(q)
	plans, err := readGolden(path)
	require.NoError(t, err)
	if major >= newMajor {
		differ, err := readGolden(newer)
		require.NoError(t, err)
		maps.Copy(plans, differ)
	}
	shape, last, known := strings.Cut(plans[statement], "pages: at most ")
	if known {
		_, err = fmt.Sscan(last, &pages)
		require.NoError(t, err, path)
	}
	return shape, pages, known
}

// shape is what of a plan should stay as it is while the data grows: its steps, their relations and indexes, and the number
// of partitions that are scanned. Months are left out, and equal steps beside each other are counted; there are no costs,
// times or rows.
func shape(p explain.Plan) string {
	text := strings.Join(steps(&p.Root), "\n") + "\n"
	if n := len(p.Partitions()); n > 0 {
		text += fmt.Sprintf("partitions scanned: %d\n", n)
	}
	return text
}

var anyMonth = regexp.MustCompile(`\btransactions_[0-9]{4}_[0-9]{2}`)

func steps(n *explain.Node) []string {
	lines := []string{anyMonth.ReplaceAllString(n.Title(), "transactions_<month>")}
	last, count := []string(nil), 0
	flush := func() {
		for i, line := range last {
			if i == 0 && count > 1 {
				line += fmt.Sprintf(" ×%d", count)
			}
			lines = append(lines, "  "+line)
		}
	}
	for i := range n.Children {
		child := steps(&n.Children[i])
		if count > 0 && slices.Equal(child, last) {
			count++
			continue
		}
		flush()
		last, count = child, 1
	}
	flush()
	return lines
}

// buffersBound is a power of two that the pages of a run of the same plan do not pass: a quarter more than were touched is
// let through.
func buffersBound(p explain.Plan) int64 {
	pages := p.Buffers() + p.Buffers()/4
	if pages <= 1 {
		return pages
	}
	return 1 << bits.Len64(uint64(pages-1))
}

func holdAgainstGolden(t *testing.T, major int, q explain.Query, p explain.Plan) {
	t.Helper()
	wanted, pages, known := golden(t, major, q)
	if *updatePlans && (wanted != shape(p) || p.Buffers() > pages) {
		updateGolden(t, major, q, p)
		wanted, pages, known = golden(t, major, q)
	}
	require.True(t, known, "write the plan of %s with: go test ./cmd/tally -run TestPlans -update-plans", q.Name)
	assert.Equal(t, wanted, shape(p), "%s\n%s", q.Name, p.Text())
	assert.LessOrEqual(t, p.Buffers(), pages, "pages of %s\n%s", q.Name, p.Text())
}

// updateGolden keeps one plan where both versions plan alike: of pages, what either may
// touch.
func updateGolden(t *testing.T, major int, q explain.Query, p explain.Plan) {
	t.Helper()
	path, newer, statement := goldenFiles(q)
	pages := buffersBound(p)
	if major >= newMajor {
		writeGolden(t, newer, statement, "")
		if wanted, most, known := golden(t, major, q); known && wanted == shape(p) {
			pages = max(pages, most)
		} else {
			path = newer
		}
	}
	writeGolden(t, path, statement, fmt.Sprintf("%spages: at most %d\n", shape(p), pages))
}

// writeGolden writes one plan of a file, or with "" takes it out.
func writeGolden(t *testing.T, path, statement, plan string) {
	t.Helper()
	plans, err := readGolden(path)
	require.NoError(t, err)
	plans[statement] = plan
	var text []string
	for _, name := range slices.Sorted(maps.Keys(plans)) {
		plan := strings.TrimSuffix(plans[name], "\n")
		switch {
		case plan == "":
		case name == "":
			text = append(text, plan+"\n")
		default:
			text = append(text, "-- name: "+name+"\n"+plan+"\n")
		}
	}
	if len(text) == 0 {
		require.NoError(t, os.RemoveAll(path))
		return
	}
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(text, "\n")), 0o644))
}

// plannedDatabase is the same database every time, but for the times of day in it: a
// ledger of nights, and a load of rows of three years.
func plannedDatabase(t *testing.T) *pgxpool.Pool {
	t.Helper()
	server := testdb.Own(t, planSettings())
	pool, err := postgres.Open(t.Context(), postgres.Config{URL: server.URL()})
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	_, err = migrations.Up(t.Context(), pool)
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), ledgerOfNights, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	result, err := load.New(pool, nil).Load(t.Context(), load.Request{RunID: 2000, Attempt: 1, Source: "nights", Path: bucket.Path(rowsOfYears(t)), CodeVersion: "v0"})
	require.NoError(t, err)
	require.EqualValues(t, planRows, result.Loaded)
	_, err = pool.Exec(t.Context(), "VACUUM ANALYZE")
	require.NoError(t, err)
	return pool
}

func rowsOfYears(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rows.csv")
	file, err := os.Create(path)
	require.NoError(t, err)
	w, r := bufio.NewWriter(file), rand.New(rand.NewPCG(5, 15))
	first := time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC)
	fmt.Fprintln(w, "transaction_id,user_id,amount,transaction_date")
	for i := range planRows {
		fmt.Fprintf(w, "T%08d,%d,%d.%02d,%s\n", i*7919%100_000_000, 1+r.IntN(planUsers), r.IntN(1000), r.IntN(100),
			first.AddDate(0, 0, r.IntN(planDays)).Format(time.DateOnly))
	}
	require.NoError(t, w.Flush())
	require.NoError(t, file.Close())
	return path
}
