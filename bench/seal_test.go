package bench

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/seal"
)

// BenchmarkSeal measures what the audit chain adds to the load of a file: the hash of its
// rejects, and the entry. percent is both relative to the whole load.
func BenchmarkSeal(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			s := newServer(b)
			path := dirtyFile(b, n, 1, n/10)
			var whole, sealed time.Duration
			for range b.N {
				pool, runID := s.tally(b)
				settle(b, pool)
				r, took := timeLoad(b, pool, runID, path)
				whole += took
				sealed += timeSeal(b, pool, runID, r)
				s.drop(b, pool)
			}
			report(b, n, sealed)
			b.ReportMetric(100*sealed.Seconds()/whole.Seconds(), "percent")
		})
	}
}

// timeSeal times the work on the chain for a file, as its load does it.
func timeSeal(b *testing.B, pool *pgxpool.Pool, runID int64, r load.Result) (took time.Duration) {
	b.Helper()
	var rejects bytes.Buffer
	copyOut := fmt.Sprintf("COPY (SELECT * FROM etl_rejects WHERE file_id = %d) TO STDOUT (FORMAT binary)", r.FileID)
	tx, err := pool.Begin(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = tx.Rollback(b.Context()) }()
	if _, err := tx.Conn().PgConn().CopyTo(b.Context(), &rejects, copyOut); err != nil || rejects.Len() == 0 {
		b.Fatal(rejects.Len(), err)
	}
	began := time.Now()
	digest := seal.NewRejectsDigest()
	digest.Add(rejects.Bytes())
	// As of another file, since this one is in the chain.
	if _, err := seal.Append(b.Context(), tx, seal.Entry{
		Kind: seal.Load, RunID: runID, FileID: r.FileID + 1, Path: r.Path, SHA256: r.SHA256, Read: r.Read, Loaded: r.Loaded,
		Duplicate: r.Duplicate, Conflict: r.Conflict, Rejected: r.Rejected, Rows: r.Loaded, Digest: digest.String(),
	}); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}
