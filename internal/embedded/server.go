//go:build unix

package embedded

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"
)

const (
	superuser    = "tally"
	databaseName = "tally"
	pollEvery    = 20 * time.Millisecond
)

// Server is a handle on the folder's server, which other handles may share.
type Server struct {
	config   Config
	dir      string // the data folder, without symbolic links
	owner    owner
	programs programs
	password string
	endpoint endpoint
	onPort   bool     // no socket was possible
	users    *os.File // locked while this handle is open
	closing  sync.Once
}

// Start starts the folder's server, or shares the one that is running there. It
// returns when the server accepts connections, after crash recovery if need be, or
// when ctx is done. Errors are of type [*Error].
func Start(ctx context.Context, c Config) (s *Server, err error) {
	if c.Dir == "" {
		return nil, failed("start", "", errors.New("no data folder given"))
	}
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	c.checksums = cmp.Or(c.checksums, checksums)
	if c.binDirs == nil {
		c.binDirs = installedDirs
	}
	s = &Server{config: c}
	if err := s.prepareFolder(ctx); err != nil {
		return nil, err
	}
	starting, err := s.acquire(ctx, "start.lock", unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release(starting)) }()
	if s.users, err = s.acquire(ctx, "users.lock", unix.LOCK_SH); err != nil {
		return nil, err
	}
	if err := s.bringUp(ctx); err != nil {
		return nil, errors.Join(err, s.leave())
	}
	return s, nil
}

func (s *Server) bringUp(ctx context.Context) error {
	major, err := s.clusterMajor()
	if err == nil {
		err = s.findPrograms(ctx, major)
	}
	if err == nil {
		err = s.readPassword(major != 0)
	}
	if err == nil && major == 0 {
		err = s.createCluster(ctx)
	}
	if err == nil {
		err = s.run(ctx)
	}
	return err
}

// Close stops using the server. If no other handle uses it, Close stops the server
// with a fast shutdown, which disconnects all clients. A second Close does nothing.
func (s *Server) Close() (err error) {
	s.closing.Do(func() {
		stopping, lockErr := s.acquire(context.Background(), "start.lock", unix.LOCK_EX)
		if lockErr != nil {
			err = errors.Join(lockErr, release(s.users))
			return
		}
		err = errors.Join(s.leave(), release(stopping))
	})
	return err
}

// leave releases this handle's lock and stops the server if it was the last one. The
// caller holds start.lock, so that no process shares a server that is being stopped.
func (s *Server) leave() error {
	last, err := tryLock(s.users, unix.LOCK_EX)
	if last {
		err = s.stop()
	}
	return errors.Join(err, release(s.users))
}

// acquire opens and locks a file. The kernel releases the lock when the process ends.
// acquire polls, since a blocking flock ignores the context.
func (s *Server) acquire(ctx context.Context, name string, kind int) (*os.File, error) {
	path := s.path(name)
	file, err := s.open(name, os.O_CREATE|os.O_RDONLY)
	if err != nil {
		return nil, &Error{Op: "open", Path: path, Err: err, Hint: dataHint}
	}
	for {
		locked, err := tryLock(file, kind)
		if locked {
			return file, nil
		}
		if err != nil {
			return nil, errors.Join(failed("lock", path, err), file.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(&Error{Op: "wait for", Path: path, Err: ctx.Err(),
				Hint: "another Tally process is starting or stopping the server"}, file.Close())
		case <-time.After(pollEvery):
		}
	}
}

// tryLock reports whether it locked the file, or changed the kind of its lock. It cannot
// while another process holds a lock that excludes this one.
func tryLock(file *os.File, kind int) (bool, error) {
	for {
		err := unix.Flock(int(file.Fd()), kind|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return false, nil
		default:
			return err == nil, err
		}
	}
}

// release unlocks and closes the file. Closing it is not enough: a child process that
// another goroutine is starting inherits the file, and the lock with it, until it calls
// exec.
func release(file *os.File) error {
	return errors.Join(unix.Flock(int(file.Fd()), unix.LOCK_UN), file.Close())
}

// URL returns the connection URL of the database tally as its superuser, for pgx and
// libpq.
func (s *Server) URL() string { return s.endpoint.url(s.password, databaseName) }

// PID returns the process ID of the postmaster, 0 if the server is not running.
func (s *Server) PID() int { return s.postmaster().pid }

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }
func (s *Server) data() string            { return s.path("pgdata") }
func (s *Server) log() string             { return s.path(logName) }

// endpoint is where a server listens.
type endpoint struct {
	host string // an IP address, or the folder of the socket
	port string
}

func (e endpoint) url(password, database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(superuser, password), Path: "/" + database}
	// The host part of a URL cannot be a path.
	query := url.Values{"host": {e.host}, "port": {e.port}, "sslmode": {"disable"}}
	// Encode writes a space as "+", which neither pgx nor libpq decodes.
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	return u.String()
}

// clusterMajor returns the major version of the cluster, 0 if there is none.
func (s *Server) clusterMajor() (major int, err error) {
	text, err := s.read("pgdata/PG_VERSION")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err == nil {
		major, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	return major, failed("read", s.path("pgdata/PG_VERSION"), err)
}

func (s *Server) createCluster(ctx context.Context) error {
	s.config.Logger.InfoContext(ctx, "creating a database cluster", "folder", s.data(), "postgres", s.programs.major)
	scratch := s.path("pgdata.new-")
	unfinished, _ := filepath.Glob(scratch + "*") // of killed processes
	for _, dir := range unfinished {
		_ = os.RemoveAll(dir) // it only takes disk space
	}
	// The initdb of a killed process may still be running: a random name keeps it
	// out of this folder.
	scratch += strings.ToLower(rand.Text())
	err := s.owner.mkdir(scratch)
	if err == nil {
		err = s.initdb(ctx, scratch)
	}
	if err == nil {
		err = renameDurably(scratch, s.data())
	}
	return err
}

func (s *Server) initdb(ctx context.Context, target string) error {
	const name = "password.initdb" // the server's user may not be able to read the password file
	secret := s.path(name)
	defer os.Remove(secret) //nolint:errcheck // overwritten by the next one
	if err := s.rewrite(name, os.O_CREATE, []byte(s.password+"\n"), s.owner.chown); err != nil {
		return failed("write", secret, err)
	}
	args := []string{"--pgdata", target, "--username", superuser, "--pwfile", secret,
		"--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--data-checksums"}
	if s.config.Settings["fsync"] == "off" {
		args = append(args, "--no-sync")
	}
	command := s.owner.command(ctx, s.programs.path("initdb"), args...)
	command.Dir = s.dir
	out, err := command.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", errors.Join(ctx.Err(), err), lastLines(string(out)))
	}
	return failed("initdb in", target, err)
}

// readPassword reads the folder's password, or generates one for a new cluster.
func (s *Server) readPassword(needed bool) error {
	path := s.path("password")
	text, err := s.read("password")
	if s.password = strings.TrimSpace(string(text)); s.password != "" {
		return nil
	}
	if err == nil {
		err = errors.New("the file is empty")
	}
	if needed || !errors.Is(err, fs.ErrNotExist) {
		return &Error{Op: "read the superuser's password from", Path: path, Err: err,
			Hint: "restore it (one line), or move " + s.data() + " away to create a new cluster"}
	}
	s.password = rand.Text()
	// Atomically and synced: without the password, the cluster is unusable.
	if err := s.rewrite("password.new", os.O_CREATE, []byte(s.password+"\n"), (*os.File).Sync); err != nil {
		return failed("write", path, err)
	}
	return renameDurably(s.path("password.new"), path)
}

func renameDurably(from, to string) error {
	err := os.Rename(from, to)
	if err == nil {
		var dir *os.File
		if dir, err = os.Open(filepath.Dir(to)); err == nil {
			err = errors.Join(dir.Sync(), dir.Close())
		}
	}
	return failed("create", to, err)
}

// ensureDatabase creates the database tally if it is missing. It runs on every
// start, since a process may have been killed after initdb.
func ensureDatabase(ctx context.Context, conn *pgx.Conn) error {
	var exists bool
	err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", databaseName).Scan(&exists)
	if err == nil && !exists {
		_, err = conn.Exec(ctx, "CREATE DATABASE "+databaseName)
	}
	return failed("create the database", databaseName, errors.Join(err, conn.Close(ctx)))
}
