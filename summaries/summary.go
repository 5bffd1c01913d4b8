package summaries

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/maypok86/otter/v2"
	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/postgres"
)

// maxRuns bounds the files whose runs are remembered, at less than 1 MB.
const maxRuns = 10_000

// ErrNotFound says that a user has no transactions.
var ErrNotFound = errors.New("the user has no transactions")

// Summary is the count and exact sum of one user's transactions.
type Summary struct {
	bun.BaseModel `bun:"table:user_summary,alias:summary"`

	UserID       int32     `bun:"user_id"`
	Transactions int64     `bun:"total_transactions"` // at least 1
	Total        money.Sum `bun:"total_amount"`
	Version      int64     `bun:"version"`         // counts the changes of this summary
	FileID       int64     `bun:"file_id"`         // the last file that changed it
	RunID        int64     `bun:"run_id,scanonly"` // the run of that file; 0 where the ledger does not have it
	UpdatedAt    time.Time `bun:"updated_at"`      // when that file's load began, and a second later than any time before
	// Memo is shared by those who get this summary from memory; nil where it comes
	// from the database.
	Memo *Memo `bun:"-"`
}

// Memo is a place for what is made of a summary, to be made once while the summary is
// kept in memory. It goes when the summary does. A nil one is of use, and keeps nothing.
type Memo struct{ made atomic.Pointer[any] }

// Load returns what was stored, nil for nothing.
func (m *Memo) Load() any {
	if m == nil {
		return nil
	}
	if made := m.made.Load(); made != nil {
		return *made
	}
	return nil
}

// Store keeps what was made. It must never change from then on.
func (m *Memo) Store(made any) {
	if m != nil {
		m.made.Store(&made)
	}
}

// Average is Total / Transactions, rounded half away from zero to two decimals.
func (s Summary) Average() money.Sum { return s.Total.Average(s.Transactions) }

// Store reads the rollups.
type Store struct {
	pool *pgxpool.Pool
	db   *bun.DB
	runs *otter.Cache[int64, int64] // by file
}

// NewStore reads through pool, which stays the caller's to close.
func NewStore(pool *pgxpool.Pool) *Store {
	return &Store{pool: pool, db: postgres.Bun(pool), runs: otter.Must(&otter.Options[int64, int64]{MaximumSize: maxRuns})}
}

const summaryColumns = `
       s.total_transactions, s.total_amount, s.version, s.file_id, s.updated_at`

const summaryQuery = `SELECT` + summaryColumns + `
FROM user_summary s WHERE s.user_id = $1`

// readingQuery sees the summary and the epoch in one snapshot, and gives a row where
// there is no summary, too.
const readingQuery = `SELECT` + summaryColumns + `, e.epoch
FROM summary_epoch e LEFT JOIN user_summary s ON s.user_id = $1`

const runQuery = "SELECT run_id FROM etl_files WHERE id = $1"

// Get returns a user's summary, or [ErrNotFound]. It is one read by primary key,
// on one prepared statement a connection, and another one for a file that no look-up
// has met before.
func (s *Store) Get(ctx context.Context, userID int32) (Summary, error) {
	sum := Summary{UserID: userID}
	err := s.pool.QueryRow(ctx, summaryQuery, pgx.QueryExecModeCacheStatement, userID).
		Scan(&sum.Transactions, &sum.Total, &sum.Version, &sum.FileID, &sum.UpdatedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return Summary{}, ErrNotFound
	}
	if err != nil {
		return Summary{}, fmt.Errorf("look up a summary: %w", err)
	}
	sum.RunID, err = s.runOf(ctx, sum.FileID)
	return sum, err
}

// Read returns a user's summary, or that there is none, and the epoch of the same
// moment; see [Cache]. It costs one page more than Get.
func (s *Store) Read(ctx context.Context, userID int32) (Reading, error) {
	var r Reading
	var transactions, version, file *int64
	var total *money.Sum
	var updated *time.Time
	err := s.pool.QueryRow(ctx, readingQuery, pgx.QueryExecModeCacheStatement, userID).
		Scan(&transactions, &total, &version, &file, &updated, &r.Epoch)
	if err != nil {
		return r, fmt.Errorf("look up a summary: %w", err)
	}
	if r.Found = transactions != nil; !r.Found {
		return r, nil
	}
	r.Summary = Summary{UserID: userID, Transactions: *transactions, Total: *total, Version: *version, FileID: *file, UpdatedAt: *updated}
	r.Summary.RunID, err = s.runOf(ctx, *file)
	return r, err
}

// runOf is the run of a file, 0 where the ledger does not have it. What the ledger has
// never changes, so it is asked once for each file: asked with every summary, it took
// 7 % of a look-up's time.
func (s *Store) runOf(ctx context.Context, fileID int64) (run int64, err error) {
	if run, ok := s.runs.GetIfPresent(fileID); ok {
		return run, nil
	}
	err = s.pool.QueryRow(ctx, runQuery, pgx.QueryExecModeCacheStatement, fileID).Scan(&run)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look up the run of a file: %w", err)
	}
	s.runs.Set(fileID, run)
	return run, nil
}
