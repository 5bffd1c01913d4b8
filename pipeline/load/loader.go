package load

import (
	"cmp"
	"context"
	_ "embed" // for load.sql
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/extsort"
	"github.com/opentax/tally/internal/sqlfile"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/transform"
)

//go:embed load.sql
var loadSQL string

// ErrFenced says that a later attempt of the run has started, so that this one
// must not commit: its worker was taken for dead.
var ErrFenced = errors.New("a later attempt of this run has started")

// CodeGivenUp is the code of a file that was not loaded in several attempts, although
// nothing is wrong with it as far as is known. It is tried again in the next run.
const CodeGivenUp = "given_up"

// ErrChanged says that a file is not of the chosen version any more when it was read.
// Nothing of it was loaded, and nothing is recorded.
var ErrChanged = errors.New("the file changed since it was chosen")

// Request asks for one file. RunID and Attempt must be in the ledger.
type Request struct {
	RunID       int64
	Attempt     int
	Source      string          // name of the source
	Path        bucket.Location // of a file or an object
	Chosen      bucket.Version  // that the file must still have when it was read; zero for any
	Rules       transform.Rules
	LogicalDate civil.Date // of the run
	// Learns says that the source's files have conventions in common: what one proves
	// holds for the others.
	Learns bool
	// Again reads content again that an earlier load would not have read like this one,
	// as more is known of its source by now. A person has asked for it.
	Again bool
	// GiveUp is why the file is not to be loaded: only its entry in the ledger is written.
	GiveUp      *extract.FileError
	CodeVersion string
	Progress    func(pipeline.Progress) // may be nil; is called by one goroutine at a time
	Logger      *slog.Logger            // may be nil
}

// rules are the rules for the ledger.
func (r *Request) rules() (string, error) {
	rules, err := json.Marshal(r.Rules)
	if err != nil {
		return "", fmt.Errorf("rules: %w", err)
	}
	return string(rules), nil
}

// Loader loads files. It is safe for concurrent use: loads clean side by side, and
// take turns where they write.
type Loader struct {
	pool       *pgxpool.Pool
	statements sqlfile.Statements
	stores     *bucket.Stores
	turns      chan struct{}
	limits     extsort.Limits // zero, but for a test
	bulkFrom   int64          // bulkRows, but for a test
}

// connsPerLoad is what a load may hold of the pool: two connections of its own,
// and those of the run that it is part of.
const connsPerLoad = 4

// New loads from stores (nil opens them anew) through pool, both of which stay the
// caller's to close. A load holds two connections; of a small pool only so many loads go
// on at once that none waits for another one's.
func New(pool *pgxpool.Pool, stores *bucket.Stores) *Loader {
	turns := max(1, pool.Config().MaxConns/connsPerLoad)
	return &Loader{pool: pool, statements: sqlfile.Parse(loadSQL + "\n" + retireSQL + "\n" + expireSQL), stores: cmp.Or(stores, &bucket.Stores{}), turns: make(chan struct{}, turns), bulkFrom: bulkRows}
}

// Load loads one file in one commit; see the package comment for what is
// guaranteed. A bad file is a Result with [StatusFailed] and no error.
func (l *Loader) Load(ctx context.Context, req Request) (Result, error) {
	if req.Logger == nil {
		req.Logger = slog.New(slog.DiscardHandler)
	}
	f := &load{loader: l, request: req, path: req.Path.String(), started: time.Now()}
	f.startOver()
	err := req.Rules.Check()
	if err == nil {
		err = f.inTurn(ctx)
	}
	f.result.Seconds = time.Since(f.started).Seconds()
	if err != nil {
		if ctxErr := ctx.Err(); ctxErr != nil && !errors.Is(err, ctxErr) {
			err = fmt.Errorf("%w: %w", ctxErr, err) // what a cancelled connection says is only its echo
		}
		return f.result, fmt.Errorf("load %s: %w", f.path, err)
	}
	f.result.log(ctx, req.Logger)
	return f.result, nil
}

// inTurn runs a load when the pool has connections for it.
func (l *load) inTurn(ctx context.Context) error {
	select {
	case l.loader.turns <- struct{}{}:
		defer func() { <-l.loader.turns }()
		return l.run(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}
