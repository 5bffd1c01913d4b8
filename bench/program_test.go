package bench

import (
	"context"
	"net"
	"os"
	programs "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// stopTimeout bounds the start and the stop of a program.
const stopTimeout = 20 * time.Second

// owner is the user that a server runs as. If the benchmark runs as root, it is an
// unprivileged user, as PostgreSQL and pgbouncer refuse to run as root.
type owner struct{ uid, gid int }

func serverOwner(b *testing.B, pool *pgxpool.Pool) owner {
	b.Helper()
	var dir string
	if err := pool.QueryRow(b.Context(), "SHOW data_directory").Scan(&dir); err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		b.Fatal(err)
	}
	return ownerOf(info)
}

// dir creates a folder for the owner, which is removed when the benchmark ends. Its path
// is short enough for a socket.
func (o owner) dir(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("", "tally-bench-")
	if err == nil {
		b.Cleanup(func() { _ = os.RemoveAll(dir) })
		err = os.Chown(dir, o.uid, o.gid)
	}
	if err != nil {
		b.Fatal(err)
	}
	return dir
}

func (o owner) command(path string, args ...string) *programs.Cmd {
	command := programs.Command(path, args...)
	command.Dir = "/"
	if os.Geteuid() == 0 {
		o.runs(command)
	}
	return command
}

// program is a running program, which is stopped when the benchmark ends.
type program struct {
	pid    int
	exited chan struct{}
	log    string
}

// start starts a program and waits until ready returns nil. Its output is written to a
// file in dir.
func (o owner) start(b *testing.B, command *programs.Cmd, dir string, ready func(context.Context) error) *program {
	b.Helper()
	p := &program{exited: make(chan struct{}), log: filepath.Join(dir, "log")}
	log, err := os.Create(p.log)
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	p.pid = command.Process.Pid
	go func() {
		defer close(p.exited)
		_ = command.Wait() // the log has the reason
	}()
	b.Cleanup(func() { p.stop(b, command.Process) })
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		err := ready(b.Context())
		if err == nil {
			return p
		}
		exited := false
		select {
		case <-p.exited:
			exited = true
		default:
		}
		if exited || time.Since(began) > stopTimeout {
			b.Fatalf("%s did not start: %v\n%s", command.Path, err, p.logTail())
		}
	}
}

// stop sends SIGINT, which is a fast shutdown for PostgreSQL and pgbouncer.
func (p *program) stop(b *testing.B, process *os.Process) {
	b.Helper()
	_ = process.Signal(os.Interrupt)
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
		_ = process.Kill()
		<-p.exited
		b.Errorf("process %d had to be killed\n%s", p.pid, p.logTail())
	}
}

func (p *program) logTail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// memoryKiB returns the proportional set size of a process. ok is false on systems
// without smaps_rollup.
func memoryKiB(pid int) (kib float64, ok bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		return 0, false
	}
	_, rest, found := strings.Cut(string(text), "\nPss:")
	number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	kib, err = strconv.ParseFloat(number, 64)
	return kib, found && err == nil
}
