//go:build unix

package main

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/testdb"
)

// A database that pg_dump and pg_restore have copied is whole, and loads go on.
func TestDumpIsRestored(t *testing.T) {
	t.Parallel()
	testdb.SkipOnCluster(t, "a copy of its tables is not distributed")
	p := newProgram(t)
	tools := p.tools("pg_dump")
	p.loadTwo()

	dump := filepath.Join(p.dir, "tally.dump")
	command(t, filepath.Join(tools, "pg_dump"), "--format=custom", "--file", dump, p.url)
	p.url = testdb.URL(t, bare{})
	command(t, filepath.Join(tools, "pg_restore"), "--exit-on-error", "--dbname", p.url, dump)

	p.goesOn()
}

// The same of a cluster from pg_basebackup, which is taken while the server runs.
func TestBaseBackupIsRestored(t *testing.T) {
	t.Parallel()
	server := testdb.Own(t, nil)
	p := programOn(t, server.URL())
	p.must("migrate")
	tools := p.tools("pg_basebackup")
	p.loadTwo()
	restored := server.Restore(func(dir string) {
		command(t, filepath.Join(tools, "pg_basebackup"), "--pgdata", dir, "--checkpoint=fast", "--dbname", p.url)
	})
	server.Kill()
	p.url = restored.URL()
	p.goesOn()
}

// tools is the folder of the server's programs, which must have this one.
func (p *program) tools(name string) (dir string) {
	p.t.Helper()
	dir = p.query("SELECT setting FROM pg_config WHERE name = 'BINDIR'")
	if _, err := exec.LookPath(filepath.Join(dir, name)); err != nil {
		p.t.Skip("skipped: this PostgreSQL has no ", name, ": ", err)
	}
	return dir
}

func (p *program) loadTwo() {
	p.t.Helper()
	p.settings("")
	p.must("run", p.write("inbox/a.csv", head+"A,1,5.00,2024-04-03\nB,1,,2024-01-01\nC,2,6.00,2024-05-01\n"))
	p.must("fix", p.at("%a:3"), "--amount=1.25", "--reason", "asked the shop")
}

// goesOn checks a restored database: everything verifies, the guards are there, and a further
// file is loaded.
func (p *program) goesOn() {
	p.t.Helper()
	p.verified()
	pool, err := postgres.Open(p.t.Context(), postgres.Config{URL: p.url})
	require.NoError(p.t, err)
	defer pool.Close()
	_, err = pool.Exec(p.t.Context(), "DELETE FROM transactions")
	require.ErrorContains(p.t, err, "only Tally writes here")
	p.must("run", p.write("inbox/b.csv", head+"D,1,7.00,2024-06-03\nA,1,5.00,2024-04-03\n"))
	assert.Equal(p.t, "A 1 5 2024-04-03, B 1 1.25 2024-01-01, C 2 6 2024-05-01, D 1 7 2024-06-03", p.stored())
	p.verified()
}

// verified checks the rollups, the keys and the audit chain.
func (p *program) verified() {
	p.t.Helper()
	assert.Contains(p.t, p.must("verify"), "clean")
	assert.Contains(p.t, p.must("audit", "verify"), "clean")
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	require.NoError(t, err, "%s: %s", name, out)
}
