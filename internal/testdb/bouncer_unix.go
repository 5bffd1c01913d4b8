//go:build unix

package testdb

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Bouncer is a pgbouncer in transaction mode, which is stopped when the test ends.
type Bouncer struct {
	URL string
	PID int
	// Prepared reports whether it keeps prepared statements, as 1.21 and later do.
	Prepared bool
	Version  float64 // 1.18 or 1.21
}

// NewBouncer starts pgbouncer with poolSize connections to the server of a URL. Clients
// authenticate as on the server. If it is not installed, the test is skipped.
func NewBouncer(tb testing.TB, target string, poolSize int) *Bouncer {
	tb.Helper()
	path := BouncerPath()
	if path == "" {
		tb.Skip("pgbouncer is not installed")
	}
	b := &Bouncer{}
	out, err := exec.CommandContext(tb.Context(), path, "--version").Output()
	if match := regexp.MustCompile(`PgBouncer (\d+)\.(\d+)`).FindSubmatch(out); match != nil {
		major, _ := strconv.Atoi(string(match[1]))
		minor, _ := strconv.Atoi(string(match[2]))
		b.Version, b.Prepared = float64(major)+float64(minor)/100, major > 1 || minor >= 21
	}
	dir, mkdirErr := os.MkdirTemp("", "tally-bouncer-")
	if err != nil || mkdirErr != nil {
		tb.Fatalf("pgbouncer: %v %v", err, mkdirErr)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	ini := b.configure(tb, dir, target, poolSize)
	command := exec.Command(path, "-q", ini) //nolint:noctx // the cleanup ends it
	if os.Geteuid() == 0 {                   // pgbouncer refuses to run as root
		command.SysProcAttr = &syscall.SysProcAttr{Credential: unprivileged(tb, dir)}
	}
	var log bytes.Buffer
	command.Dir, command.Stdout, command.Stderr = "/", &log, &log
	if err := command.Start(); err != nil {
		tb.Fatalf("start pgbouncer: %v", err)
	}
	b.PID = command.Process.Pid
	tb.Cleanup(func() {
		_ = command.Process.Kill() // it has no data
		_ = command.Wait()
		if tb.Failed() {
			tb.Logf("pgbouncer: %s", log.String())
		}
	})
	b.await(tb)
	return b
}

// BouncerPath returns the path of pgbouncer, "" if it is not installed. Debian installs it in
// /usr/sbin, which may not be on the PATH.
func BouncerPath() string {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

func (b *Bouncer) configure(tb testing.TB, dir, target string, poolSize int) (ini string) {
	tb.Helper()
	server, err := pgx.ParseConfig(target)
	if err != nil {
		tb.Fatalf("the server's URL: %v", err)
	}
	port := freePort(tb)
	users, ini := filepath.Join(dir, "users.txt"), filepath.Join(dir, "pgbouncer.ini")
	text := fmt.Sprintf(`[databases]
* = host=%s port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %s
pool_mode = transaction
default_pool_size = %d
max_client_conn = 2000
`, server.Host, server.Port, port, users, poolSize)
	if b.Prepared {
		text += "max_prepared_statements = 200\n"
	}
	for path, content := range map[string]string{users: fmt.Sprintf("%q %q\n", server.User, server.Password), ini: text} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			tb.Fatalf("pgbouncer: %v", err)
		}
	}
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(server.User, server.Password), Host: fmt.Sprint("127.0.0.1:", port),
		Path: "/" + server.Database, RawQuery: "sslmode=disable",
	}
	b.URL = u.String()
	return ini
}

// unprivileged gives a folder to the user that servers of tests run as.
func unprivileged(tb testing.TB, dir string) *syscall.Credential {
	tb.Helper()
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if out, err := exec.CommandContext(tb.Context(), "chown", "-R", u.Uid, dir).CombinedOutput(); err != nil {
			tb.Fatalf("pgbouncer: %v %s", err, out)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	tb.Fatal("pgbouncer: no unprivileged user exists")
	return nil
}

func (b *Bouncer) await(tb testing.TB) {
	tb.Helper()
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(pollEvery) {
		conn, err := pgx.Connect(tb.Context(), b.URL)
		if err == nil {
			_ = conn.Close(context.WithoutCancel(tb.Context())) // it was only a try
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("pgbouncer did not start: %v", strings.TrimSpace(err.Error()))
		}
	}
}

func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // of a moment
	if err != nil {
		tb.Fatalf("find a free port: %v", err)
	}
	defer l.Close()                     //nolint:errcheck // it only held the port
	return l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // it listens on TCP
}
