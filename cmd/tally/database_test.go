package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
)

// bare is a database without a schema.
type bare struct{}

func (bare) Hash() string                            { return "bare" }
func (bare) Up(context.Context, *pgxpool.Pool) error { return nil }

// The schema says itself who brought it up to date: once, however often it is
// asked for and by whichever command.
func TestMigratingIsInTheAuditTrail(t *testing.T) {
	t.Parallel()
	for name, first := range map[string][]string{"by itself": {"migrate"}, "on the way": {"token", "list"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := programOn(t, testdb.URL(t, bare{}))
			for _, command := range [][]string{first, {"migrate"}, {"token", "list"}} {
				code, _, stderr := p.run(command...)
				assert.Equal(t, exitDone, code, stderr)
			}
			assert.Regexp(t, `^cli[^,]* schema\.migrated schema [^ ,]+:\d+ \["0001`,
				p.query("SELECT string_agg(concat_ws(' ', actor, action, subject, origin, detail ->> 'steps'), ',') FROM audit_events"))
			assert.Equal(t, "1", p.query("SELECT count(*) FROM audit_events"))
		})
	}
}

func TestEmbeddedDataAreNotForOtherUsers(t *testing.T) {
	t.Parallel()
	parent, err := os.MkdirTemp("", "tally-data-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(parent)) })
	require.NoError(t, os.Chmod(parent, 0o711)) //nolint:gosec // PostgreSQL's user enters it, as it does /var/lib
	p := programOn(t, "")
	p.dir = filepath.Join(parent, "data")
	code, _, stderr := p.run("migrate", "--postgres-bin", os.Getenv("TALLY_TEST_POSTGRES"))
	require.Equal(t, exitDone, code, stderr)
	for _, dir := range []string{p.dir, filepath.Join(p.dir, inboxName)} {
		info, err := os.Stat(dir)
		require.NoError(t, err)
		assert.Zero(t, info.Mode().Perm()&^0o750, dir)
	}
}

// A migration may block others for minutes, so that only commands of an upgrade apply it.
func TestOlderSchema(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	age := func() { p.exec("DROP TABLE user_months; DELETE FROM bun_migrations WHERE name = '0006'") }
	age()
	for _, command := range [][]string{
		{"run"}, {"backfill", "--from", "2024-01-01", "--to", "2024-01-01"}, {"verify"}, {"sources"},
		{"export", "--to", t.TempDir()}, {"token", "list"},
	} {
		code, _, stderr := p.run(command...)
		assert.Equal(t, exitFailed, code, command)
		assert.Contains(t, stderr, "(pending: 0006_user_months): run tally migrate", command)
	}
	const blocks = "blocks loads, about 3 s per million rows of transactions"
	code, out, _ := p.run("migrate", "--status")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "pending              0006_user_months  ("+blocks+")\n")
	code, out, stderr := p.run("migrate")
	assert.Equal(t, exitDone, code, stderr)
	assert.Equal(t, "0006_user_months "+blocks+"\napplied 0006_user_months\n", out)

	age()
	address := freeAddress(t)
	serve, log := p.start("serve", "--listen", address)
	status, body := get(t, "http://"+address+"/readyz")
	assert.Equal(t, http.StatusOK, status, body)
	p.exec("INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0999', 2, now())")
	time.Sleep(time.Second) // for which the last look is served
	status, body = get(t, "http://"+address+"/readyz")
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Contains(t, body, "migrations")
	require.NoError(t, serve.Process.Signal(syscall.SIGTERM))
	require.NoError(t, serve.Wait())
	assert.Contains(t, log.String(), blocks[len("blocks "):])
}

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.exec("INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0999', 2, now())")
	for _, command := range [][]string{
		{"up", "--listen", "127.0.0.1:0"}, {"serve", "--listen", "127.0.0.1:0"}, {"work"}, {"migrate"}, {"migrate", "--status"}, {"run"}, {"verify"}, {"sources"}, {"report"}, {"token", "list"},
	} {
		code, _, stderr := p.run(command...)
		assert.Equal(t, exitFailed, code, command)
		assert.Regexp(t, `it has migration 0999, the program's last one is \d{4}; use the version of Tally`, stderr, command)
	}
}
