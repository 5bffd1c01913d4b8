package jobs

import (
	"bytes"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/tests3"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/transform"
)

// disguise gives a file other content of the same size and time: reading it shows.
func disguise(t *testing.T, file bucket.Location) {
	t.Helper()
	path, _ := file.Local()
	info, err := os.Stat(path)
	require.NoError(t, err)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	other := bytes.ReplaceAll(content, []byte("\nT"), []byte("\nX"))
	other = bytes.ReplaceAll(other, []byte("bad"), []byte("BAD"))
	require.NotEqual(t, content, other)
	require.NoError(t, os.WriteFile(path, other, 0o600))
	require.NoError(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
}

func runOf(t *testing.T, s *Service, day string) RunResult {
	t.Helper()
	on := date(t, day)
	result, _ := s.Run(t.Context(), RunRequest{Date: &on})
	return result
}

// TestKnownFilesAreNotRead gives files other content of the same size and time.
func TestKnownFilesAreNotRead(t *testing.T) {
	t.Parallel()
	pool, source := newPool(t), newSource(t, rows(3), "bad\n", strings.ReplaceAll(rows(2), "T", "TC"))
	s := newService(t, pool, Config{Sources: []pipeline.Source{source}})
	first := runOf(t, s, "2024-05-01")
	require.Len(t, first.Files, 3)
	assert.Equal(t, 5, count(t, pool, "SELECT count(*) FROM transactions"))
	for _, name := range []string{"a.csv", "b.csv", "c.csv"} {
		disguise(t, source.Path.Join(name))
	}

	second := dueRun(t, s, "2024-05-02")
	a, err := s.begin(t.Context(), second.ID, nil)
	require.NoError(t, err)
	a.known = knownOfAny
	result, _ := s.attempt(t.Context(), a)
	s.flushLogs(t.Context())
	require.Len(t, result.Files, 1, "those that are loaded are only counted")
	assert.Equal(t, StatusSkipped, result.Files[0].Status)
	assert.Equal(t, first.Files[1].SHA256, result.Files[0].SHA256)
	assert.Equal(t, 2, result.Unchanged)
	assert.Equal(t, 3, count(t, pool, "SELECT count(*) FROM etl_files"))
	assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM etl_logs WHERE run_id = $1 AND message LIKE 'files unchanged%' AND attrs ->> 'files' = '2'", second.ID))
	assert.Equal(t, 0, count(t, pool, "SELECT count(*) FROM etl_logs WHERE run_id = $1 AND attrs ->> 'path' LIKE '%/a.csv'", second.ID))

	byHand, err := s.Run(t.Context(), RunRequest{Paths: []bucket.Location{source.Path.Join("a.csv")}})
	require.NoError(t, err)
	require.Len(t, byHand.Files, 1, "a program waits for it")
	want := load.Result{
		Path: first.Files[0].Path, Source: "inbox", Status: load.StatusUnchanged, LoadedAs: first.Files[0].Path, FileID: first.Files[0].FileID,
		SHA256: first.Files[0].SHA256, Bytes: first.Files[0].Bytes, TotalAmount: "0", Faults: map[string]int64{}, Hints: []string{}, Warnings: []string{},
	}
	assert.Equal(t, want, byHand.Files[0])
	assert.Equal(t, 1, byHand.Unchanged)

	full, err := s.Run(t.Context(), RunRequest{Paths: []bucket.Location{source.Path.Join("a.csv")}, Full: true})
	require.NoError(t, err)
	assert.Equal(t, int64(3), full.Files[0].Loaded, "it was read all the same")
	again, err := s.Run(t.Context(), RunRequest{Paths: []bucket.Location{source.Path.Join("a.csv")}})
	require.NoError(t, err)
	assert.Equal(t, full.Files[0].SHA256, again.Files[0].SHA256, "the record is repaired")

	path, _ := source.Path.Join("c.csv").Local()
	require.NoError(t, os.Chtimes(path, longAgo, longAgo.Add(time.Nanosecond)))
	result = runOf(t, s, "2024-05-03")
	assert.Equal(t, 10, count(t, pool, "SELECT count(*) FROM transactions"), "a nanosecond is a change")
	assert.Equal(t, 1, result.Unchanged)
}

// Another setting reads all files again, as content that is read in another way.
func TestKnownFilesAreReadUnderOtherRules(t *testing.T) {
	t.Parallel()
	pool, source := newPool(t), newSource(t, rows(3))
	runOf(t, newService(t, pool, Config{Sources: []pipeline.Source{source}}), "2024-05-01")
	source.Rules.RejectLimit = "10%"
	result := runOf(t, newService(t, pool, Config{Sources: []pipeline.Source{source}}), "2024-05-02")
	require.Len(t, result.Files, 1)
	assert.Equal(t, int64(3), result.Files[0].Duplicate)
}

// Files of a source that replaces rows: content that is not the last of its row has not come
// back.
func TestKnownFilesOfASourceThatReplaces(t *testing.T) {
	t.Parallel()
	pool, source := newPool(t), newSource(t, rows(3), strings.ReplaceAll(rows(3), ".25", ".75"))
	source.Rules.Corrections = transform.CorrectionsReplace
	s := newService(t, pool, Config{Sources: []pipeline.Source{source}})
	runOf(t, s, "2024-05-01")
	require.Equal(t, 3, count(t, pool, "SELECT count(*) FROM transaction_versions"))
	disguise(t, source.Path.Join("a.csv"))
	disguise(t, source.Path.Join("b.csv"))
	result := runOf(t, s, "2024-05-02")
	assert.Empty(t, result.Files)
	assert.Equal(t, 2, result.Unchanged)
}

// What was known of files that a source has no more is forgotten after a month, and of no others.
func TestFormerFilesAreForgotten(t *testing.T) {
	t.Parallel()
	pool, source := newPool(t), newSource(t, rows(3))
	s := newService(t, pool, Config{Sources: []pipeline.Source{source}})
	runOf(t, s, "2024-05-01")
	execute(t, pool, `INSERT INTO etl_observations (source, path, size, modified, tag, sha256, bytes, observed_at)
		SELECT source, name, 1, 1, '', sha256, 1, now() - age FROM etl_observations,
		(VALUES ('gone', interval '31 days'), ('gone lately', interval '29 days')) v(name, age)`)
	execute(t, pool, "UPDATE etl_observations SET observed_at = now() - interval '31 days' WHERE path LIKE '%a.csv'")
	const known = "SELECT string_agg(regexp_replace(path, '.*/', ''), ' ' ORDER BY path DESC) FROM etl_observations"
	_, err := s.Run(t.Context(), RunRequest{Paths: []bucket.Location{source.Path}})
	require.NoError(t, err)
	assert.Equal(t, "gone lately gone a.csv", text(t, pool, known), "a person has chosen the files")
	runOf(t, s, "2024-05-02")
	assert.Equal(t, "gone lately a.csv", text(t, pool, known))
}

// Content that was reverted is not read by a night either, and a person loads it again.
func TestKnownFilesThatWereReverted(t *testing.T) {
	t.Parallel()
	pool, source := newPool(t), newSource(t, rows(3))
	s := newService(t, pool, Config{Sources: []pipeline.Source{source}})
	first := runOf(t, s, "2024-05-01")
	_, err := load.New(pool, nil).Revert(t.Context(), []int64{first.Files[0].FileID}, nil, audit.By{Actor: "test", Reason: "a wrong file"}, false)
	require.NoError(t, err)
	disguise(t, source.Path.Join("a.csv"))
	second := runOf(t, s, "2024-05-02")
	assert.Equal(t, 1, second.Unchanged)
	assert.Equal(t, 0, count(t, pool, "SELECT count(*) FROM transactions"))
	byHand, err := s.Run(t.Context(), RunRequest{Paths: []bucket.Location{source.Path}})
	require.NoError(t, err)
	assert.Equal(t, int64(3), byHand.Files[0].Loaded)
}

// A file that was written in the moment before it was read may change without a trace.
func TestJustWrittenFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	pool, source := newPool(t), settling(t, 0, rows(3))
	path, _ := source.Path.Join("a.csv").Local()
	now := time.Now()
	require.NoError(t, os.Chtimes(path, now, now))
	s := newService(t, pool, Config{Sources: []pipeline.Source{source}})
	runOf(t, s, "2024-05-01")
	disguise(t, source.Path.Join("a.csv"))
	result := runOf(t, s, "2024-05-02")
	require.Len(t, result.Files, 1)
	assert.Equal(t, int64(3), result.Files[0].Loaded)
}

// A failed file whose content is not known is read once.
func TestFailedFilesAreReadOnce(t *testing.T) {
	t.Parallel()
	pool, source := newPool(t), newSource(t, "bad\n")
	s := newService(t, pool, Config{Sources: []pipeline.Source{source}})
	runOf(t, s, "2024-05-01")
	execute(t, pool, "DELETE FROM etl_observations")
	for _, day := range []string{"2024-05-02", "2024-05-03"} {
		a, err := s.begin(t.Context(), dueRun(t, s, day).ID, nil)
		require.NoError(t, err)
		a.known = knownOfAny
		result, _ := s.attempt(t.Context(), a)
		require.Len(t, result.Files, 1)
		assert.Equal(t, StatusSkipped, result.Files[0].Status, day)
		if day == "2024-05-02" {
			disguise(t, source.Path.Join("a.csv"))
		}
	}
}

// A folder by hand whose files are a source's has one look-up, and not one for each.
func TestFilesOfASourceByHandAreOneSource(t *testing.T) {
	t.Parallel()
	source := newSource(t, rows(1), rows(2), rows(3))
	folder := source.Path
	source.Path = folder.Join("*.csv")
	s := newService(t, newPool(t), Config{Sources: []pipeline.Source{source}})
	on := date(t, "2024-05-01")
	sources, err := s.sourcesOf(t.Context(), RunRequest{Paths: []bucket.Location{folder}, Date: &on})
	require.NoError(t, err)
	require.Len(t, sources, 1)
	files, err := sources[0].Files(t.Context(), nil, longAgo)
	require.NoError(t, err)
	assert.Len(t, files, 3)
}

// TestKnownObjectsAreNotRead counts the requests for objects.
func TestKnownObjectsAreNotRead(t *testing.T) {
	t.Parallel()
	store, pool := tests3.New(t), newPool(t)
	store.Put("in/a.csv", []byte(rows(3)))
	store.Put("in/b.csv", []byte("bad\n"))
	var read atomic.Int64
	proxy := store.Proxy(func(r *http.Request) tests3.Fault {
		if r.Method == http.MethodGet && !r.URL.Query().Has("list-type") {
			read.Add(1)
		}
		return tests3.Fault{}
	})
	s := newService(t, pool, Config{Sources: []pipeline.Source{{Name: "lake", Path: proxy.At("in")}, {Name: "one", Path: proxy.At("in/a.csv")}}})
	runOf(t, s, "2024-05-01")
	require.Positive(t, read.Swap(0))
	a, err := s.begin(t.Context(), dueRun(t, s, "2024-05-02").ID, nil)
	require.NoError(t, err)
	a.known = knownOfAny
	result, _ := s.attempt(t.Context(), a)
	assert.Equal(t, ledger.StatusSucceeded, result.Status, result.Error)
	assert.Zero(t, read.Load())
	assert.Equal(t, 2, result.Unchanged)
	require.Len(t, result.Files, 1)
	assert.Equal(t, StatusSkipped, result.Files[0].Status)
	store.Put("in/a.csv", []byte(strings.ReplaceAll(rows(3), "T", "X")))
	runOf(t, s, "2024-05-03")
	assert.Equal(t, 6, count(t, pool, "SELECT count(*) FROM transactions"), "another version")
}
