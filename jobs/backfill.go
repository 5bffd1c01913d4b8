package jobs

import (
	"context"
	"errors"
	"fmt"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs/ledger"

	"github.com/jackc/pgx/v5"
)

// backfillLimit bounds one call: ten years.
const backfillLimit = 3660

// ErrTooManyDates says that one call asks for more dates than it may.
var ErrTooManyDates = errors.New("too many dates at once")

// Backfill makes the runs of the dates from … to, both in it, that have none
// yet, each with its River job, in one commit. It returns the runs of all these
// dates by date; those that were there before are as they were, with Created
// false. [ledger.ErrNotEnded] refuses a date that is not over.
func (s *Service) Backfill(ctx context.Context, from, to civil.Date, requestedBy string) ([]ledger.Run, error) {
	if to < from {
		return nil, fmt.Errorf("backfill: the first date %s is after the last %s", from, to)
	}
	if n := int(to-from) + 1; n > backfillLimit {
		return nil, fmt.Errorf("backfill: %d dates, at most %d: %w", n, backfillLimit, ErrTooManyDates)
	}
	return s.request(ctx, from, to, requestedBy, s.config.Worker)
}

// Request is Backfill for one date, nil for the day that has just ended, requested from
// origin, a network address. An existing run is returned as it is.
func (s *Service) Request(ctx context.Context, date *civil.Date, requestedBy, origin string) (ledger.Run, error) {
	wanted := s.lastEnded(s.config.Clock.Now())
	if date != nil {
		wanted = *date
	}
	runs, err := s.request(ctx, wanted, wanted, requestedBy, origin)
	if err != nil {
		return ledger.Run{}, err
	}
	return runs[0], nil
}

func (s *Service) request(ctx context.Context, from, to civil.Date, requestedBy, origin string) ([]ledger.Run, error) {
	if err := s.checkEnded(to); err != nil {
		return nil, fmt.Errorf("backfill: %w", err)
	}
	dates := make([]civil.Date, 0, int(to-from)+1)
	for d := from; d <= to; d++ {
		dates = append(dates, d)
	}
	created := map[int64]bool{}
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		runs, err := s.createRuns(ctx, tx, newRuns{kind: ledger.KindBackfill, dates: dates, requestedBy: requestedBy, origin: origin, enqueue: true})
		for _, r := range runs {
			created[r.ID] = true
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("backfill: %w", err)
	}
	runs, err := s.ledger.RunsOfDates(ctx, from, to)
	for i := range runs {
		runs[i].Created = created[runs[i].ID]
	}
	return runs, err
}
