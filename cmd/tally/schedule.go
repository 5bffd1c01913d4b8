package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs"
	"github.com/opentax/tally/jobs/ledger"
)

type scheduleCmd struct {
	JSON   bool        `help:"Print one JSON document."`
	Set    *civil.Date `placeholder:"DATE" help:"Make this the last date that is decided: the dates after it that have ended and have no run become due, by the catch-up policy."`
	Reason string      `help:"Why it is set, for the audit trail. Required with --set."`
}

func (cmd scheduleCmd) Run(ctx context.Context, env *environment) error {
	if (cmd.Set == nil) != (strings.TrimSpace(cmd.Reason) == "") {
		return usageError{errors.New("--set DATE and --reason TEXT belong together")}
	}
	return env.withService(ctx, func(service *jobs.Service) error {
		if cmd.Set != nil {
			before, err := service.SetSchedule(ctx, *cmd.Set, requestedBy(), cmd.Reason)
			if errors.Is(err, ledger.ErrNotEnded) {
				return usageError{err}
			}
			if err != nil {
				return err
			}
			env.logger.InfoContext(ctx, "schedule set", "from", before, "to", cmd.Set.String(), "reason", cmd.Reason)
		}
		schedule, err := service.Schedule(ctx)
		if err != nil {
			return err
		}
		if cmd.JSON {
			return writeJSON(env.stdout, schedule)
		}
		return env.terminal.printSchedule(env.stdout, schedule)
	})
}

// printSchedule writes the schedule for people.
func (t terminal) printSchedule(w io.Writer, s jobs.Schedule) error {
	var b strings.Builder
	decided := "none"
	if s.LastDate != nil {
		decided = s.LastDate.String()
	}
	policy := string(s.CatchUp)
	if s.CatchUp == jobs.CatchUpAll {
		policy += fmt.Sprintf(", the newest %d", s.CatchUpLimit)
	}
	fmt.Fprintf(&b, "last decided date: %s\nnext: %s, at %s (%s; %s)\nmissed midnights: %s\n", decided,
		s.NextDate, s.NextMidnight.Format("2006-01-02 15:04 MST"), s.TimeZone, s.NextMidnightUTC.Format("2006-01-02 15:04 MST"), policy)
	fmt.Fprintf(&b, "clock: %s, %+.1f s against the database's\n", s.Clock.Format(time.RFC3339), s.SkewSeconds)
	if s.Problem != "" {
		fmt.Fprintf(&b, "%s %s\n", t.paint(red, "problem:"), s.Problem)
	}
	fmt.Fprintf(&b, "unfinished runs: %d\n", s.Unfinished)
	for _, r := range s.Runs {
		writeScheduledRun(&b, r)
	}
	if more := s.Unfinished - len(s.Runs); more > 0 {
		fmt.Fprintf(&b, "  and %d more\n", more)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeScheduledRun(b *strings.Builder, r jobs.ScheduledRun) {
	fmt.Fprintf(b, "  %s: run %d is %s", r.Date, r.ID, r.Status)
	if r.Late {
		fmt.Fprintf(b, ", late: due since %s", r.CreatedAt.UTC().Format(time.RFC3339))
	}
	if r.Error != "" {
		fmt.Fprintf(b, ": %s", r.Error)
	}
	b.WriteByte('\n')
	for _, source := range slices.Sorted(maps.Keys(r.WaitsFor)) {
		fmt.Fprintf(b, "    %s waits for the run of %s\n", source, r.WaitsFor[source])
	}
}
