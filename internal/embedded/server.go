package embedded

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	superuser    = "tally"
	databaseName = "tally"
	pollEvery    = 20 * time.Millisecond
)

// Config configures a server. Only Dir is required.
type Config struct {
	// Dir is the data folder. It is created if it is missing.
	Dir string
	// BinDir is the folder of the programs postgres and initdb. If it is empty,
	// Start searches for installed programs, and downloads them if none fit.
	BinDir string
	// DownloadURL is the repository to download from. Default: the library's.
	DownloadURL string
	// Settings are additional server parameters, for tests. Like TCP, they apply
	// only if this call starts the server.
	Settings map[string]string
	// TCP selects a free port of the loopback interface instead of a Unix socket.
	TCP bool
	// Logger receives messages about waits and downloads. Default: discard.
	Logger *slog.Logger

	binDirs func(context.Context) []string // folders to search for programs; set by tests
}

// Server is a handle on the folder's server, which other handles may share.
type Server struct {
	config   Config
	layout   layout
	owner    owner
	programs programs
	password string
	endpoint endpoint
	users    *lock

	closing sync.Mutex
	closed  bool
}

// Start starts the folder's server, or shares the one that is running there. It
// returns when the server accepts connections, after crash recovery if need be, or
// when ctx is done. Errors are of type [*Error].
func Start(ctx context.Context, c Config) (*Server, error) {
	if c.Dir == "" {
		return nil, &Error{Op: "start", Err: errors.New("no data folder given")}
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, &Error{Op: "start in", Path: c.Dir, Err: err}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.binDirs == nil {
		c.binDirs = installedDirs
	}
	s := &Server{config: c, layout: layout{dir}}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) (err error) {
	if s.layout.dir, s.owner, err = prepareFolder(ctx, s.layout.dir); err != nil {
		return err
	}
	starting, err := s.lockStart(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, starting.release()) }()
	if s.users, err = acquire(ctx, s.layout.path("users.lock"), shared); err != nil {
		return err
	}
	if err := s.bringUp(ctx); err != nil {
		return errors.Join(err, s.leave())
	}
	return nil
}

func (s *Server) bringUp(ctx context.Context) error {
	if err := s.findPrograms(ctx); err != nil {
		return err
	}
	if err := s.initCluster(ctx); err != nil {
		return err
	}
	return s.run(ctx)
}

func (s *Server) lockStart(ctx context.Context) (*lock, error) {
	return acquire(ctx, s.layout.path("start.lock"), exclusive)
}

// Close stops using the server. If no other handle uses it, Close stops the server
// with a fast shutdown, which disconnects all clients. A second Close does nothing.
func (s *Server) Close() error {
	s.closing.Lock()
	defer s.closing.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	stopping, err := s.lockStart(context.Background())
	if err != nil {
		return errors.Join(err, s.users.release())
	}
	return errors.Join(s.leave(), stopping.release())
}

// leave releases this handle's lock and stops the server if it was the last one. The
// caller holds start.lock, so that no process shares a server that is being stopped.
func (s *Server) leave() error {
	last, err := s.users.upgrade()
	if err == nil && last {
		err = s.stop()
	}
	return errors.Join(err, s.users.release())
}

// URL returns the connection URL of the database tally as its superuser, for pgx and
// libpq.
func (s *Server) URL() string { return s.endpoint.url(s.password, databaseName) }

// Version returns the server's major version.
func (s *Server) Version() int { return s.programs.major }

// BinDir returns the folder of the server programs. It may not contain psql.
func (s *Server) BinDir() string { return s.programs.dir }

// PID returns the process ID of the postmaster, 0 if the server is not running.
func (s *Server) PID() int { return s.postmaster().pid }

// LogPath returns the path of the server's log.
func (s *Server) LogPath() string { return s.layout.log() }

// endpoint is the address of a running server.
type endpoint struct {
	host string // an IP address, or the folder of the socket
	port int
}

func (e endpoint) url(password, database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(superuser, password), Path: "/" + database}
	query := url.Values{"sslmode": {"disable"}}
	if filepath.IsAbs(e.host) { // the host part of a URL cannot be a path
		query.Set("host", e.host)
		query.Set("port", strconv.Itoa(e.port))
	} else {
		u.Host = e.host + ":" + strconv.Itoa(e.port)
	}
	// Encode writes a space as "+", which neither pgx nor libpq decodes.
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	return u.String()
}
