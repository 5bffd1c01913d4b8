package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs/ledger"

	"github.com/jackc/pgx/v5"
)

const (
	// tickEvery bounds how long a midnight that was missed, or a run whose worker
	// was killed, waits for being noticed.
	tickEvery = 20 * time.Second
	// tickAfterError is when a tick that failed is tried again.
	tickAfterError = 2 * time.Second
	// tickTimeout keeps a database that does not answer from holding the clock up.
	tickTimeout = 15 * time.Second
	// minTick keeps a clock that is a little early from spinning.
	minTick = 10 * time.Millisecond
	// noneGrace is how late the policy none may find a midnight and not call it
	// missed.
	noneGrace = time.Hour
	// skippedDatesNamed bounds the dates that one audit event spells out.
	skippedDatesNamed = 100
)

// CatchUp is what becomes of the midnights that nobody was there for.
type CatchUp string

const (
	// CatchUpAll makes a run of each missed date, the newest Config.CatchUpLimit
	// of them.
	CatchUpAll CatchUp = "all"
	// CatchUpLatest makes a run of the last missed date only.
	CatchUpLatest CatchUp = "latest"
	// CatchUpNone makes none. A midnight that is found less than an hour late is
	// not missed.
	CatchUpNone CatchUp = "none"
)

// Check tells whether the policy is one of these, or "", which is all.
func (c CatchUp) Check() error {
	switch c {
	case "", CatchUpAll, CatchUpLatest, CatchUpNone:
		return nil
	}
	return fmt.Errorf("is %q, want %q, %q or %q", string(c), CatchUpAll, CatchUpLatest, CatchUpNone)
}

// EnqueueDue decides every logical date that has ended since the last decision:
// it is given a run and a River job, or is passed over by policy, which is
// written to the audit trail. All of that and the watermark move in one commit,
// so after any error nothing has happened and the next call decides the same
// dates. Any number of processes may call it at once. It returns the runs that
// it made.
//
// The first call ever starts at the day that has just ended: nothing is missed
// before the first start. A clock or time zone that is set back never takes the
// watermark back.
func (s *Service) EnqueueDue(ctx context.Context, now time.Time) ([]ledger.Run, error) {
	last := s.lastEnded(now)
	due, err := s.hasDue(ctx, last)
	if err != nil || !due {
		return nil, err
	}
	var d decision
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var err error
		d, err = s.enqueueDue(ctx, tx, last, now)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("enqueue the dates that are due: %w", err)
	}
	d.log(ctx, s.logger)
	return d.runs, nil
}

// decision is what became of the dates that had ended.
type decision struct {
	runs                   []ledger.Run
	skippedFrom, skippedTo civil.Date // none where skippedTo is before skippedFrom
}

func (d decision) log(ctx context.Context, logger *slog.Logger) {
	if d.skippedFrom <= d.skippedTo {
		logger.WarnContext(ctx, "logical dates passed over by the catch-up policy",
			slog.String("from", d.skippedFrom.String()), slog.String("to", d.skippedTo.String()))
	}
	for _, r := range d.runs {
		logger.InfoContext(ctx, "run is due", slog.Int64("run", r.ID), slog.String("logical_date", r.LogicalDate.String()))
	}
}

// lastEnded is the newest logical date: the day that has just ended.
func (s *Service) lastEnded(now time.Time) civil.Date { return civil.Of(now.In(s.config.TimeZone)) - 1 }

// hasDue is the cheap look at the watermark that nearly every tick ends with.
func (s *Service) hasDue(ctx context.Context, last civil.Date) (bool, error) {
	decided, begun, err := s.decided(ctx)
	return err == nil && (!begun || decided < last), err
}

// decided is the watermark, looked at without its lock; the schedule may not have
// begun yet.
func (s *Service) decided(ctx context.Context) (date civil.Date, begun bool, err error) {
	err = s.pool.QueryRow(ctx, readSchedule).Scan(&date)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("read the schedule: %w", err)
	}
	return date, true, nil
}

func (s *Service) enqueueDue(ctx context.Context, tx pgx.Tx, last civil.Date, now time.Time) (decision, error) {
	decided, err := s.lockSchedule(ctx, tx, last)
	d := decision{skippedFrom: decided + 1, skippedTo: decided}
	if err != nil || decided >= last {
		return d, err
	}
	due := s.due(decided, last, now)
	d.skippedTo = last - civil.Date(len(due))
	if err := s.recordSkipped(ctx, tx, d.skippedFrom, d.skippedTo); err != nil {
		return d, err
	}
	d.runs, err = s.createRuns(ctx, tx, newRuns{kind: ledger.KindNightly, dates: due, requestedBy: "schedule", origin: s.config.Worker, enqueue: true})
	if err != nil {
		return d, err
	}
	if _, err := tx.Exec(ctx, moveSchedule, last.String(), s.config.TimeZone.String()); err != nil {
		return d, fmt.Errorf("move the watermark: %w", err)
	}
	return d, nil
}

// lockSchedule locks the watermark and returns it.
func (s *Service) lockSchedule(ctx context.Context, tx pgx.Tx, last civil.Date) (civil.Date, error) {
	if _, err := tx.Exec(ctx, startSchedule, last.String(), s.config.TimeZone.String()); err != nil {
		return 0, fmt.Errorf("start the schedule: %w", err)
	}
	var decided civil.Date
	if err := tx.QueryRow(ctx, lockSchedule).Scan(&decided); err != nil {
		return 0, fmt.Errorf("lock the schedule: %w", err)
	}
	return decided, nil
}

// due are the dates after decided that are to be run, oldest first; they always
// end with last, if there are any.
func (s *Service) due(decided, last civil.Date, now time.Time) []civil.Date {
	count := int(last - decided)
	switch s.config.CatchUp {
	case CatchUpLatest:
		count = 1
	case CatchUpNone:
		count = 0
		if now.Sub((last + 1).Start(s.config.TimeZone)) < noneGrace {
			count = 1
		}
	case CatchUpAll:
		count = min(count, s.config.CatchUpLimit)
	}
	dates := make([]civil.Date, count)
	for i := range dates {
		dates[i] = last - civil.Date(count-1-i)
	}
	return dates
}

// recordSkipped notes the dates of a range, both ends in it, that get no run.
func (s *Service) recordSkipped(ctx context.Context, tx pgx.Tx, from, to civil.Date) error {
	if to < from {
		return nil
	}
	var named []civil.Date
	for d := from; d <= to && len(named) < skippedDatesNamed; d++ {
		named = append(named, d)
	}
	return ledger.Record(ctx, tx, ledger.Event{
		Actor: "schedule", Action: ledger.ActionRunSkipped, Subject: from.String() + "/" + to.String(), Origin: s.config.Worker,
		Detail: map[string]any{
			"policy": s.config.CatchUp, "limit": s.config.CatchUpLimit,
			"from": from, "to": to, "count": int(to-from) + 1, "dates": named,
		},
	})
}

// newRuns are runs to be made of dates that have none.
type newRuns struct {
	kind        string
	dates       []civil.Date
	requestedBy string
	origin      string
	enqueue     bool // with a River job each
}

// createRuns makes the runs that are not there yet, with their River jobs and
// audit events, and returns those that it made, by date.
func (s *Service) createRuns(ctx context.Context, tx pgx.Tx, n newRuns) ([]ledger.Run, error) {
	if len(n.dates) == 0 {
		return nil, nil
	}
	dates := make([]string, len(n.dates))
	for i, d := range n.dates {
		dates[i] = d.String()
	}
	rows, err := tx.Query(ctx, s.sql.Get("create_runs"), n.kind, n.requestedBy, dates)
	if err != nil {
		return nil, fmt.Errorf("create runs: %w", err)
	}
	runs, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (ledger.Run, error) {
		r := ledger.Run{Kind: n.kind, RequestedBy: n.requestedBy, Status: ledger.StatusDue, Created: true}
		err := row.Scan(&r.ID, &r.LogicalDate, &r.CreatedAt)
		return r, err
	})
	if err != nil {
		return nil, fmt.Errorf("create runs: %w", err)
	}
	for _, r := range runs {
		if err := s.recordRequest(ctx, tx, r, n); err != nil {
			return nil, err
		}
	}
	return runs, nil
}

func (s *Service) recordRequest(ctx context.Context, tx pgx.Tx, r ledger.Run, n newRuns) error {
	if n.enqueue {
		if _, err := s.insertJob(ctx, tx, r.ID, r.LogicalDate); err != nil {
			return err
		}
	}
	return ledger.Record(ctx, tx, ledger.Event{
		Actor: n.requestedBy, Action: ledger.ActionRunRequested, Subject: strconv.FormatInt(r.ID, 10), Origin: n.origin,
		Detail: map[string]any{"kind": n.kind, "logical_date": r.LogicalDate},
	})
}

// insertJob gives a run to River, in the transaction that decides it.
func (s *Service) insertJob(ctx context.Context, tx pgx.Tx, runID int64, date civil.Date) (jobID int64, err error) {
	inserted, err := s.river.InsertTx(ctx, tx, runArgs{RunID: runID, LogicalDate: date.String()}, nil)
	if err != nil {
		return 0, fmt.Errorf("insert the job of run %d: %w", runID, err)
	}
	return inserted.Job.ID, nil
}

// runSchedule ticks until ctx is done: at once, at every midnight of the zone, and
// at least every tickEvery. A tick that failed is logged and comes back soon.
func (s *Service) runSchedule(ctx context.Context) {
	for {
		now := s.config.Clock.Now()
		next := now.Add(s.untilNextTick(now))
		if err := s.tick(ctx, now); err != nil && ctx.Err() == nil {
			s.logger.ErrorContext(ctx, "schedule", slog.Any("error", err))
			next = now.Add(tickAfterError) // decides a midnight in between as well
		}
		select {
		case <-ctx.Done():
			return
		case <-s.config.Clock.After(max(minTick, next.Sub(s.config.Clock.Now()))):
		}
	}
}

func (s *Service) untilNextTick(now time.Time) time.Duration {
	today := civil.Of(now.In(s.config.TimeZone))
	return max(minTick, min(tickEvery, (today+1).Start(s.config.TimeZone).Sub(now)))
}

func (s *Service) tick(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, tickTimeout)
	defer cancel()
	_, err := s.EnqueueDue(ctx, now)
	// A broken schedule must not keep killed runs from being taken up.
	_, reconcileErr := s.Reconcile(ctx)
	return errors.Join(err, reconcileErr)
}

// ErrScheduleLate says that the schedule has not decided on a date that has ended.
var ErrScheduleLate = errors.New("no worker keeps the schedule")

// CheckSchedule reports whether a worker keeps the schedule: the last date that ended
// has been decided on, or did so within the grace.
func (s *Service) CheckSchedule(ctx context.Context, grace time.Duration) error {
	last := s.lastEnded(s.config.Clock.Now().Add(-grace))
	decided, begun, err := s.decided(ctx)
	switch {
	case err != nil:
		return err
	case !begun:
		return fmt.Errorf("the schedule has not begun: %w", ErrScheduleLate)
	case decided < last:
		return fmt.Errorf("the schedule stands at %s, and %s has ended: %w", decided, last, ErrScheduleLate)
	}
	return nil
}
