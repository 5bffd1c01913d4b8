//go:build unix

package embedded

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"
)

const (
	maintenance    = "postgres" // the database that every cluster has
	pidName        = "pgdata/postmaster.pid"
	logName        = "postgres.log"
	connectTimeout = 5 * time.Second
	reportEvery    = 10 * time.Second // log interval of a long wait
	// silenceTimeout bounds the time without any response. A server in crash recovery
	// responds with an error, so recovery itself is not bounded.
	silenceTimeout = time.Minute
	launchTries    = 20
	portTries      = 3
	launchPause    = 500 * time.Millisecond
	logTail        = 20       // lines
	logLimit       = 16 << 20 // bytes; a larger log is rotated by the next start

	socketPort = "5432" // part of the socket's file name; it cannot conflict with another server's port
	socketName = ".s.PGSQL." + socketPort
	// maxSocketPath is the shortest sun_path of the supported systems without its
	// terminating NUL: macOS has 104 bytes, Linux 108.
	maxSocketPath = 103

	stopTimeout = 2 * time.Minute // bounds the wait for a fast shutdown, which writes a checkpoint
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
		retry := crashed && try < launchTries || s.onPort && try < portTries || s.postmaster().pid != 0
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

func (s *Server) launch(ctx context.Context) error {
	args, err := s.arguments(ctx)
	if err != nil {
		return err
	}
	output, from, err := s.openLog()
	if err != nil {
		return failed("open", s.log(), err)
	}
	// The server outlives the call that starts it.
	command := s.owner.command(context.WithoutCancel(ctx), s.programs.path("postgres"), args...)
	command.Dir, command.Stdout, command.Stderr = s.dir, output, output
	if err := errors.Join(command.Start(), output.Close()); err != nil {
		return failed("start", command.Path, err)
	}
	var exited atomic.Bool
	go func() {
		_ = command.Wait() // the log has the reason
		exited.Store(true)
	}()
	return s.wait(ctx, func() bool { return !exited.Load() }, from)
}

// arguments returns the server's arguments. The caller's settings come last and take precedence.
func (s *Server) arguments(ctx context.Context) ([]string, error) {
	settings, err := s.listen(ctx)
	if err != nil {
		return nil, err
	}
	settings = append(settings, "cluster_name=tally", "timezone=UTC", "log_timezone=UTC", "log_line_prefix=%m [%p] ", "max_connections=100")
	for _, name := range slices.Sorted(maps.Keys(s.config.Settings)) {
		settings = append(settings, name+"="+s.config.Settings[name])
	}
	args := []string{"-D", s.data()}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	return args, nil
}

// listen returns the settings for the socket or, if no socket is possible, a port.
func (s *Server) listen(ctx context.Context) ([]string, error) {
	var problems error
	for _, dir := range s.socketDirs() {
		err := s.owner.mkdir(dir)
		if err == nil {
			quoted := `"` + strings.ReplaceAll(dir, `"`, `""`) + `"`
			return []string{"listen_addresses=", "port=" + socketPort, "unix_socket_directories=" + quoted, "unix_socket_permissions=0700"}, nil
		}
		problems = errors.Join(problems, err)
	}
	s.onPort = true
	s.config.Logger.DebugContext(ctx, "no Unix socket possible; listening on a port", "error", problems)
	free, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(problems, failed("find a free port", "", err))
	}
	_, port, err := net.SplitHostPort(free.Addr().String())
	return []string{"listen_addresses=127.0.0.1", "port=" + port, "unix_socket_directories="}, errors.Join(err, free.Close())
}

// socketDirs returns the folders that can hold the socket, in order of preference. It
// is empty if each path is too long or contains a comma.
func (s *Server) socketDirs() []string {
	return slices.DeleteFunc([]string{s.path("run"), s.shortDir()}, func(dir string) bool {
		// A comma separates hosts in URLs and folders in unix_socket_directories.
		return len(filepath.Join(dir, socketName)) > maxSocketPath || strings.Contains(dir, ",")
	})
}

func (s *Server) shortDir() string {
	sum := sha256.Sum256([]byte(s.dir))
	return filepath.Join(os.TempDir(), fmt.Sprintf("tally-%x", sum[:8]))
}

// wait waits until the server accepts connections. alive reports whether the process
// still runs; from is the offset at which its part of the log begins. A server in
// recovery rejects connections, for an unlimited time.
func (s *Server) wait(ctx context.Context, alive func() bool, from int64) error {
	began, reported, answered := time.Now(), time.Now(), time.Now()
	for {
		running := alive() // before the connection: a server that exits after it has failed
		conn, err := s.connect(ctx)
		if err == nil {
			return ensureDatabase(ctx, conn)
		}
		response, ok := errors.AsType[*pgconn.PgError](err)
		if ok || errors.Is(err, errRecovering) {
			answered = time.Now()
		}
		// Waiting does not help if authentication failed or the database does not exist.
		permanent := ok && (pgerrcode.IsInvalidAuthorizationSpecification(response.Code) || response.Code == pgerrcode.InvalidCatalogName)
		if permanent || !running || time.Since(answered) > silenceTimeout {
			return failed("start the server; log:", s.log(), fmt.Errorf("%w\n%s", err, s.tail(from)))
		}
		if time.Since(reported) > reportEvery {
			reported = time.Now()
			s.config.Logger.InfoContext(ctx, "waiting for the server, which may be in crash recovery",
				"waited", time.Since(began).Round(time.Second), "log", s.log(), "error", err)
		}
		select {
		case <-ctx.Done():
			return failed("wait for the server; log:", s.log(), errors.Join(ctx.Err(), err))
		case <-time.After(pollEvery):
		}
	}
}

var (
	errNotListening = errors.New("the server is not listening yet")
	errRecovering   = errors.New("the server is in recovery")
)

// connect connects to the running server and stores its endpoint. During archive recovery
// a server accepts read-only connections; connect returns an error until recovery ends, except
// for a standby.
func (s *Server) connect(ctx context.Context) (*pgx.Conn, error) {
	s.endpoint = s.postmaster().endpoint
	if s.endpoint == (endpoint{}) {
		return nil, errNotListening
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.endpoint.url(s.password, maintenance))
	if err != nil {
		return nil, err
	}
	var recovering bool
	err = conn.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&recovering)
	if err == nil && recovering && !s.config.Standby {
		err = errRecovering
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close(ctx))
	}
	return conn, nil
}

// openLog opens the log for appending, and returns its current size.
func (s *Server) openLog() (file *os.File, size int64, err error) {
	if info, statErr := os.Lstat(s.log()); statErr == nil {
		if size = info.Size(); size > logLimit {
			size, err = 0, os.Rename(s.log(), s.log()+".1")
		}
	}
	if err == nil {
		file, err = s.open(logName, os.O_CREATE|os.O_APPEND|os.O_WRONLY)
	}
	return file, size, err
}

func (s *Server) tail(from int64) string {
	text, err := s.read(logName)
	if err != nil {
		return err.Error()
	}
	return lastLines(string(text[min(from, int64(len(text))):]))
}

func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-logTail):], "\n")
}

// postmaster is the content of a running server's postmaster.pid.
type postmaster struct {
	pid      int
	endpoint endpoint // zero before the server listens
}

// postmaster returns the folder's running server. It returns zero if there is none:
// if postmaster.pid is missing or stale, also if its process ID was reused.
func (s *Server) postmaster() postmaster {
	text, err := s.read(pidName)
	if err != nil {
		return postmaster{}
	}
	// The lines: process ID, data folder, start time, port, socket folder, address.
	lines := make([]string, 6)
	copy(lines, strings.Split(string(text), "\n"))
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	pid, err := strconv.Atoi(lines[0])
	if err != nil || pid <= 1 || !isPostmaster(pid, s.data()) {
		return postmaster{}
	}
	p := postmaster{pid: pid}
	if host := cmp.Or(lines[4], lines[5]); host != "" && lines[3] != "" {
		p.endpoint = endpoint{host: host, port: lines[3]}
	}
	return p
}

func (s *Server) pidFile() string { return s.path(pidName) }

// isPostmaster reports whether pid is the server of the cluster and not another program
// that reuses the process ID. A server's working directory is its cluster. Systems
// without /proc show only the program's name.
func isPostmaster(pid int, data string) bool {
	if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return false
	}
	if _, err := os.Stat("/proc/self/cwd"); err != nil {
		name, err := exec.CommandContext(context.Background(), "ps", "-o", "ucomm=", "-p", strconv.Itoa(pid)).Output()
		return err == nil && strings.TrimSpace(string(name)) == "postgres"
	}
	same, err := sameFolder(fmt.Sprintf("/proc/%d/cwd", pid), data)
	if errors.Is(err, fs.ErrPermission) {
		// Root in a container may lack the capability to follow the link; the arguments
		// are readable by all users.
		arguments, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		return err == nil && slices.ContainsFunc(bytes.Split(arguments, []byte{0}), func(argument []byte) bool {
			return string(argument) == data
		})
	}
	return same
}

func sameFolder(a, b string) (bool, error) {
	first, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second), err
}

// endOrphans terminates backends of a crashed server that have not noticed its exit:
// PostgreSQL does not start a new server while they run. Without /proc they exit when
// they have finished their statement.
func (s *Server) endOrphans() {
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, process := range processes {
		same, _ := sameFolder(process+"/cwd", s.data())
		program, _ := os.Readlink(process + "/exe") // another program, such as a shell, may have this working directory
		if pid, err := strconv.Atoi(filepath.Base(process)); err == nil && same && filepath.Base(program) == "postgres" {
			_ = unix.Kill(pid, unix.SIGTERM) // an error means that it has exited
		}
	}
}

// clearStale prepares the start of a server after a crash, and reports whether there
// was one. If another process of the same user has the crashed server's process ID,
// PostgreSQL would mistake it for a running server. postmaster.pid must stay, since
// PostgreSQL uses its shared memory key to detect backends that still run. So it gets
// the process ID of this process: PostgreSQL ignores its own parent.
func (s *Server) clearStale() (bool, error) {
	text, err := s.read(pidName)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, failed("read", s.pidFile(), err)
	}
	if _, rest, found := strings.Cut(string(text), "\n"); found {
		err = s.rewrite(pidName, 0, fmt.Appendf(nil, "%d\n%s", os.Getpid(), rest), s.owner.chown)
	} else { // truncated by a crash: PostgreSQL would refuse to start
		err = os.Remove(s.pidFile())
	}
	if err != nil {
		return true, failed("clear", s.pidFile(), err)
	}
	for _, dir := range s.socketDirs() {
		err := os.Remove(filepath.Join(dir, socketName+".lock"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return true, failed("clear", dir, err)
		}
	}
	return true, nil
}

func (s *Server) stop() error {
	running := s.postmaster()
	if running.pid == 0 {
		return nil
	}
	err := unix.Kill(running.pid, unix.SIGINT)
	if errors.Is(err, unix.ESRCH) {
		err = nil
	}
	for began := time.Now(); err == nil && isPostmaster(running.pid, s.data()); time.Sleep(pollEvery) {
		if time.Since(began) > stopTimeout {
			err = errors.New("it is still shutting down; the next start will wait for it")
		}
	}
	if err == nil && running.endpoint.host == s.shortDir() {
		_ = os.Remove(running.endpoint.host) // the next start reuses it otherwise
	}
	return failed(fmt.Sprintf("stop the server, process %d; log:", running.pid), s.log(), err)
}
