package ledger

import (
	"context"
	_ "embed" // for night.sql
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/sqlfile"
)

//go:embed night.sql
var nightSQL string

// Night is what became of the files of a source of one logical date.
type Night struct {
	bun.BaseModel `bun:"alias:night"`

	Date     civil.Date `bun:"logical_date"`
	Source   string     `bun:"source"`
	RunID    int64      `bun:"run_id"`
	Files    int64      `bun:"files"`  // loaded
	Failed   int64      `bun:"failed"` // files that were not loaded since
	Read     int64      `bun:"read"`   // rows
	Loaded   int64      `bun:"loaded"`
	Rejected int64      `bun:"rejected"`  // rows, with the conflicts
	Replaced int64      `bun:"replaced"`  // rows that took a stored row's place
	Reverted int64      `bun:"reverted"`  // files
	LoadedAt time.Time  `bun:"loaded_at"` // when the nightly run had loaded the first of them; else zero
}

// Nights are the nights of a range of logical dates.
type Nights struct {
	Runs   []Run   // of dates, by date
	Nights []Night // with files, by date and source
}

// FirstNight is the first logical date of which a source has a file.
type FirstNight struct {
	bun.BaseModel `bun:"alias:first_night"`

	Source string     `bun:"source"`
	Date   civil.Date `bun:"first_date"`
}

// Nights reads the nights of the logical dates from … to, both included.
func (s *Store) Nights(ctx context.Context, from, to civil.Date) (n Nights, err error) {
	if n.Runs, err = s.RunsOfDates(ctx, from, to); err != nil {
		return n, err
	}
	if err := s.selectNights(from, to).Scan(ctx, &n.Nights); err != nil {
		return n, fmt.Errorf("read the nights of %s to %s: %w", from, to, err)
	}
	return n, nil
}

// FirstNights are the sources by name, and the first logical date of all.
func (s *Store) FirstNights(ctx context.Context) (sources []FirstNight, first civil.Date, err error) {
	if err := s.selectFirstNights().Scan(ctx, &sources); err != nil {
		return nil, 0, fmt.Errorf("read the sources' first nights: %w", err)
	}
	if err := s.selectFirstDate().Scan(ctx, &first); err != nil {
		return nil, 0, fmt.Errorf("read the first night: %w", err)
	}
	for _, source := range sources {
		first = min(first, source.Date)
	}
	return sources, first, nil
}

func (s *Store) selectFirstDate() *bun.RawQuery {
	return s.db.NewRaw(sqlfile.Parse(nightSQL).Get("first_date"))
}

func (s *Store) selectFirstNights() *bun.RawQuery {
	return s.db.NewRaw(sqlfile.Parse(nightSQL).Get("first_nights"))
}

func (s *Store) selectNights(from, to civil.Date) *bun.RawQuery {
	return s.db.NewRaw(sqlfile.Parse(nightSQL).Get("nights"), from, to)
}
