package testdb

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/embedded"
	"github.com/opentax/tally/internal/postgres"
)

// programsVariable names a folder with the programs to test on.
const programsVariable = "TALLY_TEST_POSTGRES"

// shared is the server that the tests of this process use at this moment.
type shared struct {
	mu     sync.Mutex
	users  int
	dir    string
	server *embedded.Server
	admin  *pgxpool.Pool
}

// process is shared by all tests of the process: a test that starts while
// another one runs finds its server.
var process shared

// join starts the shared server or joins it, and leaves when the test ends.
func join(tb testing.TB) *shared {
	tb.Helper()
	if err := process.enter(context.Background()); err != nil {
		tb.Fatalf("test server: %v", err)
	}
	tb.Cleanup(func() {
		if err := process.leave(); err != nil {
			tb.Errorf("leave the test server: %v", err)
		}
	})
	return &process
}

func (s *shared) enter(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == 0 {
		if err := s.open(ctx); err != nil {
			return err
		}
	}
	s.users++
	return nil
}

func (s *shared) open(ctx context.Context) error {
	config, err := serverConfig(ctx)
	if err != nil {
		return err
	}
	if s.server, err = embedded.Start(ctx, config); err != nil {
		return err
	}
	s.dir = config.Dir
	s.admin, err = postgres.Open(ctx, postgres.Config{URL: s.server.URL(), MaxConns: 4, ApplicationName: "tally-testdb"})
	if err != nil {
		return errors.Join(err, s.server.Close())
	}
	if err := s.sweep(ctx); err != nil {
		s.admin.Close()
		return errors.Join(fmt.Errorf("sweep: %w", err), s.server.Close())
	}
	return nil
}

func (s *shared) leave() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users > 0 {
		return nil
	}
	s.admin.Close()
	return s.server.Close()
}

// serverConfig has a folder for each user and version.
func serverConfig(ctx context.Context) (embedded.Config, error) {
	programs := os.Getenv(programsVariable)
	major, err := embedded.Installed(ctx, programs)
	name := fmt.Sprintf("tally-test-%d-%d", os.Geteuid(), major)
	if errors.Is(err, embedded.ErrNotInstalled) { // it will be downloaded
		name, err = fmt.Sprintf("tally-test-%d", os.Geteuid()), nil
	}
	settings := quick()
	settings["max_connections"] = "300"
	settings["max_locks_per_transaction"] = "256"
	return embedded.Config{Dir: filepath.Join(os.TempDir(), name), BinDir: programs, Settings: settings}, err
}

// quick are the settings of a server that may lose everything when the machine
// stops, but not when it does.
func quick() map[string]string {
	return map[string]string{"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
}

// url of one of the server's databases.
func (s *shared) url(database string) string {
	u, err := url.Parse(s.server.URL())
	if err != nil {
		panic(err) // the embedded server made it
	}
	u.Path = "/" + strings.TrimPrefix(database, "/")
	return u.String()
}
