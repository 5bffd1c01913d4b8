package parquet_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
	tally "github.com/opentax/tally/pipeline/parquet"
	"github.com/opentax/tally/summaries"
)

// problems are a check's drifts, by table and month.
func problems(c tally.Checked) map[string]string {
	found := map[string]string{}
	for _, d := range c.Drifts {
		found[d.Table+" "+d.Month] = d.Problem
	}
	return found
}

// of gives every table with months a problem in a month, and the others one as a whole.
func of(problem, month, other string) map[string]string {
	all := map[string]string{}
	for table, monthly := range exported() {
		if monthly {
			all[table+" "+month] = problem
		} else {
			all[table+" "] = other
		}
	}
	return all
}

// everywhere changes the row of user 1 and 2024-02-15 in every rollup.
func everywhere(set string) (sql string) {
	for _, r := range summaries.Rollups() {
		var keys []string
		for _, k := range r.Keys {
			keys = append(keys, map[summaries.Key]string{
				summaries.ByUser: "user_id = 1", summaries.ByDay: "transaction_date = '2024-02-15'", summaries.ByMonth: "month = '2024-02-01'",
			}[k])
		}
		sql += "UPDATE " + r.Table + " SET " + set + " WHERE " + strings.Join(keys, " AND ") + "; "
	}
	return sql
}

// Check finds every change of an export, and of the database without an export.
func TestCheckFinds(t *testing.T) {
	t.Parallel()
	rows := "A,1,1.25,2024-01-15\nB,1,2,2024-02-15\nC,2,3,2024-02-15\n"
	changed := tally.Stale
	if testdb.OnCluster() {
		changed = tally.Different // no trigger counts a change by hand there
	}
	january := func(m tally.Manifest) string { return m.Files[0].Path }
	for name, c := range map[string]struct {
		do   func(t *testing.T, l *lake)
		want map[string]string
		says string
	}{
		"nothing": {func(*testing.T, *lake) {}, map[string]string{}, ""},
		"a missing file": {func(t *testing.T, l *lake) {
			t.Helper()
			require.NoError(t, os.Remove(filepath.Join(l.dir, january(l.manifest()))))
		}, map[string]string{"transactions 2024-01-01": tally.Missing}, "export again"},
		"a flipped bit": {func(t *testing.T, l *lake) {
			t.Helper()
			path := filepath.Join(l.dir, january(l.manifest()))
			content, err := os.ReadFile(path)
			require.NoError(t, err)
			content[len(content)/2] ^= 1
			require.NoError(t, os.WriteFile(path, content, 0o600))
		}, map[string]string{"transactions 2024-01-01": tally.Damaged}, "--replace"},
		"a stray file": {func(t *testing.T, l *lake) {
			t.Helper()
			require.NoError(t, os.WriteFile(filepath.Join(l.dir, "transactions", "month=2024-01-01", "part-0123456789abcdef.parquet"), nil, 0o600))
		}, map[string]string{"transactions ": tally.Stray}, "count its rows as well"},
		"a load since":  {func(_ *testing.T, l *lake) { l.load("D,2,0.0001,2024-02-16\n") }, of(tally.Stale, "2024-02-01", tally.Stale), "the export has 2 rows with a sum of 5, and the database 3 with 5.0001: export again"},
		"a month since": {func(_ *testing.T, l *lake) { l.load("D,2,4,2024-03-16\n") }, of(tally.Stale, "2024-03-01", tally.Stale), "the export has none, and the database 1 rows with a sum of 4"},
		"a manual change of the database": {func(_ *testing.T, l *lake) {
			l.exec("DO $$ BEGIN PERFORM set_config('tally.writer', 'tally', true); UPDATE transactions SET amount = 7, line = line + 1 WHERE transaction_id = 'B'; " +
				everywhere("total_amount = total_amount + 5") + "END $$")
		}, of(tally.Different, "2024-02-01", changed), "the export has 2 rows with a sum of 5, and the database 2 with 10, though no load has changed them"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLake(t)
			l.load(rows)
			l.export()
			c.do(t, l)
			checked := l.check()
			assert.Equal(t, c.want, problems(checked))
			assert.Equal(t, len(c.want) == 0, checked.Clean())
			said := ""
			for _, d := range checked.Drifts {
				said += d.String() + "\n"
			}
			assert.Contains(t, said, c.says)
			l.config.Replace = strings.Contains(said, "--replace")
			l.export()
			l.config.Replace = false
			assert.Empty(t, l.check().Drifts, "the suggested fix works")
		})
	}
}

func TestCheckOfNoExport(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	_, err := tally.Check(t.Context(), l.config)
	require.ErrorIs(t, err, fs.ErrNotExist)
}
