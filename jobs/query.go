package jobs

import (
	"time"

	"github.com/opentax/tally/internal/civil"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/opentax/tally/internal/explain"
	"github.com/opentax/tally/internal/sqlfile"
	"github.com/opentax/tally/pipeline/parquet"
)

// The statements of a line or two.
const (
	runOfDate     = "SELECT id, kind FROM etl_runs WHERE logical_date = $1::date AND kind <> 'manual'"
	insertManual  = "INSERT INTO etl_runs (kind, logical_date, requested_by, paths) VALUES ('manual', $1::date, $2, $3::text[]) RETURNING id"
	readSchedule  = "SELECT last_date FROM etl_schedule"
	lockSchedule  = "SELECT last_date FROM etl_schedule FOR UPDATE"
	startSchedule = "INSERT INTO etl_schedule (last_date, time_zone) VALUES ($1::date, $2) ON CONFLICT DO NOTHING"
	moveSchedule  = "UPDATE etl_schedule SET last_date = $1::date, time_zone = $2, updated_at = now()"
	insertEvent   = "INSERT INTO audit_events (actor, action, subject, origin, detail) VALUES ($1, $2, $3, $4, $5::jsonb)"
)

// Queries are the statements of this package, with arguments from s. Left out are
// advisory locks, which have no plan, and the statements of River, which are River's.
func Queries(s explain.Sample) []explain.Query {
	return append(append(lists(s), statistics()...), changes(s)...)
}

func lists(s explain.Sample) []explain.Query {
	// Nobody reads through it: bun only writes the statements down.
	l := &Ledger{bun: bun.NewDB(nil, pgdialect.New())}
	const page = 100
	list := func(name, purpose string, q *bun.SelectQuery, indexes ...string) explain.Query {
		return explain.Query{Name: "jobs/" + name, Purpose: purpose, SQL: q.String(), Expect: explain.Expectation{Indexes: indexes}}
	}
	// of a page that holds whatever comes next: a page of the table a row, and the way there
	paged := func(q explain.Query) explain.Query {
		q.Expect.MostBuffers = 10 * page
		return q
	}
	day := s.Date
	return []explain.Query{
		list("runs", "each page of runs", l.selectRuns(0, page), "etl_runs_pkey", "etl_attempts_pkey"),
		list("runs_before", "each page of runs but the first", l.selectRuns(s.RunID, page), "etl_runs_pkey", "etl_attempts_pkey"),
		list("run", "each look at a run", l.selectRun(s.RunID), "etl_runs_pkey", "etl_attempts_pkey"),
		list("runs_of_dates", "each backfill", l.selectRunsOfDates(day-3, day+3), "etl_runs_one_a_date", "etl_attempts_pkey"),
		list("attempts", "each look at a run's attempts", l.selectAttempts(s.RunID), "etl_attempts_pkey", "etl_outcomes_pkey"),
		paged(list("files", "each page of a run's files", l.selectFiles(s.RunID, 0, page), "etl_files_run")),
		paged(list("rejects", "each page of a run's rejects", l.selectRejects(s.RunID, RejectsAfter{}, page, ""), "etl_files_run", "etl_rejects_pkey")),
		list("rejects_of_outcome", "each page of a run's rejects of one outcome", l.selectRejects(s.RunID, RejectsAfter{}, page, "conflict"), "etl_files_run", "etl_rejects_pkey"),
		paged(list("logs", "each page of a run's log", l.selectLogs(s.RunID, 0, page), "etl_logs_run")),
	}
}

// statistics are what monitoring reads. They count every run and file there is.
func statistics() []explain.Query {
	whole := explain.Expectation{WholeTable: true}
	list := []explain.Query{
		{Name: "run_counts", Expect: whole}, {Name: "file_counts", Expect: whole},
		{Name: "last_success", Expect: whole}, {Name: "last_export"}, {Name: "waiting", Expect: whole},
	}
	for i := range list {
		list[i].Purpose = "each look of monitoring"
	}
	return append(fromLedger(list), explain.Query{Name: "jobs/read_schedule", Purpose: "each tick of the schedule", SQL: readSchedule})
}

func changes(s explain.Sample) []explain.Query {
	uses := func(indexes ...string) explain.Expectation { return explain.Expectation{Indexes: indexes} }
	attempts, whole := uses("etl_runs_pkey", "etl_attempts_pkey"), explain.Expectation{WholeTable: true}
	const grace, attempt = 60.0, 1000
	date, now := s.Date.String(), []time.Time{s.Date.Time()}
	list := fromLedger([]explain.Query{
		{Name: "last_attempt", Purpose: "each attempt", Args: []any{s.RunID}, Expect: attempts},
		{Name: "known_failures", Purpose: "each run", Args: []any{"v0"}, Expect: whole},
		{Name: "unattended", Purpose: "each tick of the schedule", Args: []any{int64(runLockClass), grace, jobKind}, Expect: whole},
		{Name: "unattended_export", Purpose: "each tick of the schedule, where runs are exported", Args: []any{"s3://lake", int64(parquet.LockClass), grace, exportKind}, Expect: whole},
		{Name: "cancelled_by_hand", Purpose: "each run that nobody attends to", Args: []any{jobKind, s.RunID}},
		{Name: "lost_by_hand", Purpose: "each tick of the schedule", Args: []any{int64(runLockClass), grace}, Writes: true, Expect: whole},
		{Name: "create_runs", Purpose: "each night and each backfill", Args: []any{KindNightly, "schedule", []civil.Date{s.Date}}, Writes: true},
		{Name: "lock_run", Purpose: "each attempt", Args: []any{s.RunID}, Writes: true, Expect: uses("etl_runs_pkey")},
		{Name: "note_lost", Purpose: "each attempt after one that was killed", Args: []any{s.RunID, 1}, Writes: true},
		{Name: "start_attempt", Purpose: "each attempt", Args: []any{s.RunID, attempt, nil, "worker", "v0"}, Writes: true},
		{Name: "end_attempt", Purpose: "each attempt", Args: []any{s.RunID, 1, StatusSucceeded, nil}, Writes: true},
		{
			Name: "note_export", Purpose: "each export", Writes: true,
			Args: []any{nil, nil, "cli", "s3://lake", StatusSucceeded, nil, int64(1), int64(1), 1, 1, 0, int64(1), "0.01", int64(1), int64(1), "worker", "v0", s.Date},
		},
		{
			Name: "write_logs", Purpose: "each batch of log lines", Writes: true,
			Args: []any{[]int64{s.RunID}, []int32{1}, now, []string{"INFO"}, []string{""}, []string{"{}"}},
		},
	})
	return append(list, []explain.Query{
		{Name: "jobs/run_of_date", Purpose: "each run in the foreground", SQL: runOfDate, Args: []any{date}, Expect: uses("etl_runs_one_a_date")},
		{Name: "jobs/insert_manual", Purpose: "each run by hand", SQL: insertManual, Args: []any{date, "cli", []string{"x.csv"}}, Writes: true},
		{Name: "jobs/start_schedule", Purpose: "each night", SQL: startSchedule, Args: []any{date, "UTC"}, Writes: true},
		{Name: "jobs/lock_schedule", Purpose: "each night", SQL: lockSchedule, Writes: true},
		{Name: "jobs/move_schedule", Purpose: "each night", SQL: moveSchedule, Args: []any{date, "UTC"}, Writes: true},
		{Name: "jobs/insert_event", Purpose: "each act that is audited", SQL: insertEvent, Args: []any{"", "", "", "", "{}"}, Writes: true},
	}...)
}

// fromLedger gives statements of ledger.sql their text and full name.
func fromLedger(list []explain.Query) []explain.Query {
	statements := sqlfile.Parse(ledgerSQL)
	for i := range list {
		list[i].SQL, list[i].Name = statements.Get(list[i].Name), "jobs/"+list[i].Name
	}
	return list
}
