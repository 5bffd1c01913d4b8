package jobs

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/jobs/notify"
	"github.com/opentax/tally/pipeline"
)

const (
	alertNow = "2024-05-11T07:00:00Z" // of the ticks: the last date is the 10th
	// listed are the alerts, and how many messages there are about each.
	listed = `SELECT coalesce(string_agg(concat_ws(' ', cause, subject, CASE WHEN closed_at IS NULL THEN 'open' ELSE 'over' END,
		(SELECT string_agg(state || '>' || channel, ' ' ORDER BY state, channel) FROM alert_messages WHERE alert_id = alerts.id)), ', ' ORDER BY id), '') FROM alerts`
	// nights has a run of the 9th that succeeded and one of the 10th, whose outcome is the test's.
	nights = `INSERT INTO etl_schedule (last_date, time_zone) VALUES ('2024-05-10', 'UTC');
		INSERT INTO etl_runs (kind, logical_date, requested_by) VALUES ('nightly', '2024-05-09', 'schedule'), ('nightly', '2024-05-10', 'schedule');
		INSERT INTO etl_attempts (run_id, attempt, worker, code_version) VALUES (1, 1, 'w', 'v'), (2, 1, 'w', 'v');
		INSERT INTO etl_outcomes (run_id, attempt, status) VALUES (1, 1, 'succeeded');
		INSERT INTO etl_files (run_id, attempt, source, path, bytes, status, read, loaded, duplicate, conflict, rejected, rules, code_version, started_at)
		VALUES (1, 1, 'shop', '/shop/a.csv', 1, 'loaded', 0, 0, 0, 0, 0, '{}', 'v', now());`
	again     = `INSERT INTO etl_attempts (run_id, attempt, worker, code_version) VALUES (2, 2, 'w', 'v');`
	succeeded = `INSERT INTO etl_outcomes (run_id, attempt, status) VALUES (2, 1, 'succeeded');`
	export    = `INSERT INTO etl_exports (requested_by, target, status, error, epoch, last_file_id, files, written, removed, rows, total_amount, bytes, bytes_written, worker, code_version, started_at)
		VALUES ('schedule', '/lake', '%s', %s, 0, 0, 0, 0, 0, 0, 0, 0, 0, 'w', 'v', now());`
)

// fileEntry is the ledger's entry of a file of run 2.
func fileEntry(path, status, rest string) string {
	failure := "NULL, NULL"
	if status == "failed" {
		failure = "'reject_limit', 'too many rejects'"
	}
	return fmt.Sprintf(`INSERT INTO etl_files (run_id, attempt, source, path, bytes, status, error_code, error, read, loaded, duplicate, conflict, rejected, rules, code_version, started_at, warnings)
		VALUES (2, 1, 'bank', '%s', 1, '%s', %s, 0, 0, 0, 0, 0, '{}', 'v', now(), '{%s}');`, path, status, failure, rest)
}

// alerting is a service that tells of alerts by mail, and is not started.
func alerting(t *testing.T, pool *pgxpool.Pool) *Service {
	t.Helper()
	s := newService(t, pool, Config{
		Sources: []pipeline.Source{
			{Name: "bank", Path: bucket.Path("/bank"), ExpectedBy: "06:30"},
			{Name: "shop", Path: bucket.Path("/shop"), ExpectedBy: "08:00"}, {Name: "any", Path: bucket.Path("/any")},
		},
		ExportTo: bucket.Path("/lake"),
		Notify:   notify.Config{Mail: notify.Mail{SMTP: "smtp://localhost:1", From: "tally@example.com", To: []string{"ann@example.com"}}},
	})
	s.alertQuiet = 0
	return s
}

// ticks has both services update the alerts at once, a few times.
func ticks(t *testing.T, services ...*Service) {
	t.Helper()
	for range 3 {
		var all sync.WaitGroup
		for _, s := range services {
			all.Go(func() { assert.NoError(t, s.UpdateAlerts(context.Background(), moment(t, alertNow))) })
		}
		all.Wait()
	}
}

func TestEachCauseIsToldOnce(t *testing.T) {
	t.Parallel()
	onTime := fileEntry("/bank/a.csv", "loaded", "")
	const verification = `INSERT INTO etl_verifications (requested_by, status, rows, users, days, files, differences, worker, code_version, started_at)
		VALUES ('schedule', '%s', 1, 1, 1, 1, %d, 'w', 'v', now());`
	for cause, c := range map[string]struct{ begin, want, end string }{
		"run.failed": {
			onTime + `INSERT INTO etl_outcomes (run_id, attempt, status, error) VALUES (2, 1, 'failed', 'no such bucket');`, "run.failed run 2",
			again + `INSERT INTO etl_outcomes (run_id, attempt, status) VALUES (2, 2, 'succeeded');`,
		},
		"run.late": {
			`INSERT INTO etl_outcomes (run_id, attempt, status, error) VALUES (2, 1, 'retrying', 'no connection');`, "run.late run 2",
			again + onTime + `INSERT INTO etl_outcomes (run_id, attempt, status) VALUES (2, 2, 'succeeded');`,
		},
		"source.late": {succeeded, "source.late bank", onTime},
		"schedule.late": {
			onTime + succeeded + `UPDATE etl_schedule SET last_date = '2024-05-09';`, "schedule.late schedule",
			`UPDATE etl_schedule SET last_date = '2024-05-10';`,
		},
		"schedule.late ahead": {
			onTime + succeeded + `UPDATE etl_schedule SET last_date = '2099-05-09';`, "schedule.late schedule",
			`UPDATE etl_schedule SET last_date = '2024-05-10';`,
		},
		"file.failed": {
			onTime + fileEntry("/bank/b.csv", "failed", "") + `INSERT INTO etl_outcomes (run_id, attempt, status, error, files_only) VALUES (2, 1, 'failed', 'b.csv', true);`,
			"file.failed /bank/b.csv", fileEntry("/bank/b.csv", "loaded", ""),
		},
		"file.warning": {
			fileEntry("/bank/a.csv", "loaded", `"slash: line 3 has 13/1/2024"`) + succeeded, "file.warning bank",
			`INSERT INTO etl_runs (kind, logical_date, requested_by) VALUES ('manual', '2024-05-10', 'ann');
			INSERT INTO etl_attempts (run_id, attempt, worker, code_version) VALUES (3, 1, 'w', 'v');
			INSERT INTO etl_files (run_id, attempt, source, path, bytes, status, read, loaded, duplicate, conflict, rejected, rules, code_version, started_at)
			VALUES (3, 1, 'bank', '/bank/a.csv', 1, 'loaded', 0, 0, 0, 0, 0, '{}', 'v', now());`,
		},
		"verify.drift": {
			onTime + succeeded + fmt.Sprintf(verification, "drift", 1), "verify.drift verify", fmt.Sprintf(verification, "clean", 0),
		},
		"export.old": {onTime + succeeded + fmt.Sprintf(export, "failed", "'access denied'"), "export.old /lake", fmt.Sprintf(export, "succeeded", "NULL")},
	} {
		t.Run(cause, func(t *testing.T) {
			t.Parallel()
			pool := newPool(t)
			a, b := alerting(t, pool), alerting(t, pool)
			ticks(t, a, b)
			execute(t, pool, nights)
			execute(t, pool, c.begin)
			ticks(t, a, b)
			assert.Equal(t, c.want+" open open>mail", text(t, pool, listed))
			ticks(t, alerting(t, pool)) // after a restart
			execute(t, pool, c.end)
			ticks(t, a, b)
			assert.Equal(t, c.want+" over open>mail over>mail", text(t, pool, listed))
			assert.Equal(t, 2, count(t, pool, "SELECT count(*) FROM river_job WHERE kind = 'notify'"))
		})
	}
}

// The list of conditions is complete, and its statements can be run on an empty database.
func TestNothingToTell(t *testing.T) {
	t.Parallel()
	pool := newPool(t)
	ticks(t, alerting(t, pool))
	execute(t, pool, nights+succeeded+fileEntry("/bank/a.csv", "loaded", "")+fmt.Sprintf(export, "succeeded", "NULL"))
	ticks(t, alerting(t, pool))
	assert.Empty(t, text(t, pool, listed))
}

// A condition that comes and goes within a minute is told once. It has ended a minute after it
// was gone, or at once if that was by a clock that was ahead.
func TestFlappingIsToldOnce(t *testing.T) {
	t.Parallel()
	for _, gone := range []string{"-61 seconds", "40 days"} {
		t.Run(gone, func(t *testing.T) {
			t.Parallel()
			pool := newPool(t)
			s := alerting(t, pool)
			s.alertQuiet = time.Minute
			execute(t, pool, nights+succeeded+fileEntry("/bank/a.csv", "loaded", ""))
			for range 3 {
				execute(t, pool, "UPDATE etl_schedule SET last_date = '2024-05-09'")
				ticks(t, s)
				execute(t, pool, "UPDATE etl_schedule SET last_date = '2024-05-10'")
				ticks(t, s)
			}
			assert.Equal(t, "schedule.late schedule open open>mail", text(t, pool, listed))
			execute(t, pool, "UPDATE alerts SET gone_at = now() + $1::interval", gone)
			ticks(t, s)
			assert.Equal(t, "schedule.late schedule over open>mail over>mail", text(t, pool, listed))
		})
	}
}

// A night of bad files is not as many messages, and a path longer than an index allows is
// no reason to tell nothing.
func TestManyAlertsOfACause(t *testing.T) {
	t.Parallel()
	pool := newPool(t)
	s := alerting(t, pool)
	execute(t, pool, nights+succeeded+fileEntry("/bank/a.csv", "loaded", ""))
	long := text(t, pool, "SELECT '/bank/' || string_agg(md5(n::text), '') FROM generate_series(1, 100) n")
	for i := range 40 {
		execute(t, pool, fileEntry(fmt.Sprint(long, i), "failed", ""))
	}
	ticks(t, s)
	assert.Equal(t, alertsOfCause+1, count(t, pool, "SELECT count(*) FROM alerts"))
	assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM alerts WHERE subject = 'others' AND what LIKE '20 more, such as /bank/%'"))
}

// A process without channels leaves the messages to those that have some.
func TestAlertsWithoutChannels(t *testing.T) {
	t.Parallel()
	pool := newPool(t)
	execute(t, pool, nights+succeeded+fileEntry("/bank/a.csv", "loaded", "")+"UPDATE etl_schedule SET last_date = '2024-05-09'")
	ticks(t, newService(t, pool, Config{}))
	assert.Equal(t, "schedule.late schedule open", text(t, pool, listed))
	ticks(t, alerting(t, pool))
	assert.Equal(t, "schedule.late schedule open open>mail", text(t, pool, listed))
}

// The tick of the schedule updates the alerts; a failed night tells of its file only.
func TestFailedNightIsTold(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, rows(3), "no header")}})
	require.NoError(t, s.Start(ctx))
	run := dueRun(t, s, "2024-05-10")
	awaitStatus(t, s, run.ID, "failed")
	_, err := s.tick(ctx, time.Now())
	require.NoError(t, err)
	assert.Equal(t, "file.failed", text(t, pool, "SELECT string_agg(cause, ' ') FROM alerts"))
	alerts, err := s.Ledger().Alerts(ctx, true, 0, 10)
	require.NoError(t, err)
	require.Len(t, alerts, 1)
	a := alerts[0]
	assert.Equal(t, []any{run.ID, run.LogicalDate, "inbox", true}, []any{a.RunID, a.LogicalDate, a.Source, a.Open()})
	assert.Contains(t, a.NextStep, "tally run "+a.Path)
}

// Each cause has its row in the table of alerts, and what to do about it in the runbook.
func TestCausesAreDocumented(t *testing.T) {
	t.Parallel()
	for _, page := range []string{"operations.md", "runbook.md"} {
		content, err := os.ReadFile("../docs/" + page)
		require.NoError(t, err)
		for _, c := range conditions() {
			assert.Contains(t, string(content), "\n| `"+c.cause+"` | ", page)
		}
	}
}
