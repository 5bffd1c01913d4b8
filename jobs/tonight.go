package jobs

import (
	"context"
	"time"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs/ledger"
)

// Tonight reads the state of the last night, with the files that are expected next.
func (s *Service) Tonight(ctx context.Context) (ledger.Tonight, error) {
	now := s.config.Clock.Now()
	t, err := s.ledger.Tonight(ctx, now, s.config.TimeZone)
	for _, source := range s.config.Sources {
		if last, ok := source.Due(now.In(s.config.TimeZone)); ok {
			at, _ := source.DueAt(last+1, s.config.TimeZone)
			t.Next.Expected = append(t.Next.Expected, ledger.Expected{Source: source.Name, Date: last + 1, By: at.UTC()})
		}
	}
	return t, err
}

// DueAt is when a file of a source is to be loaded for a logical date. The second result is false
// where the settings have no time for it.
func (s *Service) DueAt(name string, date civil.Date) (at time.Time, ok bool) {
	for _, source := range s.config.Sources {
		if source.Name == name {
			return source.DueAt(date, s.config.TimeZone)
		}
	}
	return at, false
}
