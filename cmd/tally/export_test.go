package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opentax/tally/internal/civil"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/internal/tests3"
	"github.com/opentax/tally/pipeline/parquet"
	"github.com/opentax/tally/summaries"
)

func TestExportCommand(t *testing.T) {
	t.Parallel()
	p, lake := newProgram(t), filepath.Join(t.TempDir(), "new", "lake")
	code, _, stderr := p.run("export", "--to", lake, "--check")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, stderr, "there is no export yet")
	require.Equal(t, exitDone, first(p.run("run", p.write("a.csv", sheet))))

	code, out, stderr := p.run("export", "--to", lake)
	require.Equal(t, exitDone, code, stderr)
	files := 2 // of transactions, whose rows are of two months
	for _, r := range summaries.Rollups() {
		files++
		if slices.Contains(r.Keys, summaries.ByDay) || len(r.Keys) > 1 && slices.Contains(r.Keys, summaries.ByMonth) {
			files++
		}
	}
	assert.Contains(t, out, fmt.Sprintf("%s: %d files, %[2]d written", lake, files))
	assert.Contains(t, out, "2     2  10.25  transactions")
	code, out, _ = p.run("export", "--to", lake, "--json")
	require.Equal(t, exitDone, code)
	var result parquet.Result
	require.NoError(t, json.Unmarshal([]byte(out), &result), out)
	assert.Equal(t, []any{files, 0, files, int64(2), "10.25"}, []any{result.Files, result.Written, result.Kept, result.Rows, result.TotalAmount})
	assert.Equal(t, fmt.Sprint(files, " 0"), p.query("SELECT string_agg(written::text, ' ' ORDER BY id) FROM etl_exports WHERE requested_by LIKE 'cli:%'"))

	code, out, _ = p.run("export", "--to", lake, "--check")
	assert.Equal(t, exitDone, code)
	assert.Contains(t, out, fmt.Sprint(files, " files, 2 rows of transactions"))
	assert.Contains(t, out, "0 differences")
	require.Equal(t, exitDone, first(p.run("run", p.write("b.csv", strings.ReplaceAll(sheet, "T", "U")))))
	code, out, _ = p.run("export", "--to", lake, "--check", "--json")
	assert.Equal(t, exitFailed, code)
	var checked parquet.Checked
	require.NoError(t, json.Unmarshal([]byte(out), &checked), out)
	assert.Len(t, checked.Drifts, files)
	assert.Equal(t, parquet.Stale, checked.Drifts[0].Problem)
}

func TestExportUsage(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	for want, args := range map[string][]string{
		"no export target is configured: name it with --to, or in the settings file": nil,
		"--to: ftp://lake has not one of the schemes s3://, gs://, azblob://":        {"--to", "ftp://lake?secret=1"},
		"--to: s3:///prefix names no bucket":                                         {"--to", "s3:///prefix"},
		"--check and --replace can't be used together":                               {"--to", "x", "--check", "--replace"},
	} {
		code, _, stderr := p.run(append([]string{"export"}, args...)...)
		assert.Equal(t, exitUsage, code)
		assert.Contains(t, stderr, want)
		assert.NotContains(t, stderr, "secret")
	}
	p.write("tally.yaml", "export:\n  to: s3://user:secret@lake\n")
	code, _, stderr := p.run("export")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "tally.yaml: s3://lake has a user in it; credentials come from the environment")
	assert.NotContains(t, stderr, "secret")
}

// whole reads an export by its manifest, as good readers do, and compares every
// file with it. It returns what the manifest says there is, and what it does not name.
func whole(t *testing.T, lake string) (rows int64, sum string, stray []string) {
	t.Helper()
	opened := target(t, lake)
	content, err := bucket.ReadFile(t.Context(), opened, parquet.ManifestName)
	require.NoError(t, err)
	var m parquet.Manifest
	require.NoError(t, json.Unmarshal(content, &m))
	named := map[string]bool{parquet.ManifestName: true}
	for _, f := range m.Files {
		content, err := bucket.ReadFile(t.Context(), opened, f.Path)
		require.NoError(t, err)
		got := sha256.Sum256(content)
		require.Equal(t, f.SHA256, hex.EncodeToString(got[:]), f.Path)
		named[f.Path] = true
	}
	files, err := opened.List(t.Context(), "")
	require.NoError(t, err)
	for name := range files {
		if !named[name] {
			stray = append(stray, name)
		}
	}
	return m.Tables[0].Rows, m.Tables[0].Sum, stray
}

func target(t *testing.T, lake string) bucket.Target {
	t.Helper()
	l, err := bucket.Parse(lake)
	require.NoError(t, err)
	opened, err := new(bucket.Stores).Target(t.Context(), l)
	require.NoError(t, err)
	return opened
}

// kill -9 at any moment of an export leaves the one before, or the new one, whole; the
// next export brings it up to date and cleans up.
func TestKilledExports(t *testing.T) {
	t.Parallel()
	t.Run("folder", func(t *testing.T) {
		t.Parallel()
		killExports(t, filepath.Join(t.TempDir(), "lake"))
	})
	t.Run("store", func(t *testing.T) {
		t.Parallel()
		killExports(t, tests3.New(t).URL("some/lake"))
	})
}

func killExports(t *testing.T, lake string) {
	t.Helper()
	p := newProgram(t)
	load := func(seed int) {
		var csv bytes.Buffer
		require.Equal(t, exitDone, run(t.Context(), []string{"generate", "--rows", "5000", "--users", "2000", "--seed", fmt.Sprint(seed)}, &csv, io.Discard))
		require.Equal(t, exitDone, first(p.run("run", p.write(fmt.Sprint(seed, ".csv"), csv.String()))))
	}
	stored := func() string {
		return p.query("SELECT concat_ws(' ', count(*), trim_scale(sum(amount::numeric))) FROM transactions")
	}
	load(0)
	began := time.Now()
	require.Equal(t, exitDone, first(p.run("export", "--to", lake)))
	takes := time.Since(began)
	states := []string{stored()} // that may be there
	export := func() {           // the killed one's session may hold the target a moment longer
		require.Eventually(t, func() bool { return first(p.run("export", "--to", lake)) == exitDone }, testdb.Patience, 50*time.Millisecond)
	}
	random := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	killed := 0
	for seed := 1; seed <= 4; seed++ {
		load(seed)
		states = append(states, stored())
		command, _ := p.start("export", "--to", lake)
		ended := make(chan error, 1)
		go func() { ended <- command.Wait() }()
		select {
		case <-ended:
		case <-time.After(time.Duration(random.Int64N(int64(takes + 200*time.Millisecond)))): // the process starts as well
			require.NoError(t, command.Process.Kill())
			<-ended
			killed++
		}
		rows, sum, _ := whole(t, lake)
		assert.Contains(t, states, fmt.Sprint(rows, " ", sum), "seed %d", seed)
		if seed%2 == 0 {
			continue // the next one is killed on what this one has left
		}
		export()
		rows, sum, stray := whole(t, lake)
		states = states[len(states)-1:]
		assert.Equal(t, states[0], fmt.Sprint(rows, " ", sum))
		assert.Empty(t, stray)
	}
	t.Logf("%d of 4 were killed", killed)
	export()
	assert.Equal(t, exitDone, first(p.run("export", "--to", lake, "--check")))
}

// An object store gets the bytes that a folder gets.
func TestExportToStore(t *testing.T) {
	t.Parallel()
	p, store, lake := newProgram(t), tests3.New(t), filepath.Join(t.TempDir(), "lake")
	p.env = store.Env()
	require.Equal(t, exitDone, first(p.run("run", p.write("a.csv", sheet))))
	require.Equal(t, exitDone, first(p.run("export", "--to", lake)))
	code, out, stderr := p.process("export", "--to", "s3://tally/some/lake/")
	require.Equal(t, exitDone, code, stderr)
	assert.Contains(t, out, "s3://tally/some/lake: 7 files, 7 written")
	_, _, stray := whole(t, lake)
	assert.Empty(t, stray)
	code, out, stderr = p.process("export", "--to", "s3://tally/some/lake", "--json")
	require.Equal(t, exitDone, code, stderr)
	assert.Contains(t, out, `"written": 0,`)
	assert.Equal(t, exitDone, first(p.process("export", "--to", "s3://tally/some/lake", "--check")))
	local, err := os.ReadFile(filepath.Join(lake, parquet.ManifestName))
	require.NoError(t, err)
	stored, err := bucket.ReadFile(t.Context(), target(t, store.URL("some/lake")), parquet.ManifestName)
	require.NoError(t, err)
	assert.Equal(t, string(local), string(stored), "checksums of every file among it")
	assert.Equal(t, "s3://tally/some/lake", p.query("SELECT DISTINCT target FROM etl_exports WHERE target <> '"+lake+"'"))

	store.Stop()
	code, _, stderr = p.process("export", "--to", "s3://tally/some/lake")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, stderr, "export to s3://tally/some/lake: ")
}

// The nightly service exports by itself where the settings say so.
func TestWorkExports(t *testing.T) {
	t.Parallel()
	p, lake := newProgram(t), filepath.Join(t.TempDir(), "lake")
	p.write("tally.yaml", "export:\n  to: "+lake+"\n")
	p.write("inbox/a.csv", sheet)
	yesterday := (civil.Of(time.Now().UTC()) - 1).String()
	require.Equal(t, exitDone, first(p.run("backfill", "--from", yesterday, "--to", yesterday)))
	p.start("work")
	require.Eventually(t, func() bool {
		return p.query("SELECT coalesce(string_agg(concat_ws(' ', status, rows), ','), '') FROM etl_exports") == "succeeded 2"
	}, testdb.Patience, 50*time.Millisecond)
	rows, sum, _ := whole(t, lake)
	assert.Equal(t, "2 10.25", fmt.Sprint(rows, " ", sum))
}
