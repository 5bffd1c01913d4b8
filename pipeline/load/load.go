package load

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/extsort"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/seal"
	"github.com/opentax/tally/pipeline/transform"
	"github.com/opentax/tally/summaries"
)

// A state of a load; the package comment has their picture.
type state int

const (
	identify state = iota // one pass over the bytes takes checksum and length
	known                 // whether that content is loaded already
	read                  // a transaction begins; the file is cleaned on all cores
	decide                // under the load lock: which rows are stored, which repeat others
	write                 // rows, rejects, rollups
	record                // the ledger entry, partitions, the fence
	commit                // all of it appears
	fail                  // nothing of the file is loaded; the ledger has the reason
	finished
)

const (
	changedTries = 3           // how often a file that changes under the reader is read
	changedWait  = time.Second // and how long its writer is given in between
	maxYields    = 3           // how often a load starts again because of others' locks
	yieldWait    = time.Second // and how long they are given
)

// load is one file on its way.
type load struct {
	loader  *Loader
	request Request
	path    string // of the request
	started time.Time
	result  Result

	identity extract.Identity
	version  bucket.Version // that stands for the identity, if any does
	maxLines int64
	tries    int // of a file that changed
	yielded  int // how often the load has started again because of others' locks
	proven   *proven
	reading  transform.Reading
	again    bool                // the file has shown that it is to be read otherwise
	findings *transform.Findings // of the last reading
	arrival  arrival             // of the content at its path
	// arrivedAs is the entry of the arrival, where the content is only read again.
	arrivedAs *int64
	cause     *extract.FileError // of the failure
	stopped   bool               // the reading, past the reject limit

	stage    string // of the progress
	entered  time.Time
	reported time.Time

	// What begin makes, and rollback gives back.
	tx         pgx.Tx
	pid        int32         // of its server process
	helper     *pgxpool.Conn // for what is no part of the transaction: look-ups and empty partitions
	fileID     int64
	valid      *extsort.Sorter // packed rows by id, of which the first of each id is chosen
	accepted   *extsort.Sorter // packed rows to be stored, by partition and primary key
	duplicates *extsort.Sorter // rows whose id came before, or has an orphan key, by line
	rejects    seal.RejectsDigest
	openIn     openParts // parts of the file, with rejects or conflicts
	inChange   bool      // the load is a part of a change that knows what it has written itself
	takes      bool      // rows take the place of stored ones, whatever came first
	layout     []byte
	deltas     *summaries.Deltas
	months     map[civil.Month]int64 // rows to be stored
	staged     []staged
	lookup     *lookup // while the helper is at work
	scratch    []byte
	// distributed says that the rows are on the nodes of a cluster. They then go through its
	// coordinator, which neither fills tables beside transactions nor builds indexes of its own.
	distributed bool

	retiredBefore civil.Date // no row of an earlier day is stored
	retired       int64      // rows with the id of a retired row
}

// run takes the file from state to state until it is loaded, unchanged or failed. What
// is wrong with the file leads to another state; any other error ends the load, and
// nothing of it is left.
func (l *load) run(ctx context.Context) error {
	defer l.rollback(ctx)
	for at := identify; at != finished; {
		next, err := l.step(ctx, at)
		if err != nil {
			next, err = l.afterError(ctx, err)
		}
		if err != nil {
			return err
		}
		at = next
	}
	return nil
}

// step does the work of a state, and returns the state that comes next where it
// succeeds.
func (l *load) step(ctx context.Context, at state) (state, error) {
	switch at {
	case identify:
		err := l.identify(ctx)
		if l.request.GiveUp != nil && ctx.Err() == nil {
			l.cause = l.request.GiveUp // also where the content cannot be identified
			return fail, nil
		}
		if err != nil {
			return known, err
		}
		return known, l.checkChosen(ctx)

	case known:
		loaded, err := l.isLoaded(ctx, l.loader.pool)
		if err != nil {
			return known, err
		}
		if loaded {
			return finished, l.observe(ctx, l.loader.pool)
		}
		return read, nil

	case read:
		if err := l.read(ctx); err != nil {
			return read, err
		}
		return l.afterReading(), l.checkChosen(ctx)

	case decide:
		if err := l.exec(ctx, "SELECT pg_advisory_xact_lock($1)", summaries.LoadLock); err != nil {
			return decide, err
		}
		loaded, err := l.isLoaded(ctx, l.tx)
		if err != nil {
			return finished, err
		}
		if loaded { // by the load that had the lock before
			return finished, l.observe(ctx, l.loader.pool)
		}
		if outdated, err := l.outdated(ctx); outdated || err != nil {
			return read, err
		}
		if err := l.arrives(ctx); err != nil {
			return decide, err
		}
		return write, l.decide(ctx)

	case write:
		return record, l.write(ctx)

	case record:
		return commit, l.record(ctx)

	case commit:
		return finished, l.tx.Commit(ctx)

	default: // fail
		return commit, l.fail(ctx)
	}
}

// afterReading is where a load goes on with what the file has shown of itself.
func (l *load) afterReading() state {
	switch {
	case l.again:
		return read
	case l.cause != nil:
		return fail
	default:
		return decide
	}
}

// afterError is the state that comes after an error, if there is one.
func (l *load) afterError(ctx context.Context, err error) (state, error) {
	if inTheWay(err) && l.yielded < maxYields {
		return l.yield(ctx, err)
	}
	bad, ok := errors.AsType[*extract.FileError](err)
	if !ok {
		return finished, err
	}
	l.rollback(ctx)
	if err := l.checkChosen(ctx); err != nil {
		return finished, err
	}
	l.tries++
	if bad.Code != extract.CodeFileChanged || l.tries == changedTries {
		l.cause = bad
		return fail, nil
	}
	l.request.Logger.WarnContext(ctx, "file changed while it was read; reading it again", "path", l.path, "try", l.tries)
	select {
	case <-ctx.Done():
		return finished, ctx.Err()
	case <-time.After(changedWait):
		return identify, nil
	}
}
