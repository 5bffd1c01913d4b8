package jobs

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/opentax/tally/internal/postgres"
)

// driver is River's, with a pool of its own for notifications, which do not pass through a pooler.
type driver struct {
	*riverpgxv5.Driver
	listener *riverpgxv5.Driver
}

// newDriver makes one; sessions may be nil.
func newDriver(pool, sessions *pgxpool.Pool) *driver {
	d := &driver{Driver: riverpgxv5.New(pool)}
	d.listener = d.Driver
	if sessions != nil {
		d.listener = riverpgxv5.New(sessions)
	}
	return d
}

// GetListener replaces that of the driver.
func (d *driver) GetListener(params *riverdriver.GetListenenerParams) riverdriver.Listener {
	return d.listener.GetListener(params)
}

var errPooled = errors.New("the database URL leads through a pooler, which keeps neither locks nor notifications of a session: " +
	"name a direct way in DATABASE_DIRECT_URL")

// checkSessions reaches the database, and refuses a pooler that there is no way past.
func (s *Service) checkSessions(ctx context.Context) error {
	pooled, err := postgres.Pooled(ctx, s.pool)
	if err == nil && pooled && s.config.Sessions == nil {
		err = errPooled
	}
	return err
}
