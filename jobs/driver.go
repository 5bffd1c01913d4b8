package jobs

import (
	"cmp"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
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

// sessions is the pool of what needs a session.
func (s *Service) sessions() *pgxpool.Pool { return cmp.Or(s.config.Sessions, s.pool) }
