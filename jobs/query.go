package jobs

import (
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/explain"
	"github.com/opentax/tally/internal/sqlfile"
	"github.com/opentax/tally/jobs/ledger"
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
)

// Queries are the statements of this package, with arguments from s. Left out are
// advisory locks, which have no plan, and River's statements.
func Queries(s explain.Sample) []explain.Query {
	uses := func(indexes ...string) explain.Expectation { return explain.Expectation{Indexes: indexes} }
	attempts, whole := uses("etl_runs_pkey", "etl_attempts_pkey"), explain.Expectation{WholeTable: true}
	const tick, grace, attempt = "each tick of the schedule", 60.0, 1000
	date, inFile := s.Date.String(), sqlfile.Parse(jobsSQL)
	list := []explain.Query{
		{Name: "last_attempt", Purpose: "each attempt", Args: []any{s.RunID}, Expect: attempts},
		{Name: "known_failures", Purpose: "each run", Args: []any{"v0"}, Expect: whole},
		{Name: "orphaned_runs", Purpose: tick, Args: []any{int64(runLockClass), grace, jobKind}, Expect: whole},
		{Name: "orphaned_export", Purpose: tick + ", where runs are exported",
			Args: []any{"s3://lake", int64(parquet.LockClass), grace, exportKind}, Expect: whole},
		{Name: "cancelled_by_operator", Purpose: "each orphaned run", Args: []any{jobKind, s.RunID}},
		{Name: "lost_manual_runs", Purpose: tick, Args: []any{int64(runLockClass), grace}, Writes: true, Expect: whole},
		{Name: "create_runs", Purpose: "each night and each backfill", Args: []any{ledger.KindNightly, "schedule", []civil.Date{s.Date}}, Writes: true},
		{Name: "lock_run", Purpose: "each attempt", Args: []any{s.RunID}, Writes: true, Expect: uses("etl_runs_pkey")},
		{Name: "record_lost", Purpose: "each attempt after a crash", Args: []any{s.RunID, 1}, Writes: true},
		{Name: "start_attempt", Purpose: "each attempt", Args: []any{s.RunID, attempt, nil, "worker", "v0"}, Writes: true},
		{Name: "end_attempt", Purpose: "each attempt", Args: []any{s.RunID, 1, ledger.StatusSucceeded, ""}, Writes: true},
		{Name: "read_schedule", Purpose: tick, SQL: readSchedule},
		{Name: "run_of_date", Purpose: "each run in the foreground", SQL: runOfDate, Args: []any{date}, Expect: uses("etl_runs_one_a_date")},
		{Name: "insert_manual", Purpose: "each manual run", SQL: insertManual, Args: []any{date, "cli", []string{"x.csv"}}, Writes: true},
		{Name: "start_schedule", Purpose: "each night", SQL: startSchedule, Args: []any{date, "UTC"}, Writes: true},
		{Name: "lock_schedule", Purpose: "each night", SQL: lockSchedule, Writes: true},
		{Name: "move_schedule", Purpose: "each night", SQL: moveSchedule, Args: []any{date, "UTC"}, Writes: true},
	}
	for i, q := range list {
		if q.SQL == "" {
			list[i].SQL = inFile.Get(q.Name)
		}
		list[i].Name = "jobs/" + q.Name
	}
	return append(list, ledger.Queries(s)...)
}
