package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/api"
	"github.com/opentax/tally/api/console"
	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/synthetic"
)

const (
	pageSources = 3
	// nightRows is the number of rows of a night while there are fewer than maxNights.
	nightRows = 1_000
	maxNights = 1_000
	pageTurns = 20 // requests of each page in a round; -benchtime 1x loads the nights once
)

// BenchmarkPages asks for the pages of the console, one at a time, of a database that nights of
// three sources have loaded: as many as have a thousand rows each, at most a thousand. It reports
// the median of the response times and the size of each page. An operation is a round.
func BenchmarkPages(b *testing.B) {
	for _, rows := range sizes() {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			pool, _ := newServer(b).tally(b)
			service := loadNights(b, pool, rows)
			handler, pages := pagesOf(b, pool, service), pagePaths(b, pool)
			times := make([][]float64, len(pages))
			b.ResetTimer()
			for range b.N * pageTurns {
				for i, p := range pages {
					began := time.Now()
					pages[i].bytes = p.get(b, handler)
					times[i] = append(times[i], float64(time.Since(began).Microseconds())/1000)
				}
			}
			slowest, largest := 0.0, 0
			for i, p := range pages {
				ms := median(times[i])
				b.ReportMetric(ms, "ms/"+p.name)
				b.ReportMetric(float64(p.bytes)/1000, "KB/"+p.name)
				slowest, largest = max(slowest, ms), max(largest, p.bytes)
			}
			b.ReportMetric(slowest, "slowest-ms")
			b.ReportMetric(float64(largest)/1000, "largest-KB")
		})
	}
}

// loadNights runs nights up to the last one, each a file of each source.
func loadNights(b *testing.B, pool *pgxpool.Pool, rows int64) *jobs.Service {
	b.Helper()
	dir, settled := b.TempDir(), time.Duration(0)
	var config jobs.Config
	for i := range pageSources {
		config.Sources = append(config.Sources, pipeline.Source{
			Name: fmt.Sprint("source", i), Path: bucket.Path(filepath.Join(dir, fmt.Sprint(i, "-{date}.csv"))), Settle: &settled, ExpectedBy: "06:30",
		})
	}
	service, err := jobs.New(pool, config)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = service.Stop(context.Background()) })
	nights := min(maxNights, rows/nightRows)
	last := civil.Of(time.Now().UTC()) - 1
	for night := range nights {
		date := last - civil.Date(nights-1-night)
		var paths []string
		for i := range int64(pageSources) {
			path := filepath.Join(dir, fmt.Sprint(i, "-", date, ".csv"))
			writeNight(b, path, synthetic.File{Rows: rows / nights / pageSources, Users: int(rows / 10), Seed: uint64(night*pageSources + i)})
			paths = append(paths, path)
		}
		if result, err := service.Run(b.Context(), jobs.RunRequest{Date: &date}); err != nil || len(result.Files) != pageSources {
			b.Fatal(result.Error, err)
		}
		for _, path := range paths {
			if err := os.Remove(path); err != nil {
				b.Fatal(err)
			}
		}
	}
	exec(b, pool, "VACUUM (ANALYZE)")
	settle(b, pool)
	return service
}

func writeNight(b *testing.B, path string, content synthetic.File) {
	b.Helper()
	var text bytes.Buffer
	if err := errors.Join(synthetic.Write(b.Context(), &text, content), os.WriteFile(path, text.Bytes(), 0o600)); err != nil {
		b.Fatal(err)
	}
}

// pagesOf is the API with the console, as tally serve has it.
func pagesOf(b *testing.B, pool *pgxpool.Pool, service *jobs.Service) http.Handler {
	b.Helper()
	handler, err := api.New(api.Config{
		Summaries: newCachedStore(b, pool, 0), Runs: noRuns{}, Request: noRequests, Changes: noChanges{}, Proofs: noProofs{},
		Console: &console.Config{Ledger: service.Ledger(), Changes: service, Tonight: service.Tonight, DueAt: service.DueAt, TimeZone: time.UTC},
	})
	if err != nil {
		b.Fatal(err)
	}
	return handler
}

// page is a page to ask for.
type page struct {
	name, path string
	bytes      int
}

func (p page) get(b *testing.B, handler http.Handler) int {
	b.Helper()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost"+p.path, http.NoBody))
	if w.Code != http.StatusOK {
		b.Fatalf("%s: %d %s", p.path, w.Code, w.Body)
	}
	return w.Body.Len()
}

// pagePaths are the pages of the console that read the database: of the last run, of its first
// file and reject, of a conflict, and of the user with the most transactions.
func pagePaths(b *testing.B, pool *pgxpool.Pool) []page {
	b.Helper()
	var run, file, line, conflictFile, conflictLine, user int64
	var transaction string
	err := pool.QueryRow(b.Context(), `SELECT f.run_id, f.id, r.line, c.file_id, c.line, u.user_id, t.transaction_id
		FROM (SELECT * FROM etl_files ORDER BY id DESC LIMIT 1) f
		CROSS JOIN LATERAL (SELECT line FROM etl_rejects WHERE file_id = f.id AND outcome = 'rejected' ORDER BY line LIMIT 1) r
		CROSS JOIN (SELECT file_id, line FROM etl_rejects WHERE outcome = 'conflict' ORDER BY file_id DESC, line LIMIT 1) c
		CROSS JOIN (SELECT user_id FROM user_summary ORDER BY total_transactions DESC, user_id LIMIT 1) u
		CROSS JOIN LATERAL (SELECT transaction_id FROM transactions WHERE user_id = u.user_id LIMIT 1) t`).
		Scan(&run, &file, &line, &conflictFile, &conflictLine, &user, &transaction)
	if err != nil {
		b.Fatal(err)
	}
	at := func(format string, args ...any) string { return "/console/" + fmt.Sprintf(format, args...) }
	return []page{
		{name: "tonight", path: "/"},
		{name: "nights", path: at("nights")},
		{name: "nights-before", path: at("nights?month=%s", (civil.Of(time.Now().UTC()) - maxNights/2).Month())},
		{name: "run", path: at("runs/%d", run)},
		{name: "file", path: at("files/%d", file)},
		{name: "rejects", path: at("rejects")},
		{name: "rejects-of-fault", path: at("rejects?source=source1&fault=missing_amount")},
		{name: "conflicts", path: at("rejects?source=source2&fault=conflict")},
		{name: "reject", path: at("rejects/%d:%d", file, line)},
		{name: "conflict", path: at("rejects/%d:%d", conflictFile, conflictLine)},
		{name: "users", path: at("users?by=total_amount")},
		{name: "user", path: at("users/%d", user)},
		{name: "history", path: at("history?id=%s", transaction)},
		{name: "totals", path: at("totals")},
		{name: "totals-by-day", path: at("totals?by=day&from=2024-01-01")},
		{name: "sources", path: at("sources")},
		{name: "health", path: at("health")},
	}
}
