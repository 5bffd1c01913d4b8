package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

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
			p := &program{t: t, url: testdb.URL(t, bare{}), dir: t.TempDir()}
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
	p := &program{t: t, dir: filepath.Join(parent, "data")}
	code, _, stderr := p.run("migrate", "--postgres-bin", os.Getenv("TALLY_TEST_POSTGRES"))
	require.Equal(t, exitDone, code, stderr)
	for _, dir := range []string{p.dir, filepath.Join(p.dir, inboxName)} {
		info, err := os.Stat(dir)
		require.NoError(t, err)
		assert.Zero(t, info.Mode().Perm()&^0o750, dir)
	}
}
