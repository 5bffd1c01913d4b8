package bench

import (
	"context"
	"net"
	"os"
	programs "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// stopWithin bounds the wait for a program that was asked to stop.
const stopWithin = 20 * time.Second

// owner is who a server runs as. For root that is an unprivileged user, and neither
// another server nor pgbouncer runs as root either.
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
	stat := info.Sys().(*syscall.Stat_t)
	return owner{int(stat.Uid), int(stat.Gid)}
}

// dir is a folder of the owner's, which goes when the benchmark ends. Its path is
// short, as that of a socket has to be.
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

// write writes a file that its owner alone can read.
func (o owner) write(b *testing.B, path, text string) {
	b.Helper()
	err := os.WriteFile(path, []byte(text), 0o600)
	if err == nil {
		err = os.Chown(path, o.uid, o.gid)
	}
	if err != nil {
		b.Fatal(err)
	}
}

func (o owner) command(path string, args ...string) *programs.Cmd {
	command := programs.Command(path, args...)
	command.Dir = "/"
	if os.Geteuid() == 0 {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid)}}
	}
	return command
}

// program runs until the benchmark ends.
type program struct {
	pid    int
	exited chan struct{}
	log    string
}

// start runs a program, and waits until ready says that it is there; what it says
// goes to a file in dir.
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
		_ = command.Wait() // what it said is in its log
	}()
	b.Cleanup(func() { p.stop(b, command.Process) })
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		err := ready(b.Context())
		if err == nil {
			return p
		}
		gone := false
		select {
		case <-p.exited:
			gone = true
		default:
		}
		if gone || time.Since(began) > stopWithin {
			b.Fatalf("%s did not start: %v\n%s", command.Path, err, p.said())
		}
	}
}

// stop asks a program to end at once, which SIGINT does of PostgreSQL and pgbouncer.
func (p *program) stop(b *testing.B, process *os.Process) {
	b.Helper()
	_ = process.Signal(os.Interrupt)
	select {
	case <-p.exited:
	case <-time.After(stopWithin):
		_ = process.Kill()
		<-p.exited
		b.Errorf("process %d had to be killed\n%s", p.pid, p.said())
	}
}

func (p *program) said() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

func freePort(b *testing.B) int {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// heldKiB is a process's memory, what it shares with others divided among them; it
// says no where that cannot be known.
func heldKiB(pid int) (kib float64, ok bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		return 0, false
	}
	_, rest, found := strings.Cut(string(text), "\nPss:")
	number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	kib, err = strconv.ParseFloat(number, 64)
	return kib, found && err == nil
}
