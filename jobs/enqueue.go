package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
)

// queuedEvery is how often Await looks at a job.
const queuedEvery = 50 * time.Millisecond

// Queued is a run that was given to the workers, and its River job.
type Queued struct{ RunID, JobID int64 }

// Enqueue gives paths to the workers, as a run of their own under default rules. Any
// worker of the database may take it, so each of them has to reach the paths. As any run
// of paths it is not requeued when its worker is killed.
func (s *Service) Enqueue(ctx context.Context, paths []bucket.Location, requestedBy string) (Queued, error) {
	req := RunRequest{Paths: paths, RequestedBy: requestedBy}
	if _, err := s.sourcesOf(req); err != nil {
		return Queued{}, err
	}
	return s.enterManual(ctx, req, s.lastEnded(s.config.Clock.Now()), true)
}

// queuedSources are what a job's attempt goes through.
func (s *Service) queuedSources(a *attempt) []pipeline.Source {
	if a.kind != ledger.KindManual {
		return s.config.Sources
	}
	sources := make([]pipeline.Source, len(a.paths))
	for i, path := range a.paths {
		location, err := bucket.Parse(path)
		if err != nil {
			location = bucket.Path(path) // reading it says why it cannot be read
		}
		sources[i] = pipeline.Source{Name: manualSource, Path: location}
	}
	return sources
}

// Await waits until a run that was given to the workers has ended. As of [Service.Run],
// the result tells of every file, and the error is nil if and only if the run succeeded.
func (s *Service) Await(ctx context.Context, q Queued) (RunResult, error) {
	for {
		job, err := s.river.JobGet(ctx, q.JobID)
		if err != nil {
			return RunResult{}, fmt.Errorf("await run %d: %w", q.RunID, err)
		}
		if job.FinalizedAt != nil {
			s.flushLogs(ctx)
			return resultOf(job.Output(), string(job.State))
		}
		select {
		case <-ctx.Done():
			return RunResult{}, fmt.Errorf("await run %d: %w", q.RunID, ctx.Err())
		case <-time.After(queuedEvery):
		}
	}
}

// resultOf is the result that the worker left for River UI as the job's output.
func resultOf(output []byte, state string) (r RunResult, err error) {
	if output == nil {
		return r, fmt.Errorf("the job is %s and has no result", state)
	}
	if err := json.Unmarshal(output, &r); err != nil {
		return r, fmt.Errorf("read the job's result: %w", err)
	}
	if r.Status != ledger.StatusSucceeded {
		return r, errors.New(r.Error)
	}
	return r, nil
}
