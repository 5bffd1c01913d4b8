package ledger

import (
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/opentax/tally/internal/explain"
	"github.com/opentax/tally/internal/sqlfile"
)

// Queries are the statements of this package, with arguments from s.
func Queries(sample explain.Sample) []explain.Query {
	return append(lists(sample), append(statistics(), changes(sample)...)...)
}

// unconnected only writes statements.
func unconnected() *Store { return &Store{bun.NewDB(nil, pgdialect.New())} }

func lists(sample explain.Sample) []explain.Query {
	s, day := unconnected(), sample.Date
	const rows = 100
	list := func(name, purpose string, q *bun.SelectQuery, indexes ...string) explain.Query {
		return explain.Query{Name: "jobs/" + name, Purpose: purpose, SQL: q.String(), Expect: explain.Expectation{Indexes: indexes}}
	}
	// of a page that holds whatever comes next: a page of the table a row, and the way there
	paged := func(q explain.Query) explain.Query {
		q.Expect.MaxBuffers = 10 * rows
		return q
	}
	ofRun := RejectQuery{RunID: sample.RunID, Limit: rows}
	conflicts := ofRun
	conflicts.Outcome = "conflict"
	return []explain.Query{
		list("runs", "each page of runs", s.selectRuns(0, rows), "etl_runs_pkey", "etl_attempts_pkey"),
		list("runs_before", "each page of runs but the first", s.selectRuns(sample.RunID, rows), "etl_runs_pkey", "etl_attempts_pkey"),
		list("run", "each look at a run", s.selectRun(sample.RunID), "etl_runs_pkey", "etl_attempts_pkey"),
		list("runs_of_dates", "each backfill", s.selectRunsOfDates(day-3, day+3), "etl_runs_one_a_date", "etl_attempts_pkey"),
		paged(list("files", "each page of a run's files", s.selectFiles(sample.RunID, 0, rows), "etl_files_run")),
		paged(list("rejects", "each page of a run's rejects", s.selectRejects(ofRun), "etl_files_run", "etl_rejects_pkey")),
		list("rejects_of_outcome", "each page of a run's rejects of one outcome", s.selectRejects(conflicts), "etl_files_run", "etl_rejects_pkey"),
		paged(list("logs", "each page of a run's log", s.selectLogs(sample.RunID, 0, rows), "etl_logs_run")),
	}
}

// statistics are what monitoring reads. They count every run and file there is.
func statistics() []explain.Query {
	statements := sqlfile.Parse(statsSQL)
	list := []explain.Query{{Name: "jobs/run_counts", SQL: unconnected().selectRunCounts().String(), Expect: explain.Expectation{WholeTable: true}}}
	for _, name := range []string{"file_counts", "last_success", "last_export", "waiting"} {
		list = append(list, explain.Query{Name: "jobs/" + name, SQL: statements.Get(name), Expect: explain.Expectation{WholeTable: name != "last_export"}})
	}
	for i := range list {
		list[i].Purpose = "each look of monitoring"
	}
	return list
}

func changes(sample explain.Sample) []explain.Query {
	s := unconnected()
	lines := []LogLine{{RunID: sample.RunID, Attempt: 1, At: time.Unix(0, 0), Level: "INFO", Attrs: []byte("{}")}}
	export := Export{RequestedBy: "cli", Target: "s3://lake", Status: StatusSucceeded, TotalAmount: "0.01", StartedAt: sample.Date.Time()}
	return []explain.Query{
		{Name: "jobs/insert_logs", Purpose: "each batch of log lines", SQL: s.insertLogs(lines).String(), Writes: true},
		{Name: "jobs/insert_export", Purpose: "each export", SQL: s.insertExport(export).String(), Writes: true},
		{Name: "jobs/insert_event", Purpose: "each act that is audited", SQL: insertEvent, Args: []any{"", "", "", "", "{}"}, Writes: true},
	}
}
