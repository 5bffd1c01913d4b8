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

// ErrNotFound is returned for a user without transactions.
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
	UpdatedAt    time.Time `bun:"updated_at"`      // the start of that file's load, at least a second after the last change
	// Memo holds a value that is derived once from this summary and never changes. It is shared by
	// all who get the summary from memory; nil from the database.
	Memo *atomic.Value `bun:"-"`
}

// Average is Total / Transactions, rounded half away from zero to two decimals.
func (s Summary) Average() money.Sum { return s.Total.Average(s.Transactions) }

// Store reads the rollups.
type Store struct {
	pool     *pgxpool.Pool
	prepared pgx.QueryExecMode
	db       *bun.DB
	runs     *otter.Cache[int64, int64] // by file
	turns
}

// NewStore reads through pool, which the caller closes. Reads that cost more than some look-ups
// by key use half of its connections at most; beyond that they fail with [ErrBusy]. Other costly reads
// on the pool take a Turn, too.
func NewStore(pool *pgxpool.Pool) *Store {
	return &Store{
		pool: pool, prepared: postgres.Prepared(pool), db: postgres.Bun(pool), runs: otter.Must(&otter.Options[int64, int64]{MaximumSize: maxRuns}),
		turns: make(turns, max(1, pool.Config().MaxConns/2)),
	}
}

const (
	summaryQuery = `
SELECT total_transactions, total_amount, version, file_id, updated_at FROM user_summary WHERE user_id = $1`
	// readingQuery reads the summary and the epoch in one snapshot, and gives a row without a summary, too.
	readingQuery = `
SELECT coalesce(total_transactions, 0), coalesce(total_amount, 0), coalesce(version, 0), coalesce(file_id, 0),
       coalesce(updated_at, 'epoch'), epoch
FROM summary_epoch LEFT JOIN user_summary ON user_id = $1`
	runQuery = "SELECT run_id FROM etl_files WHERE id = $1"
)

// Get returns a user's summary, or [ErrNotFound]. It is one read by primary key, by one prepared
// statement a connection, and another one for a file that no look-up has met before.
func (s *Store) Get(ctx context.Context, userID int32) (Summary, error) {
	return s.one(ctx, "look up a summary", userID, nil, summaryQuery, userID)
}

// one reads a summary, and further columns.
func (s *Store) one(ctx context.Context, doing string, userID int32, further []any, query string, args ...any) (Summary, error) {
	sum := Summary{UserID: userID}
	err := s.pool.QueryRow(ctx, query, append([]any{s.prepared}, args...)...).
		Scan(append([]any{&sum.Transactions, &sum.Total, &sum.Version, &sum.FileID, &sum.UpdatedAt}, further...)...)
	if errors.Is(err, pgx.ErrNoRows) {
		return Summary{}, ErrNotFound
	}
	if err != nil {
		return Summary{}, fmt.Errorf("%s: %w", doing, err)
	}
	sum.RunID, err = s.runOf(ctx, sum.FileID)
	return sum, err
}

// Read returns a user's summary, if there is one, and the epoch of the same snapshot; see [Cache]. It
// reads one page more than Get.
func (s *Store) Read(ctx context.Context, userID int32) (r Reading, err error) {
	sum := &r.Summary
	sum.UserID = userID
	err = s.pool.QueryRow(ctx, readingQuery, s.prepared, userID).
		Scan(&sum.Transactions, &sum.Total, &sum.Version, &sum.FileID, &sum.UpdatedAt, &r.Epoch)
	if err != nil {
		return r, fmt.Errorf("look up a summary: %w", err)
	}
	if r.Found = sum.Transactions > 0; r.Found {
		sum.RunID, err = s.runOf(ctx, sum.FileID)
	}
	return r, err
}

// runOf is the run of a file, 0 if the ledger does not have it. It never changes, so it is read once
// for each file: read with every summary, it took 7 % of a look-up's time.
func (s *Store) runOf(ctx context.Context, fileID int64) (run int64, err error) {
	if run, ok := s.runs.GetIfPresent(fileID); ok {
		return run, nil
	}
	err = s.pool.QueryRow(ctx, runQuery, s.prepared, fileID).Scan(&run)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look up the run of a file: %w", err)
	}
	s.runs.Set(fileID, run)
	return run, nil
}

// selectMany joins nothing to user_summary, which can be distributed over a cluster.
func selectMany(db *bun.DB, userIDs []int32) *bun.SelectQuery {
	users := db.NewSelect().Model((*Summary)(nil)).ColumnExpr("?TableColumns").Where("user_id IN (?)", bun.List(userIDs))
	return db.NewSelect().With("summary", users).TableExpr("summary").
		ColumnExpr("summary.*, (SELECT run_id FROM etl_files WHERE id = summary.file_id) AS run_id").Order("user_id")
}

// Many returns the summaries of these users, as far as they have one, in order of their ids.
func (s *Store) Many(ctx context.Context, userIDs []int32) (list []Summary, err error) {
	if err := selectMany(s.db, userIDs).Scan(ctx, &list); err != nil {
		return nil, fmt.Errorf("look up summaries: %w", err)
	}
	return list, nil
}
