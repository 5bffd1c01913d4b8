package main

import (
	"os/exec"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
)

// A comma in a statement is the statement's own.
func TestPsql(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("psql"); err != nil {
		t.Skip("psql is not installed")
	}
	p := newProgram(t)
	code, out, stderr := p.run("psql", "-c", "SELECT 1, 2, 'a,b'", "-c", "SELECT 3", "--", "-At")
	assert.Equal(t, exitDone, code, stderr)
	assert.Equal(t, "1|2|a,b\n3\n", out)
	code, _, stderr = p.run("psql", "-c", "SELECT nothing")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, stderr, "nothing")

	direct := p.url
	p.url = "postgres://127.0.0.1:1/pooler"
	code, out, stderr = p.run("psql", "--database-direct-url", direct, "-c", "SELECT 4", "--", "-At")
	assert.Equal(t, exitDone, code, stderr)
	assert.Equal(t, "4\n", out, "past the pooler")
}

// All users see the arguments of a program.
func TestPsqlHidesThePassword(t *testing.T) {
	t.Parallel()
	testdb.SkipOnCluster(t, "its URL need not have a password")
	if _, err := exec.LookPath("psql"); err != nil {
		t.Skip("psql is not installed")
	}
	p := newProgram(t)
	config, err := pgconn.ParseConfig(p.url)
	require.NoError(t, err)
	require.NotEmpty(t, config.Password, "precondition of this test")
	code, out, stderr := p.run("psql", "-c", `\! ps -o args= -p $PPID`, "-c", "SELECT current_user", "--", "-At")
	require.Equal(t, exitDone, code, stderr)
	assert.Contains(t, out, "psql -d")
	assert.Contains(t, out, config.User)
	assert.NotContains(t, out, config.Password)
}

func TestWithoutPassword(t *testing.T) {
	t.Parallel()
	for connection, want := range map[string]string{
		"postgres://ann:s3cret@h:5/db?sslmode=disable":                   "postgres://ann@h:5/db?sslmode=disable",
		"postgresql://ann@h/db?password=s3cret&options=-c%20a%3Db":       "postgresql://ann@h/db?options=-c%20a%3Db",
		"postgres://ann:s3cret@a:1,b:2/db":                               "postgres://ann@a:1,b:2/db",
		"postgres:///db?host=%2Frun&user=ann&password=s3cret":            "postgres:///db?host=%2Frun&user=ann",
		"postgres://ann:s3cret@h/db?pool_max_conns=9":                    "postgres://ann@h/db",
		"host=h pool_max_conns=9 password=s3cret user=ann":               "host=h user=ann",
		"host=h password=s3cret user=ann":                                "host=h user=ann",
		"host=h user=ann password = 's3\\cret'":                          "host=h user=ann ",
		`user=ann application_name='a password=b \' c' password=s3\cret`: `user=ann application_name='a password=b \' c' `,
	} {
		rest, password, err := withoutPassword(connection)
		require.NoError(t, err, connection)
		assert.Equal(t, want, rest)
		assert.Equal(t, "s3cret", password, connection)
		before, err := pgconn.ParseConfig(connection)
		require.NoError(t, err)
		delete(before.RuntimeParams, "pool_max_conns") // libpq does not know it
		after, err := pgconn.ParseConfig(rest)
		require.NoError(t, err, rest)
		assert.Equal(t, []any{before.Host, before.Port, before.User, before.Database, before.RuntimeParams}, []any{after.Host, after.Port, after.User, after.Database, after.RuntimeParams})
	}
	_, _, err := withoutPassword("postgres://ann:s3cret@h:port/db")
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "s3cret")
}
