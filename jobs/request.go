package jobs

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs/ledger"
)

// maxBackfill bounds one call: ten years.
const maxBackfill = 3660

// ErrTooManyDates reports that one call requests too many dates.
var ErrTooManyDates = errors.New("too many dates at once")

// Backfill creates the missing runs of the dates from … to, both included, each with its
// River job, in one commit. It returns the runs of all these dates by date; existing ones
// are unchanged, with Created false. The error is [ledger.ErrNotEnded] for a date that
// has not ended.
func (s *Service) Backfill(ctx context.Context, from, to civil.Date, requestedBy string) ([]ledger.Run, error) {
	if to < from {
		return nil, fmt.Errorf("backfill: the first date %s is after the last %s", from, to)
	}
	if n := int(to-from) + 1; n > maxBackfill {
		return nil, fmt.Errorf("backfill: %d dates, at most %d: %w", n, maxBackfill, ErrTooManyDates)
	}
	return s.backfill(ctx, from, to, requestedBy, s.config.Worker)
}

// Request is Backfill for one date, nil for the last that ended, requested from origin, a
// network address. An existing run is returned unchanged.
func (s *Service) Request(ctx context.Context, date *civil.Date, requestedBy, origin string) (ledger.Run, error) {
	on, err := s.dateOf(ctx, date)
	if err != nil {
		return ledger.Run{}, err
	}
	runs, err := s.backfill(ctx, on, on, requestedBy, origin)
	if err != nil {
		return ledger.Run{}, err
	}
	return runs[0], nil
}

func (s *Service) backfill(ctx context.Context, from, to civil.Date, requestedBy, origin string) (runs []ledger.Run, err error) {
	if err := s.checkEnded(ctx, to); err != nil {
		return nil, fmt.Errorf("backfill: %w", err)
	}
	created := map[int64]bool{}
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		n := newRuns{kind: ledger.KindBackfill, dates: datesBetween(from, to), requestedBy: requestedBy, origin: origin, enqueue: true}
		made, err := s.createRuns(ctx, tx, n)
		for _, r := range made {
			created[r.ID] = true
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("backfill: %w", err)
	}
	runs, err = s.ledger.RunsOfDates(ctx, from, to)
	for i := range runs {
		runs[i].Created = created[runs[i].ID]
	}
	return runs, err
}

func datesBetween(from, to civil.Date) (dates []civil.Date) {
	for d := from; d <= to; d++ {
		dates = append(dates, d)
	}
	return dates
}

// dateOf is the requested date, by default the last that ended.
func (s *Service) dateOf(ctx context.Context, date *civil.Date) (civil.Date, error) {
	if date != nil {
		return *date, nil
	}
	return s.lastEndedNow(ctx)
}

func (s *Service) checkEnded(ctx context.Context, d civil.Date) error {
	last, err := s.lastEndedNow(ctx)
	if err != nil {
		return err
	}
	if d > last {
		return fmt.Errorf("logical date %s (the last that ended is %s, in %s): %w", d, last, s.config.TimeZone, ledger.ErrNotEnded)
	}
	return nil
}

// runFor finds or creates the run of a request in the foreground.
func (s *Service) runFor(ctx context.Context, req RunRequest) (runID int64, err error) {
	date := *req.Date
	if len(req.Paths) > 0 {
		q, err := s.createManual(ctx, req, false)
		return q.RunID, err
	}
	if err := s.checkEnded(ctx, date); err != nil {
		return 0, err
	}
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		// Without a job, since the attempt starts at once. If it does not, Reconcile finds the run.
		n := newRuns{kind: ledger.KindBackfill, dates: []civil.Date{date}, requestedBy: req.RequestedBy, origin: s.config.Worker}
		created, err := s.createRuns(ctx, tx, n)
		if err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, s.sql.Get("run_of_date"), date.String()).Scan(&runID, &n.kind); err != nil || len(created) > 0 {
			return err
		}
		return n.record(ctx, tx, runID, date) // requested again
	})
	if err != nil {
		return 0, fmt.Errorf("find the run of %s: %w", date, err)
	}
	return runID, nil
}

// createManual creates a run of paths, with a River job if it is for the workers.
func (s *Service) createManual(ctx context.Context, req RunRequest, enqueue bool) (q Queued, err error) {
	date := *req.Date
	var paths []string
	for _, path := range req.Paths {
		paths = append(paths, path.String())
	}
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) (err error) {
		if err := tx.QueryRow(ctx, s.sql.Get("insert_manual"), date.String(), req.RequestedBy, paths).Scan(&q.RunID); err != nil {
			return err
		}
		if enqueue {
			if q.JobID, err = s.insertJob(ctx, tx, runArgs{q.RunID, date.String(), req.Source, req.Rules}); err != nil {
				return err
			}
		}
		return newRuns{kind: ledger.KindManual, requestedBy: req.RequestedBy, origin: s.config.Worker}.record(ctx, tx, q.RunID, date)
	})
	if err != nil {
		return Queued{}, fmt.Errorf("create a run: %w", err)
	}
	return q, nil
}

// newRuns are the runs to be created for dates that have none.
type newRuns struct {
	kind        string
	dates       []civil.Date
	requestedBy string
	origin      string
	enqueue     bool // with a River job each
}

// createRuns creates the missing runs, with their River jobs and audit events, and returns
// those that it created, by date.
func (s *Service) createRuns(ctx context.Context, tx pgx.Tx, n newRuns) ([]ledger.Run, error) {

	var dates []string
	for _, d := range n.dates {
		dates = append(dates, d.String())
	}
	rows, _ := tx.Query(ctx, s.sql.Get("create_runs"), n.kind, n.requestedBy, dates) // CollectRows returns its error
	runs, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (ledger.Run, error) {
		r := ledger.Run{Kind: n.kind, RequestedBy: n.requestedBy, Status: ledger.StatusDue, Created: true}
		err := row.Scan(&r.ID, &r.LogicalDate, &r.CreatedAt)
		return r, err
	})
	if err != nil {
		return nil, fmt.Errorf("create runs: %w", err)
	}
	for _, r := range runs {
		if n.enqueue {
			if _, err := s.insertJob(ctx, tx, runArgs{RunID: r.ID, LogicalDate: r.LogicalDate.String()}); err != nil {
				return nil, err
			}
		}
		if err := n.record(ctx, tx, r.ID, r.LogicalDate); err != nil {
			return nil, err
		}
	}
	return runs, nil
}

func (n newRuns) record(ctx context.Context, tx pgx.Tx, runID int64, date civil.Date) error {
	return ledger.Record(ctx, tx, ledger.Event{
		Actor: n.requestedBy, Action: ledger.ActionRunRequested, Subject: strconv.FormatInt(runID, 10), Origin: n.origin,
		Detail: map[string]any{"kind": n.kind, "logical_date": date},
	})
}

// insertJob gives a run to River, in the transaction that creates or requeues it.
func (s *Service) insertJob(ctx context.Context, tx pgx.Tx, args runArgs) (jobID int64, err error) {
	inserted, err := s.river.InsertTx(ctx, tx, args, nil)
	if err != nil {
		return 0, fmt.Errorf("insert the job of run %d: %w", args.RunID, err)
	}
	return inserted.Job.ID, nil
}
