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

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	maintenance = "postgres" // the database that is always there
	pingTimeout = 5 * time.Second
	reportEvery = 10 * time.Second // of a long wait
	// silence is how long a living server may give no answer at all. One that
	// recovers after a crash answers that it does, however long it takes.
	silence     = time.Minute
	launchTries = 20
	portTries   = 3
	launchPause = 500 * time.Millisecond
	logTail     = 20       // lines
	logLimit    = 16 << 20 // bytes, past which the log is put aside at a start
)

// run joins the server that is running in the folder, or starts one.
func (s *Server) run(ctx context.Context) error {
	for try := 1; ; try++ {
		if running := s.postmaster(); running.pid != 0 {
			s.config.Logger.DebugContext(ctx, "joining the server that is running", "pid", running.pid)
			err := s.wait(ctx, func() bool { return s.postmaster().pid == running.pid }, 0)
			if err == nil || s.postmaster().pid == running.pid || ctx.Err() != nil {
				return err
			}
			// It was on its way down, and is gone now.
		}
		crashed, err := s.clearStale()
		if crashed {
			s.endOrphans()
		}
		if err == nil {
			err = s.launch(ctx)
		}
		// After a crash, backends of the old server hold its memory for a moment.
		// A port that was free may have been taken meanwhile.
		again := crashed && try < launchTries || s.config.TCP && try < portTries || s.postmaster().pid != 0
		if err == nil || !again || ctx.Err() != nil {
			return err
		}
		s.config.Logger.DebugContext(ctx, "the server did not start; trying again", "error", err)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(launchPause):
		}
	}
}

// launch starts a server, and waits for it.
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
		_ = command.Wait() // how it ended is in its log
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

// arguments of the server; the caller's settings come last and win.
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

// listen chooses the socket's folder, or a port where there can be no socket.
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
		s.config.Logger.DebugContext(ctx, "no folder for a socket; listening on a port", "error", problems)
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, errors.Join(problems, err)
	}
	return []string{"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "port=" + strconv.Itoa(port)}, nil
}

// quoteList writes a folder as a list of one, whatever characters are in it.
func quoteList(dir string) string { return `"` + strings.ReplaceAll(dir, `"`, `""`) + `"` }

func freePort(ctx context.Context) (int, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, &Error{Op: "find a free port", Err: err}
	}
	address, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, &Error{Op: "find a free port", Err: fmt.Errorf("%v is no TCP address", l.Addr())}
	}
	return address.Port, l.Close()
}

// wait until the server answers; alive says whether it still may, from is where
// its part of the log begins. A server that recovers refuses connections
// meanwhile, and takes as long as it takes.
func (s *Server) wait(ctx context.Context, alive func() bool, from int64) error {
	began, reported, answered := time.Now(), time.Now(), time.Now()
	for {
		still := alive() // asked before: a server that dies after it has answered no more did not start
		err := s.ping(ctx)
		if err == nil {
			return s.ensureDatabase(ctx)
		}
		if speaks(err) {
			answered = time.Now()
		}
		if final(err) || !still || time.Since(answered) > silence {
			return &Error{Op: "start the server; its log is", Path: s.layout.log(), Err: fmt.Errorf("%w\n%s", err, s.tail(from))}
		}
		if time.Since(reported) > reportEvery {
			reported = time.Now()
			s.config.Logger.InfoContext(ctx, "waiting for the server, which may be recovering from a crash",
				"for", time.Since(began).Round(time.Second), "log", s.layout.log(), "answer", err)
		}
		select {
		case <-ctx.Done():
			return &Error{Op: "wait for the server; its log is", Path: s.layout.log(), Err: errors.Join(ctx.Err(), err)}
		case <-time.After(pollEvery):
		}
	}
}

var (
	errNotListening = errors.New("it does not listen yet")
	errRecovering   = errors.New("it is recovering, and cannot be written to yet")
)

// ping reaches the running server, and notes where. A server that recovers from a
// backup answers before it has ended; it is no use before.
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

// speaks says whether an answer is the server's own, as to why it lets nobody in
// yet.
func speaks(err error) bool {
	_, ok := errors.AsType[*pgconn.PgError](err)
	return ok || errors.Is(err, errRecovering)
}

// final says whether an answer will stay the same however long one waits: the
// server does not know us (SQLSTATE class 28), or has no such database.
func final(err error) bool {
	answer, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (strings.HasPrefix(answer.Code, "28") || answer.Code == "3D000")
}

// openLog also says how long the log is already.
func (s *Server) openLog() (*os.File, int64, error) {
	path := s.layout.log()
	if info, err := os.Stat(path); err == nil && info.Size() > logLimit {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, 0, &Error{Op: "put aside", Path: path, Err: err}
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

// tail is the end of the server's log, past from.
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
