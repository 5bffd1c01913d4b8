package jobs

import (
	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/civil"
)

// The statements of the ledger's lists, apart from what reads them, so that their
// plans are those of the very text that is sent.

func (l *Ledger) selectStatus() *bun.SelectQuery {
	return l.bun.NewSelect().TableExpr("etl_run_status").ColumnExpr(runColumns)
}

func (l *Ledger) selectRuns(before int64, limit int) *bun.SelectQuery {
	q := l.selectStatus().OrderExpr("id DESC").Limit(limited(limit))
	if before > 0 {
		q = q.Where("id < ?", before)
	}
	return q
}

func (l *Ledger) selectRun(id int64) *bun.SelectQuery { return l.selectStatus().Where("id = ?", id) }

func (l *Ledger) selectRunsOfDates(from, to civil.Date) *bun.SelectQuery {
	return l.selectStatus().
		Where("kind <> 'manual'").Where("logical_date BETWEEN ?::date AND ?::date", from.String(), to.String()).
		OrderExpr("logical_date")
}

func (l *Ledger) selectAttempts(runID int64) *bun.SelectQuery {
	return l.bun.NewSelect().TableExpr("etl_attempts AS a").
		Join("LEFT JOIN etl_outcomes AS o USING (run_id, attempt)").
		ColumnExpr("run_id, attempt, job_id, worker, code_version, started_at").
		ColumnExpr("coalesce(o.status, ?) AS status, coalesce(o.error, '') AS error, o.finished_at", StatusRunning).
		Where("run_id = ?", runID).OrderExpr("attempt")
}

func (l *Ledger) selectFiles(runID, after int64, limit int) *bun.SelectQuery {
	return l.bun.NewSelect().TableExpr("etl_files").
		ColumnExpr("id, run_id, attempt, source, path, coalesce(encode(sha256, 'hex'), '') AS sha256, bytes, status").
		ColumnExpr("coalesce(error_code, '') AS error_code, coalesce(error, '') AS error").
		ColumnExpr("read, loaded, duplicate, conflict, rejected, replaced, faults, total_amount, rules, code_version, started_at, finished_at").
		Where("run_id = ?", runID).Where("id > ?", after).OrderExpr("id").Limit(limited(limit))
}

// selectRejects goes from file to file of the run, and into each by key: a condition
// on the file's run alone would read the rejects of all files before them.
func (l *Ledger) selectRejects(runID int64, after RejectsAfter, limit int, outcome string) *bun.SelectQuery {
	ofFile := l.bun.NewSelect().TableExpr("etl_rejects").
		ColumnExpr("file_id, line, outcome, faults, transaction_id, kept_file_id, kept_line, raw, raw_bytes, raw_length").
		Where("file_id = f.id").Where("(file_id, line) > (?, ?)", after.FileID, after.Line).
		OrderExpr("line").Limit(limited(limit))
	if outcome != "" {
		ofFile = ofFile.Where("outcome = ?", outcome)
	}
	return l.bun.NewSelect().TableExpr("etl_files AS f").Join("CROSS JOIN LATERAL (?) AS r", ofFile).ColumnExpr("r.*").
		Where("f.run_id = ?", runID).Where("f.id >= ?", after.FileID).
		OrderExpr("f.id, r.line").Limit(limited(limit))
}

func (l *Ledger) selectLogs(runID, after int64, limit int) *bun.SelectQuery {
	return l.bun.NewSelect().TableExpr("etl_logs").ColumnExpr("id, run_id, attempt, at, level, message, attrs").
		Where("run_id = ?", runID).Where("id > ?", after).OrderExpr("id").Limit(limited(limit))
}
