package jobs

import (
	"context"
	"time"

	"github.com/opentax/tally/jobs/ledger"
)

// Tonight reads the state of the last night, with the files that are expected next.
func (s *Service) Tonight(ctx context.Context) (ledger.Tonight, error) {
	now := s.config.Clock.Now()
	t, err := s.ledger.Tonight(ctx, now, s.config.TimeZone)
	for _, source := range s.config.Sources {
		if last, ok := source.Due(now.In(s.config.TimeZone)); ok {
			by, _ := time.Parse("15:04", source.ExpectedBy) // Due has parsed it
			y, m, d := (last + 2).Time().Date()             // the day after the next date
			at := time.Date(y, m, d, by.Hour(), by.Minute(), 0, 0, s.config.TimeZone)
			t.Next.Expected = append(t.Next.Expected, ledger.Expected{Source: source.Name, Date: last + 1, By: at.UTC()})
		}
	}
	return t, err
}
