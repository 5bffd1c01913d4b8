package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/rivo/uniseg"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func printed(t *testing.T, on terminal) string {
	t.Helper()
	columns := []column{{"status", kindState}, {"read", kindNumber}, {"file", kindLong}, {"day", kindText}}
	var out strings.Builder
	require.NoError(t, on.table(&out, columns, [][]string{
		{"loaded", "7", "/data/bank/2024/05/transactions.csv", "2024-05-09"},
		{"failed", "12345", "/data/bänk/日本.csv\x1b[2J", "2024-05-10"},
	}))
	return out.String()
}

func TestTable(t *testing.T) {
	t.Parallel()
	assert.Equal(t, `status   read  file                                 day
loaded      7  /data/bank/2024/05/transactions.csv  2024-05-09
failed  12345  /data/bänk/日本.csv�[2J              2024-05-10
`, printed(t, terminal{}), "a pipe gets all of it, but no control characters")

	for width := 45; width < 70; width++ {
		out := printed(t, terminal{width: width})
		for line := range strings.Lines(out) {
			assert.LessOrEqual(t, uniseg.StringWidth(strings.TrimSuffix(line, "\n")), width, out)
		}
		assert.Equal(t, 3, strings.Count(out, "\n"))
		assert.Contains(t, out, "2024-05-09")
	}

	assert.Equal(t, `status  loaded
read    7
file    /data/bank/2024/05/transactions.csv
day     2024-05-09

status  failed
read    12345
file    /data/bänk/日本.csv�[2J
day     2024-05-10
`, printed(t, terminal{width: 40}), "too narrow for a table")

	out := printed(t, terminal{color: true})
	assert.Contains(t, out, "\x1b[32mloaded\x1b[0m  ")
	assert.Contains(t, out, "\x1b[31mfailed\x1b[0m  12345")
}

func TestShortened(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "/data/bank/may.csv", shortened("/data/bank/may.csv", 18))
	assert.Equal(t, "/data…nk/may.csv", shortened("/data/of/the/bank/may.csv", 16))
	assert.Equal(t, "日…本日本", shortened("日本日本日本日本", 9))
}

// Colors need a terminal that no variable speaks against.
func TestTerminalOf(t *testing.T) {
	assert.Zero(t, terminalOf(&bytes.Buffer{}))
	file, err := os.Create(t.TempDir() + "/out")
	require.NoError(t, err)
	defer file.Close()
	assert.Zero(t, terminalOf(file))
	assert.True(t, colors(func(string) string { return "" }))
	for name, value := range map[string]string{"NO_COLOR": "1", "TERM": "dumb"} {
		assert.False(t, colors(func(asked string) string { return map[string]string{name: value}[asked] }), name)
	}
}

func TestErrorsNameTheNextStep(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"partitions retire": "next: tally partitions retire --help\n",
		"rn":                "next: tally --help\n",
		"sources --database-url postgres://x@127.0.0.1:1/x": "next: start the database, or correct the host and port in DATABASE_URL\n",
	} {
		var stderr bytes.Buffer
		assert.NotEqual(t, exitDone, run(t.Context(), strings.Fields(args), io.Discard, &stderr), args)
		assert.True(t, strings.HasPrefix(stderr.String(), "tally: "), args)
		assert.True(t, strings.HasSuffix(stderr.String(), "\n"+want), stderr.String())
	}
	for code, want := range map[string]string{"42501": "owner", "53300": "max_connections"} {
		assert.Contains(t, nextStep(fmt.Errorf("load: %w", &pgconn.PgError{Code: code})), want)
	}
	assert.Empty(t, nextStep(io.EOF))
}
