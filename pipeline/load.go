package pipeline

import (
	"cmp"
	"context"
	_ "embed" // for load.sql
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/extsort"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/sqlfile"
)

//go:embed load.sql
var loadSQL string

// ErrFenced says that a later attempt of the run has started, so that this one
// must not commit: its worker was taken for dead.
var ErrFenced = errors.New("a later attempt of this run has started")

const (
	changedTries = 3               // how often a file that changes under the reader is read
	changedWait  = time.Second     // and how long its writer is given in between
	loadLockKey  = 0x74616c6c79_02 // advisory lock: one load commits at a time
)

// LoadRequest asks for one file. RunID and Attempt must be in the ledger.
type LoadRequest struct {
	RunID       int64
	Attempt     int
	Source      string          // name of the source
	Path        bucket.Location // of a file or an object
	Rules       Rules
	CodeVersion string
	Progress    func(Progress) // may be nil; is called by one goroutine at a time
	Logger      *slog.Logger   // may be nil
}

// Loader loads files. It is safe for concurrent use: loads clean side by side, and
// take turns where they write.
type Loader struct {
	pool       *pgxpool.Pool
	statements sqlfile.Statements
	stores     *bucket.Stores
	turns      chan struct{}
	limits     extsort.Limits // the usual, but for a test
}

// connsPerLoad is what a load may hold of the pool: two connections of its own,
// and those of the run that it is part of.
const connsPerLoad = 4

// NewLoader loads from stores (nil opens them anew) through pool, both of which stay the
// caller's to close. A load holds
// two connections; of a small pool only so many loads go on at once that none
// waits for another one's.
func NewLoader(pool *pgxpool.Pool, stores *bucket.Stores) *Loader {
	turns := max(1, pool.Config().MaxConns/connsPerLoad)
	return &Loader{pool: pool, statements: sqlfile.Parse(loadSQL), stores: cmp.Or(stores, &bucket.Stores{}), turns: make(chan struct{}, turns)}
}

// Load loads one file in one commit; see the package comment for what is
// guaranteed. A bad file is a Result with [StatusFailed] and no error.
func (l *Loader) Load(ctx context.Context, req LoadRequest) (Result, error) {
	if req.Logger == nil {
		req.Logger = slog.New(slog.DiscardHandler)
	}
	started := time.Now()
	select {
	case l.turns <- struct{}{}:
		defer func() { <-l.turns }()
	case <-ctx.Done():
		return Result{Path: req.Path.String(), Source: req.Source}, fmt.Errorf("load %s: %w", req.Path, ctx.Err())
	}
	a := &attempt{Loader: l, LoadRequest: req, started: started}
	result, err := a.loadSettled(ctx)
	result.Seconds = time.Since(started).Seconds()
	if err != nil {
		if ctxErr := ctx.Err(); ctxErr != nil && !errors.Is(err, ctxErr) {
			err = fmt.Errorf("%w: %w", ctxErr, err) // what a cancelled connection says is only its echo
		}
		return result, fmt.Errorf("load %s: %w", req.Path, err)
	}
	a.log(ctx, result)
	return result, nil
}

// attempt is one call of Load.
type attempt struct {
	*Loader
	LoadRequest
	started  time.Time
	identity Identity
	refused  separators // whose ambiguous dates are faults, as the file itself has shown
	reported time.Time
}

// loadSettled reads again, a few times, what changed while it was read.
func (a *attempt) loadSettled(ctx context.Context) (Result, error) {
	for try := 1; ; try++ {
		result, err := a.loadOnce(ctx)
		fileErr, bad := errors.AsType[*FileError](err)
		if !bad {
			return result, err
		}
		if fileErr.Code != CodeFileChanged || try == changedTries {
			return a.fail(ctx, result, fileErr)
		}
		a.Logger.WarnContext(ctx, "file changed while it was read; reading it again", "path", a.Path, "try", try)
		select {
		case <-ctx.Done():
			return result, ctx.Err()
		case <-time.After(changedWait):
		}
	}
}

func (a *attempt) loadOnce(ctx context.Context) (Result, error) {
	result := a.newResult()
	if err := a.Rules.Check(); err != nil {
		return result, err
	}
	var err error
	if a.identity, err = Fingerprint(ctx, a.stores, a.Path); err != nil {
		return result, err
	}
	a.refused = 0
	known, err := a.knownContent(ctx, a.pool, &result)
	if known || err != nil {
		return result, err
	}
	for {
		result = a.newResult()
		err = a.loadInTransaction(ctx, &result)
		contradicted, again := errors.AsType[*contradiction](err)
		if !again {
			break
		}
		a.refused = contradicted.refused
	}
	if limit, ok := errors.AsType[*limitExceeded](err); ok {
		return result, a.refuse(ctx, &result, limit)
	}
	if postgres.Constraint(err) == "etl_files_content_once" {
		known, err = a.knownContent(ctx, a.pool, &result)
		if !known && err == nil {
			err = errors.New("content loaded by another process is not there any more")
		}
	}
	return result, err
}

// loadInTransaction does all of it in one transaction, with a second connection
// beside it that only looks things up and makes empty partitions.
func (a *attempt) loadInTransaction(ctx context.Context, result *Result) error {
	helper, err := a.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer helper.Release()
	return pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
		l := newLoad(ctx, a, tx, helper.Conn(), result)
		defer l.close(ctx)
		return l.run(ctx)
	})
}

func (a *attempt) newResult() Result {
	r := Result{Path: a.Path.String(), Source: a.Source, Bytes: a.identity.Bytes, TotalAmount: "0", Faults: map[string]int64{}}
	if a.identity != (Identity{}) {
		r.SHA256 = hex.EncodeToString(a.identity.SHA256[:])
	}
	return r
}

type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// knownContent turns result into unchanged where the content is loaded already.
func (a *attempt) knownContent(ctx context.Context, db querier, result *Result) (bool, error) {
	var id int64
	var path string
	err := db.QueryRow(ctx, a.statements.Get("known_content"), a.identity.SHA256[:]).Scan(&id, &path)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look the content up: %w", err)
	}
	*result = a.newResult()
	result.Status, result.FileID, result.LoadedAs = StatusUnchanged, id, path
	return true, nil
}

// fail notes a bad file in the ledger, by itself: nothing of it was loaded.
func (a *attempt) fail(ctx context.Context, result Result, cause *FileError) (Result, error) {
	failed := a.newResult()
	failed.Read = result.Read
	failed.Status, failed.ErrorCode, failed.Error = StatusFailed, cause.Code, cause.Error()
	err := pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
		l := &load{attempt: a, tx: tx, result: &failed}
		if err := l.prepare(ctx); err != nil {
			return err
		}
		if err := l.record(ctx); err != nil {
			return err
		}
		return l.fence(ctx)
	})
	return failed, err
}

func (a *attempt) log(ctx context.Context, r Result) {
	switch r.Status {
	case StatusFailed:
		a.Logger.ErrorContext(ctx, "file failed; nothing of it was loaded", "path", r.Path, "code", r.ErrorCode, "error", r.Error)
	case StatusUnchanged:
		a.Logger.InfoContext(ctx, "content is loaded already; nothing to do", "path", r.Path, "loaded_as", r.LoadedAs, "file_id", r.FileID)
	default:
		a.Logger.InfoContext(ctx, "file loaded", "path", r.Path, "file_id", r.FileID, "read", r.Read, "loaded", r.Loaded,
			"duplicate", r.Duplicate, "conflict", r.Conflict, "rejected", r.Rejected, "seconds", r.Seconds)
	}
}

// rulesJSON is how the ledger keeps the rules of a file.
func (a *attempt) rulesJSON() (string, error) {
	b, err := json.Marshal(a.Rules)
	return string(b), err
}
