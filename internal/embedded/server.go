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

// Config says where and what to run. All but Dir may be left empty.
type Config struct {
	// Dir is the data folder; it is made where it is missing.
	Dir string
	// BinDir holds the programs postgres and initdb; "" means to look for
	// installed ones, and to download them where none fits.
	BinDir string
	// DownloadURL is the repository to download from; "" means the library's own.
	DownloadURL string
	// Settings are added to the server's, for tests. Like TCP they count when
	// this call starts the server, not when it joins one.
	Settings map[string]string
	// TCP asks for a free port of the loopback interface instead of a Unix socket.
	TCP bool
	// Logger hears of waits and downloads; nil means nobody does.
	Logger *slog.Logger

	places func(context.Context) []string // where programs may be installed; a test's own
}

// Server is one process's use of the folder's server.
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

// Start starts the folder's server, or joins the one that is running there. It
// returns when the server answers, however long a recovery after a crash takes,
// or when ctx is done. Errors are of type [*Error].
func Start(ctx context.Context, c Config) (*Server, error) {
	if c.Dir == "" {
		return nil, &Error{Op: "start", Err: errors.New("no data folder named")}
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, &Error{Op: "start in", Path: c.Dir, Err: err}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.places == nil {
		c.places = installedPlaces
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
	starting, err := s.exclusively(ctx)
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
	if err := s.initialise(ctx); err != nil {
		return err
	}
	return s.run(ctx)
}

func (s *Server) exclusively(ctx context.Context) (*lock, error) {
	return acquire(ctx, s.layout.path("start.lock"), exclusive)
}

// Close leaves the server, and stops it where nobody else uses it, which cuts
// off whoever is still connected. A second Close does nothing.
func (s *Server) Close() error {
	s.closing.Lock()
	defer s.closing.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	stopping, err := s.exclusively(context.Background())
	if err != nil {
		return errors.Join(err, s.users.release())
	}
	return errors.Join(s.leave(), stopping.release())
}

// leave gives up this process's use; start.lock is held meanwhile, so nobody
// joins a server that is about to be stopped.
func (s *Server) leave() error {
	last, err := s.users.alone()
	if err == nil && last {
		err = s.stop()
	}
	return errors.Join(err, s.users.release())
}

// URL reaches the database tally as its superuser, for pgx and for psql.
func (s *Server) URL() string { return s.endpoint.url(s.password, databaseName) }

// Version is the server's major version.
func (s *Server) Version() int { return s.programs.major }

// BinDir is the folder of the programs in use; psql may be in it, or may not.
func (s *Server) BinDir() string { return s.programs.dir }

// PID is the number of the server's first process, 0 when it is not running.
func (s *Server) PID() int { return s.postmaster().pid }

// LogPath is the file that holds the server's output.
func (s *Server) LogPath() string { return s.layout.log() }

// endpoint is how a running server is reached.
type endpoint struct {
	host string // an address, or the folder of the socket
	port int
}

func (e endpoint) url(password, database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(superuser, password), Path: "/" + database}
	query := url.Values{"sslmode": {"disable"}}
	if filepath.IsAbs(e.host) { // a path cannot stand where the host does
		query.Set("host", e.host)
		query.Set("port", strconv.Itoa(e.port))
	} else {
		u.Host = e.host + ":" + strconv.Itoa(e.port)
	}
	// Encode writes a space as "+", which neither pgx nor libpq reads back.
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	return u.String()
}
