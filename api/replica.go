package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/internal/replica"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/summaries"
)

const (
	epochHeader    = "Tally-Epoch"
	servedByHeader = "Tally-Served-By"
	minEpochHeader = "Tally-Min-Epoch"
)

// Backend reads from one server.
type Backend struct {
	Summaries *summaries.Store
	Runs      RunReader
	Rejects   func(ctx context.Context, f ledger.RejectFilter) ([]ledger.ListedReject, error)
}

// Replicas reads from the servers of a set. It is a [summaries.Reader] for the cache in front of it.
type Replicas struct {
	set      *replica.Set
	backends map[*replica.Server]Backend
}

// NewReplicas reads from the servers of a set, each of which has a backend.
func NewReplicas(set *replica.Set, backends map[*replica.Server]Backend) *Replicas {
	return &Replicas{set, backends}
}

// readOn has a server answer.
func readOn[T any](ctx context.Context, r *Replicas, first replica.First, ask func(context.Context, Backend) (T, error)) (answer T, err error) {
	err = r.set.Read(ctx, first, func(ctx context.Context, server *replica.Server) (err error) {
		answer, err = ask(ctx, r.backends[server])
		return err
	})
	return answer, err
}

// apart is a context whose answer is recorded on its own, for a reading that requests share.
func apart(ctx context.Context) (context.Context, *replica.Request) {
	own := &replica.Request{MinEpoch: replica.MinEpoch(ctx)}
	return replica.With(ctx, own), own
}

// Get returns a user's summary, or [summaries.ErrNotFound].
func (r *Replicas) Get(ctx context.Context, userID int32) (summaries.Summary, error) {
	reading, err := r.Read(ctx, userID)
	if err != nil {
		return summaries.Summary{}, err
	}
	return reading.Answer()
}

// Read is Get with the epoch, in one statement.
func (r *Replicas) Read(ctx context.Context, userID int32) (reading summaries.Reading, err error) {
	ctx, own := apart(ctx)
	err = r.set.Answer(ctx, replica.ReplicasFirst, func(ctx context.Context, server *replica.Server) (_ int64, err error) {
		reading, err = r.backends[server].Summaries.Read(ctx, userID)
		return reading.Epoch, err
	})
	source, _ := own.Source()
	reading.Replica = source.Replica
	return reading, err
}

// ReadTop returns the first users in an order, with the epoch.
func (r *Replicas) ReadTop(ctx context.Context, by summaries.Order) (summaries.TopReading, error) {
	ctx, own := apart(ctx)
	top, err := readOn(ctx, r, replica.ReplicasFirst, func(ctx context.Context, b Backend) (summaries.TopReading, error) {
		return b.Summaries.ReadTop(ctx, by)
	})
	source, _ := own.Source()
	top.Epoch, top.Replica = source.Epoch, source.Replica
	return top, err
}

// Summaries reads one user's summary and the top users from a cache in front of r, and all else from the servers.
func (r *Replicas) Summaries(cache *summaries.Cache) Summaries { return replicaSummaries{r, cache} }

type replicaSummaries struct {
	*Replicas
	cache *summaries.Cache
}

func (r replicaSummaries) Get(ctx context.Context, userID int32) (summaries.Summary, error) {
	reading, err := r.cache.Look(ctx, userID, replica.MinEpoch(ctx))
	if err != nil {
		return summaries.Summary{}, err
	}
	replica.Record(ctx, replica.Source{Epoch: reading.Epoch, Replica: reading.Replica})
	return reading.Answer()
}

func (r replicaSummaries) Top(ctx context.Context, by summaries.Order, limit int) ([]summaries.Summary, error) {
	top, err := r.cache.LookTop(ctx, by, replica.MinEpoch(ctx))
	if err != nil {
		return nil, err
	}
	replica.Record(ctx, replica.Source{Epoch: top.Epoch, Replica: top.Replica})
	return top.Top(limit), nil
}

func (r replicaSummaries) Transactions(ctx context.Context, userID int32, after summaries.Cursor, limit int) ([]summaries.Transaction, error) {
	return readOn(ctx, r.Replicas, replica.ReplicasFirst, func(ctx context.Context, b Backend) ([]summaries.Transaction, error) {
		return b.Summaries.Transactions(ctx, userID, after, limit)
	})
}

func (r replicaSummaries) Many(ctx context.Context, userIDs []int32) ([]summaries.Summary, error) {
	return readOn(ctx, r.Replicas, replica.ReplicasFirst, func(ctx context.Context, b Backend) ([]summaries.Summary, error) {
		return b.Summaries.Many(ctx, userIDs)
	})
}

func (r replicaSummaries) Range(ctx context.Context, userID int32, days summaries.Days) (summaries.Summary, error) {
	return readOn(ctx, r.Replicas, replica.ReplicasFirst, func(ctx context.Context, b Backend) (summaries.Summary, error) {
		return b.Summaries.Range(ctx, userID, days)
	})
}

func (r replicaSummaries) AsOf(ctx context.Context, userID int32, moment time.Time, days summaries.Days) (summaries.Past, error) {
	return readOn(ctx, r.Replicas, replica.ReplicasFirst, func(ctx context.Context, b Backend) (summaries.Past, error) {
		return b.Summaries.AsOf(ctx, userID, moment, days)
	})
}

func (r replicaSummaries) Totals(ctx context.Context, q summaries.TotalsQuery) ([]summaries.Total, error) {
	return readOn(ctx, r.Replicas, replica.ReplicasFirst, func(ctx context.Context, b Backend) ([]summaries.Total, error) {
		return b.Summaries.Totals(ctx, q)
	})
}

// Runs reads the ledger. The records of runs are not counted by the epoch, so the primary is asked
// first for them: a client sees the run that it has requested.
func (r *Replicas) Runs() RunReader { return replicaRuns{r} }

type replicaRuns struct{ *Replicas }

func (r replicaRuns) Runs(ctx context.Context, before int64, limit int) ([]ledger.Run, error) {
	return readOn(ctx, r.Replicas, replica.PrimaryFirst, func(ctx context.Context, b Backend) ([]ledger.Run, error) { return b.Runs.Runs(ctx, before, limit) })
}

func (r replicaRuns) Run(ctx context.Context, id int64) (ledger.Run, error) {
	return readOn(ctx, r.Replicas, replica.PrimaryFirst, func(ctx context.Context, b Backend) (ledger.Run, error) { return b.Runs.Run(ctx, id) })
}

func (r replicaRuns) Files(ctx context.Context, run, after int64, limit int) ([]ledger.File, error) {
	return readOn(ctx, r.Replicas, replica.PrimaryFirst, func(ctx context.Context, b Backend) ([]ledger.File, error) {
		return b.Runs.Files(ctx, run, after, limit)
	})
}

func (r replicaRuns) Rejects(ctx context.Context, q ledger.RejectQuery) ([]ledger.Reject, error) {
	return readOn(ctx, r.Replicas, replica.PrimaryFirst, func(ctx context.Context, b Backend) ([]ledger.Reject, error) { return b.Runs.Rejects(ctx, q) })
}

func (r replicaRuns) Sources(ctx context.Context) ([]ledger.Source, error) {
	return readOn(ctx, r.Replicas, replica.PrimaryFirst, func(ctx context.Context, b Backend) ([]ledger.Source, error) { return b.Runs.Sources(ctx) })
}

func (r replicaRuns) Logs(ctx context.Context, run, after int64, limit int) ([]ledger.LogLine, error) {
	return readOn(ctx, r.Replicas, replica.PrimaryFirst, func(ctx context.Context, b Backend) ([]ledger.LogLine, error) {
		return b.Runs.Logs(ctx, run, after, limit)
	})
}

func (r replicaRuns) Alerts(ctx context.Context, afterOpen bool, afterID int64, limit int) ([]ledger.Alert, error) {
	return readOn(ctx, r.Replicas, replica.PrimaryFirst, func(ctx context.Context, b Backend) ([]ledger.Alert, error) {
		return b.Runs.Alerts(ctx, afterOpen, afterID, limit)
	})
}

func (r replicaRuns) History(ctx context.Context, transactionID string) (ledger.History, error) {
	return readOn(ctx, r.Replicas, replica.ReplicasFirst, func(ctx context.Context, b Backend) (ledger.History, error) {
		return b.Runs.History(ctx, transactionID)
	})
}

func (r replicaRuns) Partitions(ctx context.Context) ([]ledger.Partition, error) {
	return readOn(ctx, r.Replicas, replica.PrimaryFirst, func(ctx context.Context, b Backend) ([]ledger.Partition, error) { return b.Runs.Partitions(ctx) })
}

func (r replicaRuns) Retirement(ctx context.Context, id int64) (ledger.Retirement, error) {
	return readOn(ctx, r.Replicas, replica.PrimaryFirst, func(ctx context.Context, b Backend) (ledger.Retirement, error) { return b.Runs.Retirement(ctx, id) })
}

func (r replicaRuns) Head(ctx context.Context) (audit.Head, error) {
	return readOn(ctx, r.Replicas, replica.ReplicasFirst, func(ctx context.Context, b Backend) (audit.Head, error) { return b.Runs.Head(ctx) })
}

// Changes lists rejects from the servers, and makes changes with next. The answer to a change
// has an epoch that includes it, for requests that must see it.
func (r *Replicas) Changes(next Changes) Changes { return replicaChanges{next, r} }

type replicaChanges struct {
	Changes
	replicas *Replicas
}

func (r replicaChanges) Rejects(ctx context.Context, f ledger.RejectFilter) ([]ledger.ListedReject, error) {
	return readOn(ctx, r.replicas, replica.ReplicasFirst, func(ctx context.Context, b Backend) ([]ledger.ListedReject, error) { return b.Rejects(ctx, f) })
}

func (r replicaChanges) Replay(ctx context.Context, q ledger.ReplayRequest) (reject.ReplayResult, error) {
	result, err := r.Changes.Replay(ctx, q)
	return result, r.changed(ctx, err)
}

func (r replicaChanges) Fix(ctx context.Context, q ledger.FixRequest) (ledger.ListedReject, error) {
	fixed, err := r.Changes.Fix(ctx, q)
	return fixed, r.changed(ctx, err)
}

func (r replicaChanges) Settle(ctx context.Context, id reject.ID, take bool, by audit.By) (ledger.ListedReject, error) {
	settled, err := r.Changes.Settle(ctx, id, take, by)
	return settled, r.changed(ctx, err)
}

func (r replicaChanges) Discard(ctx context.Context, id reject.ID, by audit.By) (ledger.ListedReject, error) {
	discarded, err := r.Changes.Discard(ctx, id, by)
	return discarded, r.changed(ctx, err)
}

func (r replicaChanges) Revert(ctx context.Context, q ledger.RevertRequest) (reject.RevertResult, error) {
	result, err := r.Changes.Revert(ctx, q)
	return result, r.changed(ctx, err)
}

// changed records the primary's epoch after a change.
func (r replicaChanges) changed(ctx context.Context, err error) error {
	if err == nil {
		r.replicas.set.Changed(ctx)
	}
	return err
}

// requestOfReads is what a request asks of its answer; nil without replicas. The header is checked either way.
func (s *service) requestOfReads(r *http.Request) (*replica.Request, *Problem) {
	reads := &replica.Request{}
	if given := r.Header[minEpochHeader]; len(given) > 0 {
		n, err := strconv.ParseInt(given[0], 10, 64)
		if err != nil || n < 0 || !canonical(given[0]) || len(given) > 1 {
			return nil, invalid(ProblemError{Location: "header." + minEpochHeader, Message: "must be a 64-bit integer of at least 0 in decimal digits"})
		}
		reads.MinEpoch = n
	}
	if s.Replicas == nil {
		return nil, nil //nolint:nilnil // no replicas are no error
	}
	return reads, nil
}

// setSource tells where an answer about data came from.
func setSource(header http.Header, reads *replica.Request) {
	if reads == nil {
		return
	}
	source, ok := reads.Source()
	if !ok {
		return
	}
	header.Set(epochHeader, strconv.FormatInt(source.Epoch, 10))
	served := "primary"
	if source.Replica {
		served = "replica"
	}
	header.Set(servedByHeader, served)
}

// addMinEpoch describes the header that the middleware reads.
func addMinEpoch(op *huma.Operation) {
	low := 0.0
	op.Parameters = append(op.Parameters, &huma.Param{
		Name: minEpochHeader, In: "header",
		Description: "The answer must include this commit, such as the Tally-Epoch of an earlier answer: a server that has it answers, " +
			"or a 503 says that none has it in time. Without read replicas every answer is the newest, and this has no effect.",
		Schema: &huma.Schema{Type: huma.TypeInteger, Format: "int64", Minimum: &low, Examples: []any{42}},
	})
}

// addReplicaHeaders describes the headers of an answer about data.
func addReplicaHeaders(headers map[string]*huma.Header) {
	headers[epochHeader] = &huma.Header{Ref: "#/components/headers/Epoch"}
	headers[servedByHeader] = &huma.Header{Ref: "#/components/headers/ServedBy"}
}
