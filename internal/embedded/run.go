package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	maintenance = "postgres" // the database that every cluster has
	pingTimeout = 5 * time.Second
	reportEvery = 10 * time.Second // log interval of a long wait
	// silenceTimeout bounds the time without any response. A server in crash recovery
	// responds with an error, so recovery itself is not bounded.
	silenceTimeout = time.Minute
	launchTries    = 20
	portTries      = 3
	launchPause    = 500 * time.Millisecond
	logTail        = 20       // lines
	logLimit       = 16 << 20 // bytes; a larger log is rotated by the next start
)

// run shares the running server, or starts one.
func (s *Server) run(ctx context.Context) error {
	for try := 1; ; try++ {
		if running := s.postmaster(); running.pid != 0 {
			s.config.Logger.DebugContext(ctx, "sharing the running server", "pid", running.pid)
			err := s.wait(ctx, func() bool { return s.postmaster().pid == running.pid }, 0)
			if err == nil || s.postmaster().pid == running.pid || ctx.Err() != nil {
				return err
			}
			// It was shutting down, and has exited.
		}
		crashed, err := s.clearStale()
		if crashed {
			s.endOrphans()
		}
		if err == nil {
			err = s.launch(ctx)
		}
		// After a crash, backends of the old server hold its shared memory for a
		// moment. Another process may have taken the free port.
		retry := crashed && try < launchTries || s.config.TCP && try < portTries || s.postmaster().pid != 0
		if err == nil || !retry || ctx.Err() != nil {
			return err
		}
		s.config.Logger.DebugContext(ctx, "the server did not start; retrying", "error", err)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(launchPause):
		}
	}
}

// launch starts a server and waits until it accepts connections.
func (s *Server) launch(ctx context.Context) (err error) {
	args, err := s.arguments(ctx)
	if err != nil {
		return err
	}
	output, from, err := s.openLog()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, output.Close()) }()
	// The server outlives the call that starts it.
	command := s.owner.command(context.WithoutCancel(ctx), s.programs.path("postgres"), args...)
	command.Dir, command.Stdout, command.Stderr = s.layout.dir, output, output
	if err := command.Start(); err != nil {
		return &Error{Op: "start", Path: command.Path, Err: err}
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = command.Wait() // the log has the reason
	}()
	return s.wait(ctx, func() bool {
		select {
		case <-exited:
			return false
		default:
			return true
		}
	}, from)
}

// arguments returns the server's arguments. The caller's settings come last, so they
// take precedence.
func (s *Server) arguments(ctx context.Context) ([]string, error) {
	listen, err := s.listen(ctx)
	if err != nil {
		return nil, err
	}
	args := append([]string{"-D", s.layout.data()}, listen...)
	args = append(args, "-c", "cluster_name=tally", "-c", "timezone=UTC", "-c", "log_timezone=UTC",
		"-c", "log_line_prefix=%m [%p] ", "-c", "max_connections=100")
	for _, name := range slices.Sorted(maps.Keys(s.config.Settings)) {
		args = append(args, "-c", name+"="+s.config.Settings[name])
	}
	return args, nil
}

// listen returns the arguments for the socket or, if no socket is possible, a port.
func (s *Server) listen(ctx context.Context) ([]string, error) {
	var problems error
	if !s.config.TCP {
		for _, dir := range s.layout.socketDirs() {
			err := s.owner.mkdir(dir)
			if err == nil {
				return []string{"-c", "listen_addresses=", "-c", "unix_socket_permissions=0700",
					"-c", "port=" + strconv.Itoa(socketPort), "-c", "unix_socket_directories=" + quoteList(dir)}, nil
			}
			problems = errors.Join(problems, err)
		}
		s.config.Logger.DebugContext(ctx, "no Unix socket possible; listening on a port", "error", problems)
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, errors.Join(problems, err)
	}
	return []string{"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "port=" + strconv.Itoa(port)}, nil
}

// quoteList quotes a folder for a parameter that takes a list.
func quoteList(dir string) string { return `"` + strings.ReplaceAll(dir, `"`, `""`) + `"` }

func freePort(ctx context.Context) (int, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, &Error{Op: "find a free port", Err: err}
	}
	address, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, &Error{Op: "find a free port", Err: fmt.Errorf("%v is not a TCP address", l.Addr())}
	}
	return address.Port, l.Close()
}

// wait waits until the server accepts connections. alive reports whether the process
// still runs; from is the offset at which its part of the log begins. A server in
// recovery rejects connections, for an unlimited time.
func (s *Server) wait(ctx context.Context, alive func() bool, from int64) error {
	began, reported, answered := time.Now(), time.Now(), time.Now()
	for {
		running := alive() // before the ping: a server that exits after it has failed
		err := s.ping(ctx)
		if err == nil {
			return s.ensureDatabase(ctx)
		}
		if isResponse(err) {
			answered = time.Now()
		}
		if isPermanent(err) || !running || time.Since(answered) > silenceTimeout {
			return &Error{Op: "start the server; log:", Path: s.layout.log(), Err: fmt.Errorf("%w\n%s", err, s.tail(from))}
		}
		if time.Since(reported) > reportEvery {
			reported = time.Now()
			s.config.Logger.InfoContext(ctx, "waiting for the server, which may be in crash recovery",
				"waited", time.Since(began).Round(time.Second), "log", s.layout.log(), "error", err)
		}
		select {
		case <-ctx.Done():
			return &Error{Op: "wait for the server; log:", Path: s.layout.log(), Err: errors.Join(ctx.Err(), err)}
		case <-time.After(pollEvery):
		}
	}
}

var (
	errNotListening = errors.New("the server is not listening yet")
	errRecovering   = errors.New("the server is in recovery")
)

// ping connects to the running server and stores its endpoint. During archive recovery
// a server accepts read-only connections; ping returns an error until recovery ends.
func (s *Server) ping(ctx context.Context) error {
	s.endpoint = s.postmaster().endpoint
	if s.endpoint == (endpoint{}) {
		return errNotListening
	}
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.endpoint.url(s.password, maintenance))
	if err != nil {
		return err
	}
	var recovering bool
	err = conn.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&recovering)
	if err == nil && recovering {
		err = errRecovering
	}
	return errors.Join(err, conn.Close(ctx))
}

// isResponse reports whether err comes from the server, which is therefore running.
func isResponse(err error) bool {
	_, ok := errors.AsType[*pgconn.PgError](err)
	return ok || errors.Is(err, errRecovering)
}

// isPermanent reports whether waiting cannot help: authentication failed (SQLSTATE class
// 28), or the database does not exist (3D000).
func isPermanent(err error) bool {
	response, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pgerrcode.IsInvalidAuthorizationSpecification(response.Code) || response.Code == pgerrcode.InvalidCatalogName)
}

// openLog opens the log for appending, and returns its current size.
func (s *Server) openLog() (*os.File, int64, error) {
	path := s.layout.log()
	if info, err := os.Stat(path); err == nil && info.Size() > logLimit {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, 0, &Error{Op: "rotate", Path: path, Err: err}
		}
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, 0, &Error{Op: "open", Path: path, Err: err}
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, 0, errors.Join(&Error{Op: "open", Path: path, Err: err}, file.Close())
	}
	return file, size, nil
}

// tail returns the last lines of the server's log after offset from.
func (s *Server) tail(from int64) string {
	text, err := os.ReadFile(s.layout.log())
	if err != nil {
		return err.Error()
	}
	return lastLines(string(text[min(from, int64(len(text))):]))
}

func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-logTail):], "\n")
}
