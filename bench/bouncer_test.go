package bench

import (
	"context"
	"fmt"
	"net/url"
	programs "os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
)

// bouncer is a pgbouncer in transaction mode in front of a server.
type bouncer struct {
	*program
	url   string
	major int
	minor int
}

// bouncerPath returns the path of pgbouncer, "" if it is not installed. Debian installs
// it in /usr/sbin, which may not be on the PATH.
func bouncerPath() string {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if path, err := programs.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// newBouncer starts pgbouncer with poolSize connections to the server of a URL, which
// must have a host and a port. Clients authenticate as on the server.
func newBouncer(b *testing.B, o owner, target string, poolSize int) *bouncer {
	b.Helper()
	p := &bouncer{}
	out, err := programs.Command(bouncerPath(), "--version").Output()
	if err != nil {
		b.Fatal(err)
	}
	if match := regexp.MustCompile(`PgBouncer (\d+)\.(\d+)`).FindSubmatch(out); match != nil {
		p.major, _ = strconv.Atoi(string(match[1]))
		p.minor, _ = strconv.Atoi(string(match[2]))
	}
	u, err := url.Parse(target)
	if err != nil {
		b.Fatal(err)
	}
	port, dir := freePort(b), o.dir(b)
	password, _ := u.User.Password()
	users, ini := filepath.Join(dir, "users.txt"), filepath.Join(dir, "pgbouncer.ini")
	o.write(b, users, fmt.Sprintf("%q %q\n", u.User.Username(), password))
	text := fmt.Sprintf(`[databases]
* = host=%s port=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %s
pool_mode = transaction
default_pool_size = %d
max_client_conn = 2000
`, u.Hostname(), u.Port(), port, users, poolSize)
	if p.supportsPrepared() {
		text += "max_prepared_statements = 200\n"
	}
	o.write(b, ini, text)
	u.Host = fmt.Sprint("127.0.0.1:", port)
	p.url = u.String()
	p.program = o.start(b, o.command(bouncerPath(), "-q", ini), dir, func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, p.url)
		if err == nil {
			err = conn.Close(ctx)
		}
		return err
	})
	return p
}

// supportsPrepared reports whether this version has max_prepared_statements.
func (p *bouncer) supportsPrepared() bool { return p.major > 1 || p.minor >= 21 }

// version returns the version as a number, such as 1.18 or 1.21.
func (p *bouncer) version() float64 { return float64(p.major) + float64(p.minor)/100 }
