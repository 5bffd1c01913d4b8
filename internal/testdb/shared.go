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

	"github.com/opentax/tally/internal/embedded"
)

// programsVariable is the environment variable for the folder of the server programs.
const programsVariable = "TALLY_TEST_POSTGRES"

// shared is a server that tests of this process share while at least one of them runs.
type shared struct {
	mu     sync.Mutex
	users  int
	dir    string
	server *embedded.Server // nil on a cluster
	base   string           // the URL of its first database
	nodes  []node           // one, or those of a cluster, of which the first is the coordinator
}

// process is the shared server of this process.
var process shared

// use starts the shared server if no other test uses it, and releases it when the test
// ends.
func use(tb testing.TB) *shared {
	tb.Helper()
	if err := process.acquire(context.Background()); err != nil {
		tb.Fatalf("test server: %v", err)
	}
	tb.Cleanup(func() {
		if err := process.release(); err != nil {
			tb.Errorf("close the test server: %v", err)
		}
	})
	return &process
}

func (s *shared) acquire(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == 0 {
		if err := s.start(ctx); err != nil {
			return err
		}
	}
	s.users++
	return nil
}

func (s *shared) start(ctx context.Context) (err error) {
	if s.base = os.Getenv(clusterVariable); s.base == "" {
		if err := s.startServer(ctx); err != nil {
			return err
		}
	}
	if s.nodes, err = openNodes(ctx, s.base); err != nil {
		return errors.Join(err, s.close())
	}
	if err := s.sweep(ctx); err != nil {
		return errors.Join(fmt.Errorf("sweep: %w", err), s.close())
	}
	return nil
}

func (s *shared) startServer(ctx context.Context) error {
	config, err := serverConfig(ctx)
	if err != nil {
		return err
	}
	if s.server, err = embedded.Start(ctx, config); err != nil {
		return err
	}
	s.dir, s.base = config.Dir, s.server.URL()
	return nil
}

func (s *shared) close() error {
	for _, n := range s.nodes {
		if n.admin != nil {
			n.admin.Close()
		}
	}
	if s.nodes = nil; s.server == nil {
		return nil
	}
	return s.server.Close()
}

func (s *shared) release() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users > 0 {
		return nil
	}
	return s.close()
}

// serverConfig returns a configuration with one folder per user and version.
func serverConfig(ctx context.Context) (embedded.Config, error) {
	programs := os.Getenv(programsVariable)
	major, err := embedded.Installed(ctx, programs)
	name := fmt.Sprintf("tally-test-%d-%d", os.Geteuid(), major)
	if errors.Is(err, embedded.ErrNotInstalled) { // Start will download them
		name, err = fmt.Sprintf("tally-test-%d", os.Geteuid()), nil
	}
	settings := fastSettings()
	settings["max_connections"] = "300"
	settings["max_locks_per_transaction"] = "256"
	return embedded.Config{Dir: filepath.Join(os.TempDir(), name), BinDir: programs, Settings: settings}, err
}

// fastSettings disables all syncs. Data survives a crash of the server, but not of the
// machine.
func fastSettings() map[string]string {
	return map[string]string{"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "wal_init_zero": "off"}
}

// url returns the connection URL of one of the server's databases.
func (s *shared) url(database string) string {
	u, err := url.Parse(s.base)
	if err != nil {
		panic(err) // impossible: it was used to connect
	}
	u.Path = "/" + strings.TrimPrefix(database, "/")
	return u.String()
}
