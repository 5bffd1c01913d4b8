//go:build unix

package bench

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	programs "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/testdb"
)

const (
	diskMiB      = 512
	patience     = 2 * time.Minute // for a process to end, the server to come back, a night to be over
	pollPause    = 20 * time.Millisecond
	stateTimeout = 30 * time.Second
)

// arena has the program, and a server of its own on a small disk, which only root can mount.
type arena struct {
	t      *testing.T
	seed   uint64
	binary string
	dir    string
	disk   string // "": the server is on an ordinary disk
	server *testdb.Server
}

func newArena(t *testing.T, seed uint64, diskMiB int) *arena {
	t.Helper()
	a := &arena{t: t, seed: seed, dir: t.TempDir()}
	a.binary = filepath.Join(a.dir, "tally")
	if out, err := programs.Command("go", "build", "-o", a.binary, "../cmd/tally").CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	a.mount(diskMiB)
	a.server = testdb.Own(t, map[string]string{
		"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on",
		"max_wal_size": "64MB", "min_wal_size": "32MB", "shared_buffers": "32MB",
	})
	return a
}

// mount makes a small disk the place of the server's folder.
func (a *arena) mount(mib int) {
	disk, err := os.MkdirTemp("", "tally-disk-")
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = os.Remove(disk) })
	if out, err := programs.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm,mode=0777", mib), "tmpfs", disk).CombinedOutput(); err != nil {
		a.t.Logf("the disk will not be full, since a small one cannot be mounted: %v %s", err, out)
		return
	}
	a.t.Cleanup(func() {
		if err := programs.Command("umount", "-l", disk).Run(); err != nil {
			a.t.Errorf("umount %s: %v", disk, err)
		}
	})
	a.disk = disk
	a.t.Setenv("TMPDIR", disk) // where testdb puts its folder
}

// world is a database with files, settings and exports of its own.
type world struct {
	*arena
	name string
	calm bool
	dir  string
	pool *pgxpool.Pool // not through gates
	head string        // of the audit chain at the last check

	mu     sync.Mutex
	broken error               // the first error of a fault
	left   map[string][]*fault // of lanes: those that found nothing to disturb
	counts map[faultKind]int   // faults that happened

	faults   sync.WaitGroup // that are not over
	disaster sync.Mutex     // one fault of the server at a time
	active   int            // faults of the server
	total    int
}

const settingsOfAll = `sources:
  - {name: keep, path: DIR/keep, settle: 0s, reject_limit: 100%SLASH}
  - {name: replace, path: DIR/replace, settle: 0s, reject_limit: 100%, corrections: replaceSLASH}
  - {name: fresh, path: DIR/fresh, settle: 0s}
`

const settingsOfNights = `sources:
  - {name: night-keep, path: "DIR/night-keep/{date}.csv", settle: 0s, reject_limit: 100%}
  - {name: night-replace, path: "DIR/night-replace/{date}.csv", settle: 0s, reject_limit: 100%, corrections: replace}
export: {to: DIR/nightly}
`

// jumpingClock makes the database's clock one that can be set, as far as the program asks it.
const jumpingClock = `CREATE TABLE torture_clock (jump INTERVAL NOT NULL);
	INSERT INTO torture_clock VALUES ('0');
	CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT pg_catalog.now() + jump FROM public.torture_clock';
	CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT pg_catalog.clock_timestamp() + jump FROM public.torture_clock'`

// world creates one.
func (a *arena) world(name string) *world {
	w := &world{arena: a, name: name, calm: name == "calm", dir: filepath.Join(a.dir, name), left: map[string][]*fault{}, counts: map[faultKind]int{}}
	admin, err := pgx.Connect(a.t.Context(), a.server.URL())
	if err != nil {
		a.t.Fatal(err)
	}
	defer admin.Close(a.t.Context())
	if _, err := admin.Exec(a.t.Context(), "CREATE DATABASE "+name); err != nil {
		a.t.Fatal(err)
	}
	if w.pool, err = pgxpool.New(a.t.Context(), w.url().String()); err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(w.pool.Close)
	for _, folder := range []string{"keep", "replace", "fresh", "night-keep", "night-replace"} {
		if err := os.MkdirAll(w.path(folder), 0o755); err != nil {
			a.t.Fatal(err)
		}
	}
	for file, slash := range map[string]string{"tally.yaml": "", "dmy.yaml": ", slash: dmy"} {
		w.settings(file, strings.NewReplacer("DIR", w.dir, "SLASH", slash).Replace(settingsOfAll))
	}
	w.settings("nights.yaml", strings.ReplaceAll(settingsOfNights, "DIR", w.dir))
	if r, err := w.run(&step{}, []string{"migrate"}); err != nil || r.code != 0 {
		a.t.Fatalf("tally migrate: exit status %d, %v: %s", r.code, err, r.output)
	}
	for _, sql := range []string{jumpingClock, "ALTER DATABASE " + name + " SET search_path = public, pg_catalog"} {
		if _, err := w.pool.Exec(a.t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			a.t.Fatal(err)
		}
	}
	return w
}

func (w *world) settings(name, text string) {
	if err := os.WriteFile(w.path(name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) path(parts ...string) string {
	return filepath.Join(append([]string{w.dir}, parts...)...)
}

// url is the database's, past all gates.
func (w *world) url() *url.URL {
	u, err := url.Parse(w.server.URL())
	if err != nil {
		w.t.Fatal(err)
	}
	u.Path = "/" + w.name
	return u
}

// list reads a column of texts, also while the server restarts.
func (w *world) list(ctx context.Context, sql string, args ...any) (list []string, err error) {
	for began := time.Now(); ; time.Sleep(pollPause) {
		rows, _ := w.pool.Query(ctx, sql, args...) // CollectRows returns its error
		if list, err = pgx.CollectRows(rows, pgx.RowTo[string]); err == nil || time.Since(began) > stateTimeout {
			return list, err
		}
	}
}

// check lets the program check the database: the rollups, keys, counts and the chain, which
// must go on from where it was at the last check.
func (w *world) check(ctx context.Context) error {
	audit := []string{"audit", "verify"}
	if w.head != "" {
		audit = append(audit, "--head", w.head)
	}
	for _, args := range [][]string{{"verify"}, audit, {"audit", "head"}} {
		r, err := w.run(&step{}, args)
		if err != nil || r.code != 0 {
			return errors.Join(err, fmt.Errorf("tally %s: exit status %d: %s", strings.Join(args, " "), r.code, r.output))
		}
		w.head = strings.TrimSpace(r.output)
	}
	drift, err := w.list(ctx, "SELECT 'a nightly verification found '||differences||' differences' FROM etl_verifications WHERE status <> 'clean'")
	if err == nil && len(drift) > 0 {
		err = errors.New(drift[0])
	}
	return err
}

// finish brings the export up to date, and compares it with the database.
func (w *world) finish(context.Context) error {
	for _, args := range [][]string{{"export", "--to", w.path("lake")}, {"export", "--to", w.path("lake"), "--check"}} {
		if r, err := w.run(&step{}, args); err != nil || r.code != 0 {
			return errors.Join(err, fmt.Errorf("tally %s: exit status %d: %s", strings.Join(args, " "), r.code, r.output))
		}
	}
	return nil
}
