package ledger

import (
	"slices"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/opentax/tally/internal/explain"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/internal/sqlfile"
)

// Queries are the statements of this package, with arguments from sample.
func Queries(sample explain.Sample) []explain.Query {
	return slices.Concat(lists(sample), tonight(sample), health(), statistics(), changes(sample))
}

// unconnected only writes statements.
func unconnected() *Store { return &Store{bun.NewDB(nil, pgdialect.New())} }

func lists(sample explain.Sample) []explain.Query {
	s, day := unconnected(), sample.Date
	const rows = 100
	run, ofFile := []string{"etl_runs_pkey", "etl_attempts_pkey"}, []string{"etl_files_run", "etl_rejects_pkey"}
	query := func(name, purpose string, q *bun.SelectQuery, maxBuffers int64, indexes ...string) explain.Query {
		return explain.Query{Name: "jobs/" + name, Purpose: purpose, SQL: q.String(),
			Expect: explain.Expectation{Indexes: indexes, MaxBuffers: maxBuffers}}
	}
	ofRun := RejectQuery{RunID: sample.RunID, Limit: rows}
	conflicts := ofRun
	conflicts.Outcome = "conflict"
	const few = rows / 2 // a reject costs more pages than other rows: those of its file, run and state
	open := RejectFilter{After: reject.ID{FileID: 1, Line: 5}, Limit: few}
	fixed, duplicates, narrow := open, open, open
	fixed.State, duplicates.Outcome = reject.StateFixed, reject.OutcomeDuplicate
	narrow.Source, narrow.Date, narrow.Fault, narrow.FileID = "nights", &day, "missing_amount", sample.FileID
	some := []reject.ID{{FileID: sample.FileID, Line: 2}, {FileID: sample.FileID, Line: 3}}
	const paged = 10 * rows // pages of the table for each row, and the path to it
	return []explain.Query{
		query("runs", "each page of runs", s.selectRuns(0, rows), 0, run...),
		query("runs_before", "each page of runs but the first", s.selectRuns(sample.RunID, rows), 0, run...),
		query("run", "each look at a run", s.selectRun(sample.RunID), 0, run...),
		query("runs_of_dates", "each backfill", s.selectRunsOfDates(day-3, day+3), 0, "etl_runs_one_a_date", "etl_attempts_pkey"),
		query("files", "each page of a run's files", s.selectFiles(sample.RunID, 0, rows), paged, "etl_files_run"),
		query("rejects", "each page of a run's rejects", s.selectRejects(ofRun), paged, ofFile...),
		query("rejects_of_outcome", "each page of a run's rejects of one outcome", s.selectRejects(conflicts), 0, ofFile...),
		query("open_rejects", "each page of open rejects", s.selectListed(open, few).Limit(few), 3*paged, "etl_open_rejects_pkey", "etl_rejects_pkey"),
		query("narrow_rejects", "each page of the rejects of one file", s.selectListed(narrow, few).Limit(few), paged, "etl_rejects_pkey"),
		query("closed_rejects", "each page of rejects that were dealt with", s.selectListed(fixed, few).Limit(few), 3*paged, "etl_reject_states_closed"),
		query("duplicates", "each page of duplicates", s.selectListed(duplicates, few).Limit(few), 0, "etl_rejects_pkey"),
		query("reject_ids", "each replay by a filter", s.selectIDs(open), 3*paged, "etl_open_rejects_pkey", "etl_rejects_pkey"),
		query("rejects_by_id", "each change of a reject", s.selectByID(some), paged, "etl_rejects_pkey"),
		query("stored_rows", "each page with conflicts", s.selectStored(sample.TransactionIDs), paged, "transaction_keys_pkey", "transactions_pkey"),
		query("file", "each revert", s.selectFile(sample.FileID), 0, "etl_files_pkey"),
		query("files_by_id", "each page of a user's transactions", s.selectFilesByID([]int64{sample.FileID}), 0, "etl_files_pkey"),
		query("revertible_files", "each revert of a run", s.selectRevertible(sample.RunID), 0, "etl_files_run"),
		{Name: "jobs/sources", Purpose: "each look at the sources", SQL: s.selectSources().String(),
			Expect: explain.Expectation{Indexes: []string{"etl_files_source"}}},
		{Name: "jobs/conventions", Purpose: "each look at the sources", SQL: s.selectConventions().String(), Expect: explain.Expectation{WholeTable: true}},
		query("alerts", "each page of alerts", s.selectAlerts(false, sample.RunID, rows), 0, "alerts_listed"),
		query("alert", "each message about an alert", s.selectAlert(sample.RunID), 0, "alerts_pkey"),
		{
			Name: "jobs/history", Purpose: "each history of a transaction", SQL: s.selectHistory(slices.Concat(sample.TransactionIDs, []string{"A"})[0]).String(),
			Expect: explain.Expectation{Indexes: []string{"transaction_versions_pkey", "transaction_keys_pkey", "transactions_pkey"}},
		},
		{
			Name: "jobs/retired", Purpose: "each history of a transaction that is not stored", SQL: s.selectRetired(slices.Concat(sample.TransactionIDs, []string{"A"})[0]).String(),
			Expect: explain.Expectation{Indexes: []string{"transaction_keys_pkey"}},
		},
		{Name: "jobs/retirement", Purpose: "each look at a retirement", SQL: s.selectRetirement(1).String(),
			Expect: explain.Expectation{Indexes: []string{"etl_retirements_pkey", "etl_retirement_outcomes_pkey"}}},
		query("audit_head", "each look at the head of the audit chain", s.selectHead(), 12, "audit_chain_pkey"),
		query("logs", "each page of a run's log", s.selectLogs(sample.RunID, 0, rows), paged, "etl_logs_run"),
		query("last_log", "each look at a run under way", s.selectLastLog(sample.RunID), paged, "etl_logs_run"),
		query("reverted", "each look at a run's files", s.selectReverted(sample.RunID), paged, "etl_files_run"),
	}
}

// tonight are the statements of the last night.
func tonight(sample explain.Sample) []explain.Query {
	s := unconnected()
	list := []explain.Query{
		{Name: "night_counts", SQL: s.selectNightCounts(sample.RunID).String(), Expect: explain.Expectation{Indexes: []string{"etl_files_run"}}},
		{Name: "any_night", SQL: s.selectAnyNight().String()},
		{Name: "open_groups", SQL: s.selectOpenGroups().String(), Expect: explain.Expectation{WholeTable: true}},
	}
	for i := range list {
		list[i].Name, list[i].Purpose = "jobs/"+list[i].Name, "each look at the last night"
	}
	nights := []explain.Query{
		{Name: "jobs/nights", SQL: s.selectNights(sample.Date-15, sample.Date+15).String(), Expect: explain.Expectation{Indexes: []string{"etl_files_run"}}},
		{Name: "jobs/first_date", SQL: s.selectFirstDate().String(), Expect: explain.Expectation{Indexes: []string{"etl_runs_one_a_date"}}},
		{Name: "jobs/first_nights", SQL: s.selectFirstNights().String(), Expect: explain.Expectation{Indexes: []string{"etl_files_source"}}},
	}
	for i := range nights {
		nights[i].Purpose = "each month of nights"
	}
	return append(list, nights...)
}

// health are the statements of the page of that name.
func health() []explain.Query {
	s := unconnected()
	list := []explain.Query{
		{Name: "verifications", SQL: s.selectVerifications().String(), Expect: explain.Expectation{Indexes: []string{"etl_verifications_pkey"}}},
		{Name: "exports", SQL: s.selectExports().String(), Expect: explain.Expectation{Indexes: []string{"etl_exports_pkey"}}},
		{Name: "workers", SQL: s.selectWorkers().String(), Expect: explain.Expectation{Indexes: []string{"etl_attempts_pkey"}}},
	}
	for i := range list {
		list[i].Name, list[i].Purpose = "jobs/"+list[i].Name, "each look at the health"
	}
	return list
}

// statistics count every run and file.
func statistics() []explain.Query {
	inFile := sqlfile.Parse(statsSQL)
	list := []explain.Query{{Name: "run_counts", SQL: unconnected().selectRunCounts().String()},
		{Name: "alert_counts", SQL: unconnected().selectAlertCounts().String()}}
	for _, name := range []string{"file_counts", "last_success", "last_export", "last_verification", "waiting", "undelivered"} {
		list = append(list, explain.Query{Name: name, SQL: inFile.Get(name)})
	}
	list = append(list, explain.Query{Name: "partitions", SQL: sqlfile.Parse(partitionSQL).Get("partitions")})
	for i, q := range list {
		list[i].Name, list[i].Purpose, list[i].Expect.WholeTable = "jobs/"+q.Name, "each scrape of monitoring", q.Name != "last_export" && q.Name != "last_verification"
	}
	return list
}

func changes(sample explain.Sample) []explain.Query {
	s := unconnected()
	lines := []LogLine{{RunID: sample.RunID, Attempt: 1, At: time.Unix(0, 0), Level: "INFO", Attrs: []byte("{}")}}
	export := Export{RequestedBy: "cli", Target: "s3://lake", Status: StatusSucceeded, TotalAmount: "0.01", StartedAt: sample.Date.Time()}
	verification := Verification{LogicalDate: &sample.Date, RequestedBy: "schedule", Status: StatusClean, StartedAt: sample.Date.Time()}
	return []explain.Query{
		{Name: "jobs/insert_verification", Purpose: "each verification", SQL: s.insertVerification(verification).String(), Writes: true},
		{Name: "jobs/insert_logs", Purpose: "each batch of log lines", SQL: s.insertLogs(lines).String(), Writes: true},
		{Name: "jobs/insert_export", Purpose: "each export", SQL: s.insertExport(export).String(), Writes: true},
		{Name: "jobs/insert_event", Purpose: "each audited action", SQL: insertEvent, Args: []any{"", "", "", "", "{}"}, Writes: true},
	}
}
