package jobs

import (
	"slices"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/explain"
	"github.com/opentax/tally/internal/sqlfile"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/jobs/notify"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/parquet"
	"github.com/opentax/tally/summaries"
)

// Queries are the statements of this package, with arguments from s. Left out are
// advisory locks, which have no plan, and River's statements.
func Queries(s explain.Sample) []explain.Query {
	uses := func(indexes ...string) explain.Expectation { return explain.Expectation{Indexes: indexes} }
	attempts, whole := uses("etl_runs_pkey", "etl_attempts_pkey"), explain.Expectation{WholeTable: true}
	const tick, grace, attempt = "each tick of the schedule", 60.0, 1000
	date, inFile := s.Date.String(), sqlfile.Parse(jobsSQL)
	list := []explain.Query{
		{Name: "earlier_runs", Purpose: "each attempt", Args: []any{s.RunID, []string{"inbox"}}, Expect: whole},
		{Name: "record_source", Purpose: "each source of each attempt", Args: []any{s.RunID, 1, "inbox", 1, 0}, Writes: true},
		{Name: "next_jobs", Purpose: tick + " and each attempt", Args: []any{[]string{"inbox"}, jobKind}, Expect: whole},
		{Name: "last_attempt", Purpose: "each attempt", Args: []any{s.RunID}, Expect: attempts},
		{Name: "known_failures", Purpose: "each run", Args: []any{"v0", s.RunID}, Expect: whole},
		{Name: "note_trouble", Purpose: "each file that is set aside", Args: []any{s.RunID, 1, "", "", "", ""}, Writes: true},
		{Name: "file_tries", Purpose: "each file that is set aside", Args: []any{s.RunID, "", ""}, Expect: uses("etl_troubles_run")},
		{Name: "file_crashes", Purpose: "each file after a crash", Args: []any{s.RunID, "", ""}, Expect: uses("etl_troubles_run")},
		{Name: "orphaned_runs", Purpose: tick, Args: []any{int64(runLockClass), grace, jobKind}, Expect: whole},
		{Name: "orphaned_export", Purpose: tick + ", where runs are exported",
			Args: []any{"s3://lake", int64(parquet.LockClass), grace, exportKind}, Expect: whole},
		{Name: "due_verification", Purpose: tick, Args: []any{grace, int64(summaries.VerifyLockClass), verifyKind, grace}, Expect: whole},
		{Name: "orphaned_expiry", Purpose: tick + ", where old records are removed", Args: []any{expireKind, int64(load.ExpireLockClass), grace}, Expect: whole},
		{Name: "unfinished_retirement", Purpose: "each request of a retirement", Args: []any{date, "keep", false, false, false}, Expect: whole},
		{Name: "insert_retirement", Purpose: "each request of a retirement", Args: []any{"2020-01-01", "keep", false, false, false, "", ""}, Writes: true},
		{Name: "end_retirement", Purpose: "each retirement that was requested", Args: []any{int64(1), ledger.StatusFailed, "x", ""}, Writes: true},
		{Name: "orphaned_retirement", Purpose: tick, Args: []any{grace, retireKind, int64(parquet.LockClass)}, Expect: whole},
		{Name: "verified", Purpose: "each verification after a run", Args: []any{date}},
		{Name: "cancelled_by_operator", Purpose: "each orphaned run", Args: []any{jobKind, s.RunID}},
		{Name: "lost_manual_runs", Purpose: tick, Args: []any{int64(runLockClass), grace}, Writes: true, Expect: whole},
		{Name: "create_runs", Purpose: "each night and each backfill", Writes: true,
			Args: []any{ledger.KindNightly, "schedule", []civil.Date{s.Date}}},
		{Name: "lock_run", Purpose: "each attempt", Args: []any{s.RunID}, Writes: true, Expect: uses("etl_runs_pkey")},
		{Name: "record_lost", Purpose: "each attempt after a crash", Args: []any{s.RunID, 1}, Writes: true},
		{Name: "start_attempt", Purpose: "each attempt", Args: []any{s.RunID, attempt, nil, "worker", "v0"}, Writes: true},
		{Name: "end_attempt", Purpose: "each attempt", Args: []any{s.RunID, 1, ledger.StatusSucceeded, "", false}, Writes: true},
		{Name: "read_schedule", Purpose: tick},
		{Name: "unfinished_runs", Purpose: "each look at the schedule", Args: []any{[]string{"inbox"}, shownRuns}, Expect: whole},
		{Name: "run_of_date", Purpose: "each run in the foreground", Args: []any{date}, Expect: uses("etl_runs_one_a_date")},
		{Name: "insert_manual", Purpose: "each manual run", Args: []any{date, "cli", []string{"x.csv"}}, Writes: true},
		{Name: "start_schedule", Purpose: "each night", Args: []any{date, "UTC"}, Writes: true},
		{Name: "lock_schedule", Purpose: "each night", Writes: true},
		{Name: "move_schedule", Purpose: "each night", Args: []any{date, "UTC"}, Writes: true},
	}
	for i, q := range list {
		list[i].SQL, list[i].Name = inFile.Get(q.Name), "jobs/"+q.Name
	}
	return slices.Concat(list, alertQueries(s), ledger.Queries(s))
}

// alertQueries are the statements of alert.sql.
func alertQueries(s explain.Sample) []explain.Query {
	uses := func(indexes ...string) explain.Expectation { return explain.Expectation{Indexes: indexes} }
	const tick, each, id = "each tick of the schedule", "each message", "msg_0"
	date, channels, inFile := s.Date.String(), []string{notify.ChannelMail}, sqlfile.Parse(alertSQL)
	expected := []any{[]string{"nights"}, []string{date}, []string{"06:30"}}
	texts := []string{"run.failed"}
	list := []explain.Query{
		{Name: "run_failed", Purpose: tick, Args: []any{alertWindow.Seconds()}, Expect: uses("etl_outcomes_finished")},
		{Name: "file_failed", Purpose: tick, Args: []any{alertWindow.Seconds()}, Expect: uses("etl_files_trouble")},
		{Name: "file_warning", Purpose: tick, Args: []any{alertWindow.Seconds()}, Expect: uses("etl_files_trouble")},
		{Name: "source_late", Purpose: tick, Args: expected, Expect: uses("etl_files_run")},
		{Name: "run_late", Purpose: tick, Args: expected, Expect: uses("etl_files_run")},
		{Name: "schedule_late", Purpose: tick, Args: []any{date, date}},
		{Name: "verify_drift", Purpose: tick, Expect: explain.Expectation{Indexes: []string{"etl_verifications_pkey"}}},
		{Name: "export_old", Purpose: tick + ", where runs are exported", Args: []any{"s3://lake", alertExportAge.Seconds(), exportKind}},
		{Name: "keep_alerts", Purpose: tick, Args: []any{texts, texts}, Writes: true},
		{Name: "close_alerts", Purpose: tick, Args: []any{texts, texts, alertQuiet.Seconds()}, Writes: true},
		{Name: "open_alerts", Purpose: tick, Args: []any{texts, texts, texts, texts, []int64{1}, []string{date}, texts, texts, texts}, Writes: true},
		{Name: "add_messages", Purpose: tick + ", where someone is told", Args: []any{channels}, Writes: true},
		{Name: "unqueued_messages", Purpose: tick + ", where someone is told", Args: []any{channels, notifyKind, notifyOrphaned.Seconds()}},
		{Name: "message", Purpose: each, Args: []any{id}},
		{Name: "message_delivered", Purpose: each, Args: []any{id}, Writes: true},
		{Name: "message_failed", Purpose: "each message that cannot be delivered", Args: []any{id, ""}, Writes: true},
	}
	for i, q := range list {
		list[i].SQL, list[i].Name = inFile.Get(q.Name), "jobs/alert/"+q.Name
	}
	return list
}
