package bench

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/transform"
)

const rowsPerFile = 10 // of -rows

// BenchmarkKnownFiles runs a night over a folder of files that are known, and lists the
// folder with a stat of each file in turn. The files are not what is recorded of them, so
// a file that was read would show. With corrections: replace, a later file has replaced
// rows, which is the most that there is to look up.
func BenchmarkKnownFiles(b *testing.B) {
	for _, rows := range sizes() {
		files := int(rows / rowsPerFile)
		b.Run(fmt.Sprintf("files=%d", files), func(b *testing.B) {
			server, paths := newServer(b), oldFiles(b, files)
			for _, corrections := range []string{transform.CorrectionsKeep, transform.CorrectionsReplace} {
				b.Run(corrections, func(b *testing.B) {
					pool, runID := server.tally(b)
					benchmarkNight(b, pool, knownFiles(b, pool, runID, paths, corrections), files)
				})
			}
		})
	}
}

func benchmarkNight(b *testing.B, pool *pgxpool.Pool, source pipeline.Source, files int) {
	b.Helper()
	service, err := jobs.New(pool, jobs.Config{Sources: []pipeline.Source{source}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = service.Stop(context.Background()) })
	var night, listing time.Duration
	b.ResetTimer()
	for i := range b.N {
		listing += listFolder(b, source, files)
		begun, date := time.Now(), civil.MustParse("2024-01-01")+civil.Date(i)
		result, err := service.Run(b.Context(), jobs.RunRequest{Date: &date})
		night += time.Since(begun)
		if err != nil || result.Unchanged != files || len(result.Files) > 0 {
			b.Fatalf("%d files are unchanged, %d were read, want %d and 0: %v", result.Unchanged, len(result.Files), files, err)
		}
	}
	b.ReportMetric(float64(night.Milliseconds())/float64(b.N), "night-ms")
	b.ReportMetric(float64(listing.Milliseconds())/float64(b.N), "list-ms")
	b.ReportMetric(night.Seconds()/listing.Seconds(), "night-of-list")
}

// listFolder is the time of a listing and a stat of each file.
func listFolder(b *testing.B, source pipeline.Source, want int) time.Duration {
	b.Helper()
	begun := time.Now()
	dir, _ := source.Path.Local()
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if _, statErr := os.Stat(filepath.Join(dir, e.Name())); statErr != nil {
			b.Fatal(statErr)
		}
	}
	if err != nil || len(entries) != want {
		b.Fatalf("%d files, want %d: %v", len(entries), want, err)
	}
	return time.Since(begun)
}

// longAgo is the time of the files.
func longAgo() time.Time { return time.Unix(1_700_000_000, 123_456_789) }

// oldFiles are files of one byte in a folder.
func oldFiles(b *testing.B, n int) []string {
	b.Helper()
	dir, paths := b.TempDir(), make([]string, n)
	for i := range paths {
		paths[i] = filepath.Join(dir, fmt.Sprintf("%09d.csv", i))
		err := os.WriteFile(paths[i], []byte{'\n'}, 0o600)
		if err == nil {
			err = os.Chtimes(paths[i], longAgo(), longAgo())
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	return paths
}

// knownFiles makes the files known: the ledger has them as loaded.
func knownFiles(b *testing.B, pool *pgxpool.Pool, runID int64, paths []string, corrections string) pipeline.Source {
	b.Helper()
	sums := make([][]byte, len(paths))
	for i, path := range paths {
		sum := sha256.Sum256([]byte(path))
		sums[i] = sum[:]
	}
	source := pipeline.Source{Name: "known", Path: bucket.Path(filepath.Dir(paths[0]))}
	rules := "{}"
	if corrections == transform.CorrectionsReplace {
		source.Rules.Corrections, rules = corrections, `{"corrections": "replace"}`
	}
	with(b, pool, `INSERT INTO etl_files (run_id, attempt, source, path, sha256, bytes, status, read, loaded, duplicate, conflict, rejected,
			rules, code_version, started_at, reading)
		SELECT $1, 1, 'known', path, sha256, 1, 'loaded', 0, 0, 0, 0, 0, $4, 'bench', now(), $5 FROM unnest($2::text[], $3::bytea[]) f(path, sha256)`,
		runID, paths, sums, rules, transform.Version)
	with(b, pool, `INSERT INTO etl_files (run_id, attempt, source, path, sha256, bytes, status, read, loaded, duplicate, conflict, rejected, replaced,
			rules, code_version, started_at) VALUES ($1, 1, 'other', '', sha256(''), 1, 'loaded', 1, 1, 0, 0, 0, 1, '{}', 'bench', now())`, runID)
	with(b, pool, `INSERT INTO etl_observations (source, path, size, modified, tag, sha256, bytes)
		SELECT 'known', path, 1, $3, '', sha256, 1 FROM unnest($1::text[], $2::bytea[]) f(path, sha256)`, paths, sums, longAgo().UnixNano())
	exec(b, pool, "VACUUM ANALYZE etl_files, etl_observations")
	return source
}

// with executes a statement with arguments.
func with(b *testing.B, pool *pgxpool.Pool, sql string, args ...any) {
	b.Helper()
	if _, err := pool.Exec(b.Context(), sql, args...); err != nil {
		b.Fatal(err)
	}
}
