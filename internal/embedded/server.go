package embedded

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	superuser    = "tally"
	databaseName = "tally"
	socketName   = ".s.PGSQL.5432"
	// longestSocket is the shortest sun_path among the systems that we run on:
	// macOS has 104 bytes, Linux 108.
	longestSocket = 103
	pollEvery     = 20 * time.Millisecond
	logTail       = 2048
	launchTries   = 4
	// silence is how long a living server may give no answer at all. One that
	// recovers after a crash answers that it does, however long it takes.
	silence     = time.Minute
	launchPause = 500 * time.Millisecond
)

// Config says where and what to run.
type Config struct {
	// Dir is the data folder; it is made where it is missing.
	Dir string
	// BinDir holds the programs postgres and initdb; "" means to look for
	// installed ones, and to download them where there are none.
	BinDir string
	// DownloadURL is the repository to download from; "" means the library's own.
	DownloadURL string
	// Settings are added to the server's, for tests. They count when this call
	// starts the server, not when it joins one.
	Settings map[string]string
	// Logger may be nil.
	Logger *slog.Logger
}

// Server is one process's use of the folder's server.
type Server struct {
	config   Config
	layout   layout
	owner    owner
	binaries binaries
	password string
	users    *lock
	closed   bool
}

// layout is where everything of a folder is.
type layout struct{ dir string }

func (l layout) path(name string) string { return filepath.Join(l.dir, name) }
func (l layout) data() string            { return l.path("pgdata") }
func (l layout) log() string             { return l.path("postgres.log") }

// socketDir is DIR/run, or a short folder named after DIR where that is too long.
func (l layout) socketDir() string {
	dir := l.path("run")
	if len(filepath.Join(dir, socketName)) <= longestSocket {
		return dir
	}
	sum := sha256.Sum256([]byte(l.dir))
	return filepath.Join(os.TempDir(), fmt.Sprintf("tally-%x", sum[:8]))
}

// Start starts the folder's server, or joins the one that is running there. It
// returns when the server answers, however long a recovery after a crash takes,
// or when ctx is done.
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
	s := &Server{config: c, layout: layout{dir}}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.abandon())
	}
	return s, nil
}

// abandon leaves nothing behind of a start that failed or was cancelled.
func (s *Server) abandon() error {
	if s.users == nil {
		return nil
	}
	return s.Close()
}

func (s *Server) start(ctx context.Context) (err error) {
	if s.owner, err = prepareFolder(s.layout.dir); err != nil {
		return err
	}
	if s.layout.dir, err = filepath.EvalSymlinks(s.layout.dir); err != nil {
		return &Error{Op: "resolve", Path: s.layout.dir, Err: err}
	}
	starting, err := s.exclusively(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, starting.release()) }()
	if s.users, err = acquire(ctx, s.layout.path("users.lock"), shared); err != nil {
		return err
	}
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

func (s *Server) findPrograms(ctx context.Context) error {
	want, err := s.clusterMajor()
	if err != nil {
		return err
	}
	s.binaries, err = findBinaries(ctx, s.config.BinDir, want)
	if errors.Is(err, errNoBinaries) {
		s.config.Logger.InfoContext(ctx, "no PostgreSQL found; downloading one", "into", s.layout.path("postgres"))
		s.binaries, err = obtain(ctx, s.layout.dir, s.config.DownloadURL)
	}
	return err
}

// clusterMajor is the version that made the cluster, 0 where there is none.
func (s *Server) clusterMajor() (int, error) {
	path := filepath.Join(s.layout.data(), "PG_VERSION")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, &Error{Op: "read", Path: path, Err: err}
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, &Error{Op: "read", Path: path, Err: err}
	}
	return major, nil
}

// initialise makes the cluster where there is none. It is made under another
// name and renamed, so that a process killed half way leaves no half cluster.
func (s *Server) initialise(ctx context.Context) error {
	if err := s.readPassword(); err != nil {
		return err
	}
	if major, err := s.clusterMajor(); major != 0 || err != nil {
		return err
	}
	s.config.Logger.InfoContext(ctx, "making a database cluster", "folder", s.layout.data(), "postgres", s.binaries.major)
	scratch := s.layout.path("pgdata.new")
	if err := os.RemoveAll(scratch); err != nil {
		return &Error{Op: "clear", Path: scratch, Err: err}
	}
	if err := s.owner.mkdir(scratch); err != nil {
		return err
	}
	secret := s.layout.path("password.initdb")
	if err := s.owner.writeSecret(secret, s.password); err != nil {
		return err
	}
	defer os.Remove(secret) //nolint:errcheck // overwritten at the next attempt
	command := s.owner.command(ctx, s.binaries.program("initdb"), "--pgdata", scratch, "--username", superuser, "--pwfile", secret,
		"--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--data-checksums")
	command.Dir = s.layout.dir
	if out, err := command.CombinedOutput(); err != nil {
		return &Error{Op: "initdb in", Path: scratch, Err: fmt.Errorf("%w: %s", err, out)}
	}
	if err := os.Rename(scratch, s.layout.data()); err != nil {
		return &Error{Op: "name the cluster", Path: s.layout.data(), Err: err}
	}
	return nil
}

// readPassword reads the folder's password, or makes one up.
func (s *Server) readPassword() error {
	path := s.layout.path("password")
	text, err := os.ReadFile(path)
	if err == nil && len(text) > 0 {
		s.password = strings.TrimSpace(string(text))
		return nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return &Error{Op: "read", Path: path, Err: err}
	}
	s.password = rand.Text()
	if err := os.WriteFile(path, []byte(s.password+"\n"), 0o600); err != nil {
		return &Error{Op: "write", Path: path, Err: err}
	}
	return nil
}

// run joins the server that is running in the folder, or starts one.
func (s *Server) run(ctx context.Context) error {
	if pid := s.postmaster(); pid != 0 {
		s.config.Logger.DebugContext(ctx, "joining the server that is running", "pid", pid)
		err := s.wait(ctx, func() bool { return s.postmaster() == pid })
		if err == nil || ctx.Err() != nil {
			return err
		}
		// It was on its way down, and is gone now.
	}
	if err := s.owner.mkdir(s.layout.socketDir()); err != nil {
		return err
	}
	for try := 1; ; try++ {
		err := s.launchAndWait(ctx)
		if err == nil || ctx.Err() != nil || try == launchTries {
			return err
		}
		// Backends of a killed postmaster hold its shared memory for a moment.
		s.config.Logger.DebugContext(ctx, "the server did not start; trying again", "error", err)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(launchPause):
		}
	}
}

func (s *Server) launchAndWait(ctx context.Context) error {
	exited, err := s.launch(ctx)
	if err != nil {
		return err
	}
	return s.wait(ctx, func() bool {
		select {
		case <-exited:
			return false
		default:
			return true
		}
	})
}

// settings of the server; the caller's come last and win.
func (s *Server) settings() []string {
	args := []string{"-D", s.layout.data(), "-k", s.layout.socketDir(),
		"-c", "listen_addresses=", "-c", "port=5432", "-c", "unix_socket_permissions=0700",
		"-c", "cluster_name=tally", "-c", "timezone=UTC", "-c", "log_timezone=UTC", "-c", "max_connections=100"}
	for name, value := range s.config.Settings {
		args = append(args, "-c", name+"="+value)
	}
	return args
}

// launch starts the postmaster in a process group of its own, so that Ctrl-C in
// the terminal reaches Tally alone, which stops it in good order.
func (s *Server) launch(ctx context.Context) (exited <-chan struct{}, err error) {
	output, err := s.owner.openLog(s.layout.log())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, output.Close()) }()
	command := s.owner.command(context.WithoutCancel(ctx), s.binaries.program("postgres"), s.settings()...)
	command.Dir, command.Stdout, command.Stderr = s.layout.dir, output, output
	if err := command.Start(); err != nil {
		return nil, &Error{Op: "start", Path: command.Path, Err: err}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = command.Wait() // how it ended is in its log
	}()
	return done, nil
}

// wait until the server answers; alive says whether it still may.
func (s *Server) wait(ctx context.Context, alive func() bool) error {
	answered := time.Now()
	for {
		err := s.ping(ctx)
		if err == nil {
			return s.ensureDatabase(ctx)
		}
		if _, starting := errors.AsType[*pgconn.PgError](err); starting {
			answered = time.Now() // it says why it does not let us in, and goes on
		}
		if !alive() || time.Since(answered) > silence {
			return &Error{Op: "start; its log is", Path: s.layout.log(), Err: fmt.Errorf("%w\n%s", err, s.tail())}
		}
		select {
		case <-ctx.Done():
			return &Error{Op: "wait for the server; its log is", Path: s.layout.log(), Err: errors.Join(ctx.Err(), err)}
		case <-time.After(pollEvery):
		}
	}
}

func (s *Server) ping(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.urlOf("postgres"))
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// ensureDatabase makes the database tally; a process may have been killed
// between initdb and this.
func (s *Server) ensureDatabase(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.urlOf("postgres"))
	if err != nil {
		return &Error{Op: "connect", Err: err}
	}
	var there bool
	err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", databaseName).Scan(&there)
	if err == nil && !there {
		_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{databaseName}.Sanitize())
	}
	if err = errors.Join(err, conn.Close(ctx)); err != nil {
		return &Error{Op: "make the database", Path: databaseName, Err: err}
	}
	return nil
}

// tail is the end of the server's log.
func (s *Server) tail() string {
	text, err := os.ReadFile(s.layout.log())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-logTail):])
}

// URL reaches the database tally as its superuser, for pgx and for psql.
func (s *Server) URL() string { return s.urlOf(databaseName) }

func (s *Server) urlOf(database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(superuser, s.password), Path: "/" + database,
		RawQuery: url.Values{"host": {s.layout.socketDir()}, "port": {"5432"}, "sslmode": {"disable"}}.Encode()}
	// Encode writes a space as "+", which neither pgx nor libpq reads back.
	u.RawQuery = strings.ReplaceAll(u.RawQuery, "+", "%20")
	return u.String()
}

// Version is the server's major version.
func (s *Server) Version() int { return s.binaries.major }

// BinDir is the folder of the programs in use; psql may be in it.
func (s *Server) BinDir() string { return s.binaries.dir }

// Close leaves the server, and stops it where nobody else uses it. A second
// Close does nothing.
func (s *Server) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	ctx := context.Background()
	stopping, err := s.exclusively(ctx)
	if err != nil {
		return errors.Join(err, s.users.release())
	}
	last, err := s.users.alone()
	if err == nil && last {
		err = s.stop()
	}
	return errors.Join(err, s.users.release(), stopping.release())
}

// postmaster is the process id of the folder's running server, or 0. A stale
// postmaster.pid, whose process is gone or is now another program, gives 0.
func (s *Server) postmaster() int {
	text, err := os.ReadFile(filepath.Join(s.layout.data(), "postmaster.pid"))
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid <= 1 || !runsIn(pid, s.layout.data()) {
		return 0
	}
	return pid
}
