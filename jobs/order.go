package jobs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/pipeline"
)

const (
	nextSnooze    = 5 * time.Second // of a run that waits for one other run
	laterSnooze   = tickEvery       // of a run that waits for more, for each of them
	maxTurnSnooze = time.Hour       // a run whose turn comes is woken long before
)

// wait is a source that unfinished runs of earlier dates have not read yet.
type wait struct { // its fields are in the order of the statement's columns
	Source string
	Read   bool        // by this run
	Runs   int         // earlier ones that have not
	First  *civil.Date // of them
}

// waiting are the sources that a run must leave out for now, by name.
type waiting map[string]wait

// waits looks up which sources a run must leave out, and reports whether these are all
// that it has not read. A manual run waits for nothing, a run that succeeded or failed
// holds up no other, and only earlier dates are waited for.
func (s *Service) waits(ctx context.Context, runID int64) (left waiting, all bool, err error) {
	rows, _ := s.pool.Query(ctx, s.sql.Get("earlier_runs"), runID, sourceNames(s.config.Sources)) // CollectRows returns its error
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[wait])
	if err != nil {
		return nil, false, fmt.Errorf("look up the earlier runs of the sources: %w", err)
	}
	left, unread := waiting{}, 0
	for _, w := range list {
		if w.Read {
			continue
		}
		unread++
		if w.Runs > 0 {
			left[w.Source] = w
		}
	}
	return left, len(left) > 0 && len(left) == unread, nil
}

func sourceNames(sources []pipeline.Source) []string {
	names := make([]string, len(sources))
	for i, source := range sources {
		names[i] = source.Name
	}
	return names
}

// snooze is the pause until the next look. The runs behind the next one are many and look
// rarely: the end of an attempt and the tick wake the run whose turn it is.
func (w waiting) snooze() time.Duration {
	runs := 0
	for _, source := range w {
		if runs == 0 || source.Runs < runs {
			runs = source.Runs
		}
	}
	if runs <= 1 {
		return nextSnooze
	}
	return min(maxTurnSnooze, time.Duration(runs)*laterSnooze)
}

// turnError reports sources that an attempt left out.
type turnError struct{ left waiting }

func (e *turnError) Error() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(e.left)) {
		parts = append(parts, fmt.Sprintf("source %s waits for the run of %s", name, e.left[name].First))
	}
	return strings.Join(parts, "; ")
}

// Retryable reports that the run is repeated.
func (*turnError) Retryable() bool { return true }

// wake makes the jobs available of the runs that wait no longer.
func (s *Service) wake(ctx context.Context) error {
	rows, _ := s.pool.Query(ctx, s.sql.Get("next_jobs"), sourceNames(s.config.Sources), jobKind) // CollectRows returns its error
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return fmt.Errorf("look up the runs whose turn it is: %w", err)
	}
	for _, id := range ids {
		if _, err := s.river.JobRetry(ctx, id); err != nil {
			return fmt.Errorf("wake the job %d: %w", id, err)
		}
	}
	return nil
}

// recordSource records that an attempt has read a source to its end.
func (s *Service) recordSource(ctx context.Context, a *attempt, source string, files, failed int) error {
	if _, err := s.pool.Exec(ctx, s.sql.Get("record_source"), a.runID, a.number, source, files, failed); err != nil {
		return fmt.Errorf("record the source %s as read: %w", source, err)
	}
	return nil
}
