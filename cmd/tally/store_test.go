package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/tests3"
	"github.com/opentax/tally/jobs"
	"github.com/opentax/tally/pipeline/synthetic"
)

// process is a call of the program as a process with an environment of its own.
func (p *program) process(args ...string) (code int, stdout, stderr string) {
	p.t.Helper()
	var out, err bytes.Buffer
	command := exec.Command(os.Args[0], append(args, "--database-url", p.url, "--data", p.dir)...)
	command.Env = slices.Concat(os.Environ(), []string{asTally + "=1"}, p.env)
	command.Stdout, command.Stderr = &out, &err
	if started := command.Run(); command.ProcessState == nil {
		require.NoError(p.t, started)
	}
	return command.ProcessState.ExitCode(), out.String(), err.String()
}

// contents is everything that a load writes, without what differs from one
// database to the next: the numbers of runs and files, times, folders.
func (p *program) contents() map[string]string {
	p.t.Helper()
	found := map[string]string{}
	for name, columns := range map[string]string{
		"transactions":     "transaction_id, user_id, amount, transaction_date, line, (SELECT f.sha256 FROM files f WHERE f.id = t.file_id)",
		"transaction_keys": "transaction_id, user_id, transaction_date",
		"user_summary":     "user_id, total_transactions, total_amount, version, (SELECT f.sha256 FROM files f WHERE f.id = t.file_id)",
		"daily_totals":     "transaction_date, total_transactions, total_amount, version, (SELECT f.sha256 FROM files f WHERE f.id = t.file_id)",
		"user_months":      "user_id, month, total_transactions, total_amount",
		"etl_rejects": "line, outcome, faults, transaction_id, kept_line, raw, raw_bytes, raw_length, (SELECT f.sha256 FROM files f WHERE f.id = t.file_id)," +
			"(SELECT f.sha256 FROM files f WHERE f.id = t.kept_file_id)",
		"etl_files": "regexp_replace(path, '.*/', ''), sha256, bytes, status, error_code, read, loaded, duplicate, conflict, rejected, faults, total_amount, rules",
	} {
		// A cluster joins its tables with others only after those were read.
		found[name] = p.query("WITH files AS MATERIALIZED (SELECT id, sha256 FROM etl_files) SELECT count(*) || ' ' || md5(string_agg(r::text, E'\\n' ORDER BY r::text COLLATE \"C\")) FROM (SELECT " + columns + " FROM " + name + " t) r")
	}
	return found
}

// night has the files of a night: the sample file where it is available, dirt, duplicates
// and conflicts across files, compressed and not, one of them bad.
func night(t *testing.T) map[string][]byte {
	t.Helper()
	generate := func(seed uint64) []byte {
		var b bytes.Buffer
		require.NoError(t, synthetic.Write(t.Context(), &b, synthetic.File{Rows: 10_000, Users: 300, Seed: seed}))
		return b.Bytes()
	}
	var zipped, packed bytes.Buffer
	gz := gzip.NewWriter(&zipped)
	_, err := gz.Write(generate(2))
	require.NoError(t, err)
	require.NoError(t, gz.Close())
	zs, err := zstd.NewWriter(&packed)
	require.NoError(t, err)
	_, err = zs.Write(generate(3))
	require.NoError(t, err)
	require.NoError(t, zs.Close())
	first := generate(1)
	files := map[string][]byte{
		"b.csv": first, "c.csv.gz": zipped.Bytes(), "d.csv.zst": packed.Bytes(),
		"e.tsv":          []byte("amount\ttransaction_id\tuser_id\ttransaction_date\n7.25\tE1\t7\t2024-02-29\n(1,000.10)\tE2\t8\t2024/03/01\nx\tE3\t8\t2024-03-01\n"),
		"f-again.csv":    first,
		"g-bad.csv":      []byte("no,header\n1,2\n"),
		"h-cut.csv.gz":   zipped.Bytes()[:zipped.Len()/2],
		"z-ignored.json": []byte("{}"),
	}
	if content, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "data", "assignment.csv")); err == nil {
		files["a.csv"] = content
	}
	return files
}

// The same files end in the same database, from a store and from disk. The store is
// named by the environment only.
func TestRunFromStoreIsRunFromDisk(t *testing.T) {
	t.Parallel()
	store := tests3.New(t)
	disk, stored := newProgram(t), newProgram(t)
	stored.env = store.Env()
	files := night(t)
	for name, content := range files {
		disk.write("night/"+name, string(content))
		store.Put("a/night/"+name, content)
	}
	before := store.Objects()
	code, _, stderr := disk.run("run", "--json", filepath.Join(disk.dir, "night"))
	require.Equal(t, exitFailed, code, stderr)
	code, out, stderr := stored.process("run", "--json", "s3://tally/a/night")
	require.Equal(t, exitFailed, code, stderr)
	var result jobs.RunResult
	require.NoError(t, json.Unmarshal([]byte(out), &result), out)
	require.Len(t, result.Files, len(files)-1)
	for _, f := range result.Files {
		name := filepath.Base(f.Path)
		assert.Equal(t, "s3://tally/a/night/"+name, f.Path)
		want := map[string]string{"f-again.csv": "unchanged", "g-bad.csv": "failed", "h-cut.csv.gz": "failed"}[name]
		if want == "" {
			want = "loaded"
		}
		assert.Equal(t, want, f.Status, f.Error)
	}
	assert.Equal(t, disk.contents(), stored.contents())
	assert.Equal(t, before, store.Objects(), "a source is only read")
	code, out, _ = stored.process("verify")
	assert.Equal(t, exitDone, code, out)

	for path, want := range map[string]int{"s3://tally/a/night/*.zst": 1, "s3://tally/a/night/b.csv": 1, "s3://tally/a/night/?.csv": -1, "s3://tally/a": -1} {
		code, out, stderr := stored.process("run", "--json", path)
		if want < 0 {
			assert.NotEqual(t, exitDone, code, path)
			continue
		}
		require.Equal(t, exitDone, code, stderr)
		var again jobs.RunResult
		require.NoError(t, json.Unmarshal([]byte(out), &again))
		require.Len(t, again.Files, want, path)
		assert.Equal(t, "unchanged", again.Files[0].Status)
	}
	code, out, stderr = stored.process("check", "--json", "s3://tally/a/night/e.tsv")
	require.Equal(t, exitDone, code, stderr)
	assert.Contains(t, out, `"path": "s3://tally/a/night/e.tsv"`)
}

// A source of the settings file, with the date of the run in its path.
func TestStoreInTheSettings(t *testing.T) {
	t.Parallel()
	store, p := tests3.New(t), newProgram(t)
	store.Put("in/2024-01-05/a.csv", []byte(sheet))
	store.Put("in/2024-01-06/a.csv", []byte("not this one"))
	p.env = store.Env()
	p.write(configName, "sources:\n  - name: lake\n    path: s3://tally/in/{date}/*.csv\n")
	code, out, stderr := p.process("run", "--date", "2024-01-05")
	require.Equal(t, exitDone, code, stderr)
	assert.Contains(t, out, "s3://tally/in/2024-01-05/a.csv")
	assert.Equal(t, "lake s3://tally/in/2024-01-05/a.csv 2", p.query("SELECT source || ' ' || path || ' ' || loaded FROM etl_files"))
}

func TestStoreThatIsNamedWrongly(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	for _, location := range []string{"s3://key:hunter2@b/a.csv", "s3://b/a.csv?secret=hunter2", "s4://b/a.csv", "s3://"} {
		code, _, stderr := p.run("run", location)
		assert.Equal(t, exitUsage, code, location)
		assert.NotContains(t, stderr, "hunter2")
		p.write(configName, "sources: [{name: x, path: '"+location+"'}]\n")
		code, _, stderr = p.run("run")
		assert.Equal(t, exitUsage, code, location)
		assert.NotContains(t, stderr, "hunter2")
		require.NoError(t, os.Remove(filepath.Join(p.dir, configName)))
	}
	p.env = []string{"AWS_ACCESS_KEY_ID="}
	code, _, stderr := p.process("run", "s3://b/a.csv")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, stderr, "set AWS_ACCESS_KEY_ID")
	assert.Equal(t, "0", p.query("SELECT count(*) FROM etl_files"), "nothing is known about the file")
}
