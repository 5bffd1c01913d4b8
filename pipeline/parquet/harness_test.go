package parquet_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/pipeline/load"
	tally "github.com/opentax/tally/pipeline/parquet"
	"github.com/opentax/tally/pipeline/synthetic"
	"github.com/opentax/tally/pipeline/transform"
	"github.com/opentax/tally/summaries"
)

const header = "transaction_id,user_id,amount,transaction_date\n"

// lake is a database and a folder to export it to.
type lake struct {
	t      *testing.T
	pool   *pgxpool.Pool
	loader *load.Loader
	rules  transform.Rules
	runID  int64
	loads  int
	dir    string
	config tally.Config
}

func newLake(t *testing.T) *lake {
	t.Helper()
	pool := testdb.New(t, migrations.Schema{})
	l := &lake{t: t, pool: pool, loader: load.New(pool, nil), dir: t.TempDir()}
	require.NoError(t, pool.QueryRow(t.Context(), `INSERT INTO etl_runs (kind, logical_date, requested_by)
		VALUES ('manual', '2024-01-01', 'test') RETURNING id`).Scan(&l.runID))
	l.exec(`INSERT INTO etl_attempts (run_id, attempt, worker, code_version) VALUES ($1, 1, 'test', 'test')`, l.runID)
	l.config = tally.Config{Pool: pool, Target: folder(t, l.dir)}
	return l
}

func folder(t *testing.T, dir string) bucket.Target {
	t.Helper()
	target, err := new(bucket.Stores).Target(t.Context(), bucket.Path(dir))
	require.NoError(t, err)
	return target
}

// watched is a target that calls functions before each file begins and after it appears.
type watched struct {
	bucket.Target
	creating func(path string)
	appeared func(path string) error
}

func (w *watched) Create(ctx context.Context, path string) (io.WriteCloser, error) {
	if w.creating != nil {
		w.creating(path)
	}
	u, err := w.Target.Create(ctx, path)
	return &watchedUpload{u, w, path}, err
}

type watchedUpload struct {
	io.WriteCloser
	target *watched
	path   string
}

func (u *watchedUpload) Close() error {
	err := u.WriteCloser.Close()
	if err == nil && u.target.appeared != nil {
		err = u.target.appeared(u.path)
	}
	return err
}

func (l *lake) exec(sql string, args ...any) {
	l.t.Helper()
	_, err := l.pool.Exec(l.t.Context(), sql, args...)
	require.NoError(l.t, err, sql)
}

// exported are the tables of an export, and whether each has a file for each month.
func exported() map[string]bool {
	tables := map[string]bool{"transactions": true}
	for _, r := range summaries.Rollups() {
		tables[r.Table] = slices.Contains(r.Keys, summaries.ByDay) || len(r.Keys) > 1 && slices.Contains(r.Keys, summaries.ByMonth)
	}
	return tables
}

// filesOf counts the files of so many months.
func filesOf(months int) (files int) {
	for _, monthly := range exported() {
		if monthly {
			files += months
		} else {
			files++
		}
	}
	return files
}

// load loads rows of CSV, without the header.
func (l *lake) load(rows string) load.Result {
	l.t.Helper()
	l.loads++
	path := filepath.Join(l.t.TempDir(), fmt.Sprintf("%d.csv", l.loads))
	require.NoError(l.t, os.WriteFile(path, []byte(header+rows), 0o600))
	request := load.Request{RunID: l.runID, Attempt: 1, Source: "test", Path: bucket.Path(path), Rules: l.rules, CodeVersion: "test"}
	result, err := l.loader.Load(l.t.Context(), request)
	require.NoError(l.t, err)
	require.Equal(l.t, load.StatusLoaded, result.Status, result.Error)
	return result
}

// generate loads rows with all kinds of faults.
func (l *lake) generate(rows int64, seed uint64) {
	l.t.Helper()
	var csv bytes.Buffer
	require.NoError(l.t, synthetic.Write(l.t.Context(), &csv, synthetic.File{Rows: rows, Users: 500, Seed: seed}))
	_, below, _ := strings.Cut(csv.String(), "\n")
	l.load(below)
}

func (l *lake) export() tally.Result {
	l.t.Helper()
	result, err := tally.Export(l.t.Context(), l.config)
	require.NoError(l.t, err)
	return result
}

func (l *lake) check() tally.Checked {
	l.t.Helper()
	checked, err := tally.Check(l.t.Context(), l.config)
	require.NoError(l.t, err)
	return checked
}

func (l *lake) manifest() (m tally.Manifest) {
	l.t.Helper()
	content, err := os.ReadFile(filepath.Join(l.dir, tally.ManifestName))
	require.NoError(l.t, err)
	require.NoError(l.t, json.Unmarshal(content, &m))
	return m
}

// contents are the bytes of every file at the target.
func (l *lake) contents() map[string]string {
	l.t.Helper()
	return contents(l.t, l.dir)
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		all[filepath.ToSlash(name)] = string(content)
		return err
	}))
	return all
}

// open opens a file with the independent reader.
func (l *lake) open(path string) *parquet.File {
	l.t.Helper()
	return open(l.t, filepath.Join(l.dir, path))
}

func open(t *testing.T, path string) *parquet.File {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	f, err := parquet.OpenFile(bytes.NewReader(content), int64(len(content)))
	require.NoError(t, err, path)
	return f
}

// rows are a file's rows as text, each value as PostgreSQL prints it.
func rows(t *testing.T, f *parquet.File) []string {
	t.Helper()
	reader := parquet.NewReader(f)
	defer reader.Close()
	all := []string{}
	buffer := make([]parquet.Row, 100)
	for {
		n, err := reader.ReadRows(buffer)
		for _, row := range buffer[:n] {
			all = append(all, text(f.Schema(), row))
		}
		if err != nil || n == 0 {
			require.Len(t, all, int(f.NumRows()))
			return all
		}
	}
}

func text(schema *parquet.Schema, row parquet.Row) string {
	values := make([]string, len(row))
	for i, v := range row {
		kind := logical(schema.Fields()[i].Type())
		switch {
		case strings.HasPrefix(kind, "DECIMAL") && v.Kind() == parquet.Int64:
			values[i] = new(big.Rat).SetFrac(big.NewInt(v.Int64()), big.NewInt(10_000)).FloatString(4)
		case strings.HasPrefix(kind, "DECIMAL"):
			values[i] = new(big.Rat).SetFrac(signed(v.ByteArray()), big.NewInt(10_000)).FloatString(4)
		case kind == "DATE":
			values[i] = fmt.Sprint(v.Int32())
		default:
			values[i] = v.String()
		}
	}
	return strings.Join(values, "|")
}

// logical is a type's logical one, or "".
func logical(t parquet.Type) string {
	if l := t.LogicalType(); l != nil {
		return l.String()
	}
	return ""
}

// signed is a two's complement, the highest byte first.
func signed(b []byte) *big.Int {
	v := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0] >= 0x80 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return v
}

// stored are a query's rows, each one line of text.
func (l *lake) stored(sql string, args ...any) []string {
	l.t.Helper()
	found, err := l.pool.Query(l.t.Context(), sql, args...)
	require.NoError(l.t, err)
	lines, err := pgx.CollectRows(found, pgx.RowTo[string])
	require.NoError(l.t, err)
	return lines
}
