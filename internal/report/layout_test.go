package report

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o750))
		require.NoError(t, os.WriteFile(path, got, 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	if !assert.Equal(t, string(want), string(got), "%s: -update writes it anew", path) {
		require.NoError(t, os.WriteFile(path+".got", got, 0o600))
	}
}

// sample has each kind of thing that a report says.
func sample() *Report {
	at := time.Date(2024, 3, 9, 6, 30, 0, 0, time.UTC)
	earlier, soon := at.Add(-50*time.Hour), at.AddDate(2, 4, 0)
	r := &Report{
		Version: "v1.2.3", At: at, Took: 12.34,
		Server:  Server{Version: "15.18", Number: 150018, Database: "tally", Bytes: 3 << 30, Since: earlier, StatsSince: &earlier},
		Machine: Machine{Memory: 8 << 30, CPUs: 2, FreeDisk: 120 << 30},
		Findings: []Finding{
			{ID: "missing-index", Severity: Critical, Subject: "transaction_keys", Title: "transaction_keys has no primary key", Cost: "each load reads 10,000,000 rows", Weight: 9,
				Evidence: []string{"pipeline/keys reads the table from end to end: 12,345 pages", "no index on (transaction_id)"},
				Fix:      "ALTER TABLE transaction_keys ADD PRIMARY KEY (transaction_id);"},
			{ID: "stale-statistics", Severity: Warning, Subject: "transactions_2024_02", Title: "Statistics are older than a third of the rows", Cost: "plans are made for 600,000 rows, there are 900,000",
				Evidence: []string{"changed since ANALYZE: 300,000"}, Fix: "ANALYZE transactions_2024_02;"},
			{ID: "unused-index", Severity: Note, Subject: "etl_files_note", Title: "An index without readers", Cost: "24 MiB"},
		},
		Growth: []Growth{
			{Table: "transactions", Bytes: 1 << 30, Rows: 10_000_000, BytesPerRow: 107, BytesPerNight: 12 << 20},
			{Table: "transaction_keys", Bytes: 900 << 20, Rows: 10_000_000, BytesPerRow: 94, BytesPerNight: 10 << 20},
			{Table: "etl_logs", Bytes: 64 << 10, Rows: -1},
		},
		Forecasts: []Forecast{
			{Limit: "free disk", Now: "3.0 GiB used", At: "123 GiB", Day: &soon, Why: "22 MiB a night, by the last 5 nights"},
			{Limit: "transactions.id", Now: "10,000,000", At: "9,223,372,036,854,775,807", Why: "not within a hundred years"},
		},
		Queries: []Query{
			{Name: "summaries/look_up", Purpose: "the API, for each request that is not kept in memory", SQL: "SELECT total_transactions, total_amount\nFROM user_summary\nWHERE user_id = $1", Executed: true,
				Planning: 0.081, Execution: 0.034, Buffers: 4, Expected: []string{"uses user_summary_pkey", "touches at most 8 pages"},
				Plan: []byte(`[{}]`), Text: "Index Scan using user_summary_pkey on user_summary (actual time=0.02..0.03 rows=1 loops=1)\n  Index Cond: (user_id = 42)\n  Buffers: shared hit=4"},
			{Name: "pipeline/keys", Purpose: "each load, once a chunk", SQL: "SELECT transaction_id FROM transaction_keys", Executed: true,
				Planning: 0.2, Execution: 2345.6, Buffers: 12345, Expected: []string{"uses transaction_keys_pkey"}, Denied: []string{"transaction_keys_pkey is not used: Seq Scan on transaction_keys"},
				Text: "Seq Scan on transaction_keys"},
			{Name: "jobs/finish", SQL: "UPDATE etl_runs SET state = 'done' WHERE id = $1", Planning: 0.1, Text: "Update on etl_runs"},
			{Name: "summaries/verify", Purpose: "an operator", SQL: "SELECT 1", Skipped: "statement timeout after 5 s"},
		},
		Tables: []Table{
			{Name: "transactions", Partitioned: true, Rows: 10_000_000, Analyzed: &earlier, HasStats: true},
			{Name: "transactions_2024_01", PartitionOf: "transactions", Rows: 600_000, Live: 600_000, Bytes: 60 << 20, IndexBytes: 20 << 20, SeqScans: 2, IndexScans: 812, HeapHit: 999, HeapRead: 1, Analyzed: &earlier, Vacuumed: &earlier},
			{Name: "transactions_2024_02", PartitionOf: "transactions", Rows: 600_000, Live: 900_000, Dead: 1200, Bytes: 90 << 20, IndexBytes: 30 << 20, Bloat: 5 << 20, Modified: 300_000},
			{Name: "user_summary", Rows: 100_000, Live: 100_000, Dead: 4321, Bytes: 12 << 20, IndexBytes: 3 << 20, Updates: 1000, HotUpdates: 917, IndexScans: 123_456, HeapHit: 100, IndexHit: 100, Analyzed: &earlier},
		},
		Indexes: []Index{
			{Name: "user_summary_pkey", Table: "user_summary", Definition: "CREATE UNIQUE INDEX user_summary_pkey ON user_summary USING btree (user_id)", Constraint: true, Valid: true, Bytes: 3 << 20, Scans: 123_456},
			{Name: "etl_files_note", Table: "etl_files", Definition: "CREATE INDEX etl_files_note ON etl_files USING btree (note)", Valid: true, Bytes: 24 << 20},
			{Name: "broken", Table: "etl_files", Definition: "CREATE INDEX broken ON etl_files USING btree (id)", Bytes: 8192},
			{Name: "transactions_2024_01_pkey", Table: "transactions_2024_01", Definition: "CREATE UNIQUE INDEX …", Partition: true, Constraint: true, Valid: true, Bytes: 20 << 20, Scans: 812},
		},
		Partitions: []Partition{
			{Month: time.Date(2023, 12, 1, 0, 0, 0, 0, time.UTC), Name: "transactions_2023_12", Rows: 8_500_000, Bytes: 850 << 20, Counted: 8_500_001, Amount: "123456789.01"},
			{Month: time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), Name: "transactions_2024_01", Rows: 600_000, Bytes: 80 << 20, Counted: 600_000, Amount: "600.5"},
			{Month: time.Date(2024, 2, 1, 0, 0, 0, 0, time.UTC), Name: "transactions_2024_02", Rows: 600_000, Bytes: 120 << 20, Counted: 900_000, Amount: "-5"},
			{Month: time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC), Counted: 12},
		},
		Settings: []Setting{
			{Name: "shared_buffers", Value: "128MB", Source: "default", Default: true, Bytes: 128 << 20},
			{Name: "work_mem", Value: "64MB", Source: "configuration file"},
		},
		Statements: []Statement{{Text: "SELECT *\n  FROM transactions\n WHERE amount > $1 || $2", Calls: 1234, Total: 98765.4, Mean: 80.04, Rows: 45_000}},
		Skipped:    []Skip{{"another session's statements", "the role may not see them"}},
	}
	for n := range 5 {
		r.Nights = append(r.Nights, Night{
			Day: time.Date(2024, 3, 4+n, 0, 0, 0, 0, time.UTC), Files: 2, Read: int64(100_000 + 1000*n), Loaded: int64(99_000 + 900*n), Rejected: int64(1000 + 100*n), Bytes: 5 << 20, Seconds: 1.25,
		})
	}
	return r
}

// empty is a database into which nothing was ever loaded.
func empty() *Report {
	at := time.Date(2024, 3, 9, 6, 30, 0, 0, time.UTC)
	return &Report{Version: "v1.2.3", At: at, Took: 0.2, Server: Server{Version: "15.18", Database: "tally", Bytes: 8 << 20, Since: at}, Empty: true}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*Report{"report": sample(), "empty": empty()} {
		for kind, write := range map[string]func(io.Writer, *Report) error{"html": WriteHTML, "md": WriteMarkdown} {
			t.Run(name+"."+kind, func(t *testing.T) {
				t.Parallel()
				var out bytes.Buffer
				require.NoError(t, write(&out, r))
				golden(t, name+".golden."+kind, out.Bytes())
			})
		}
	}
}

// The first thing that is said is the worst thing that was found.
func TestVerdict(t *testing.T) {
	t.Parallel()
	says := sample().verdict()
	assert.Equal(t, cell{Tone: toneBad, Text: "1 critical finding, 1 warning and 1 note. First: transaction_keys has no primary key. Not looked at: 1 thing."}, says)
	assert.Equal(t, cell{Tone: toneNote, Text: "Nothing was ever loaded, so plans and sizes say little. Nothing was found that needs action."}, empty().verdict())
	assert.Equal(t, toneGood, (&Report{}).verdict().Tone)
	assert.Equal(t, toneNote, (&Report{Skipped: []Skip{{"tables", "timeout"}}}).verdict().Tone)
	noted := &Report{Findings: []Finding{{Severity: Note, Title: "a."}, {Severity: Note, Title: "b"}}}
	assert.Equal(t, cell{Tone: toneNote, Text: "2 notes. First: a."}, noted.verdict())
}

func TestOutcome(t *testing.T) {
	t.Parallel()
	var says []string
	for _, q := range sample().Queries {
		says = append(says, fmt.Sprint(q.outcome().Text, ", ", q.time(), ", ", q.pages()))
	}
	assert.Equal(t, []string{"proven, 34.0 µs, 4", "denied, 2.35 s, 12,345", "not checked, only planned, –", "not looked at, –, –"}, says)
}

// What a reader could take for the whole table is the sum of its partitions.
func TestSummed(t *testing.T) {
	t.Parallel()
	r := sample()
	of := r.summed(r.Tables[0])
	assert.Equal(t, []int64{1_500_000, 1200, 150 << 20, 50 << 20, 5 << 20, 812}, []int64{of.Live, of.Dead, of.Bytes, of.IndexBytes, of.Bloat, of.IndexScans})
	assert.Zero(t, r.Tables[0].Bytes, "the report itself is left as it was")
}

// Everything in a report comes out of a database, where a name can be anything.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	r := sample()
	r.Server.Database, r.Findings[0].Title, r.Findings[0].Fix = hostile, hostile, hostile
	r.Growth[0].Table, r.Queries[0].Name, r.Queries[0].SQL, r.Queries[0].Text = hostile, hostile, hostile, hostile
	r.Tables[1].Name, r.Indexes[0].Definition, r.Partitions[0].Name = hostile, hostile, hostile
	r.Settings[0].Value, r.Statements[0].Text, r.Skipped[0].Why = hostile, hostile, hostile
	var page, plain bytes.Buffer
	require.NoError(t, WriteHTML(&page, r))
	assert.NotContains(t, page.String(), "<script")
	assert.NotContains(t, page.String(), "\x1b")
	require.NoError(t, WriteMarkdown(&plain, r))
	assert.NotContains(t, plain.String(), "\x1b")
	assert.NotContains(t, plain.String(), "\u202e")
}

// One night is no line, and a table without bytes no bar.
func TestLittleData(t *testing.T) {
	t.Parallel()
	r := sample()
	r.Nights, r.Growth = r.Nights[:1], []Growth{{Table: "transactions"}}
	var out bytes.Buffer
	require.NoError(t, WriteHTML(&out, r))
	assert.NotContains(t, out.String(), "<svg")
	assert.Contains(t, out.String(), "One night is too few")
}
