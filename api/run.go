package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs/ledger"
)

// RunReader reads the ledger for the API, as [ledger.Store] does. Lists are in order of the key
// that they continue after, runs newest first (before 0: from the newest). The list of a run that
// does not exist is empty: the API then calls Run, which returns [ledger.ErrRunNotFound].
type RunReader interface {
	Runs(ctx context.Context, before int64, limit int) ([]ledger.Run, error)
	Run(ctx context.Context, id int64) (ledger.Run, error)
	Files(ctx context.Context, run, after int64, limit int) ([]ledger.File, error)
	Rejects(ctx context.Context, q ledger.RejectQuery) ([]ledger.Reject, error)
	Sources(ctx context.Context) ([]ledger.Source, error) // of which files were read, by name
	Logs(ctx context.Context, run, after int64, limit int) ([]ledger.LogLine, error)
	// Alerts are the open ones, then the closed ones, each newest first (after id 0: from the first).
	Alerts(ctx context.Context, afterOpen bool, afterID int64, limit int) ([]ledger.Alert, error)
	// History is every state of a transaction, oldest first, or [ledger.ErrTransactionNotFound].
	History(ctx context.Context, transactionID string) (ledger.History, error)
	Head(ctx context.Context) (audit.Head, error)               // of the audit chain
	Partitions(ctx context.Context) ([]ledger.Partition, error) // oldest first
	// Retirement is one that was requested, or [ledger.ErrRetirementNotFound].
	Retirement(ctx context.Context, id int64) (ledger.Retirement, error)
}

// RunPath is the path of a run.
type RunPath struct {
	ID int64 `path:"id" minimum:"1" example:"7" doc:"The run's id."`
}

// RunRequest requests a run.
type RunRequest struct {
	LogicalDate Day `json:"logical_date,omitempty" example:"2024-01-31" doc:"The logical date of the run. Default: the day that has just ended in the schedule's time zone."`
}

// RunListInput is the parameters of a run's lists. It is exported because huma skips
// unexported embedded types.
type RunListInput struct {
	RunPath
	PageQuery
}

type (
	runOutput     struct{ Body ledger.Run }
	sourcesOutput struct{ Body SourceList }
	rejectsInput  struct {
		RunListInput
		Outcome string `query:"outcome" enum:"rejected,duplicate,conflict" doc:"Only rows with this outcome."`
	}
	requestRunInput struct {
		Body *RunRequest // a pointer makes it optional
	}
	requestRunOutput struct {
		Status   int
		Location string `header:"Location" doc:"The run."`
		Body     ledger.Run
	}
	logsOutput struct {
		Link string `header:"Link" doc:"The next page, as rel=\"next\"."`
		Body LogPage
	}
)

// SourceList is a list of sources.
type SourceList struct {
	Items []ledger.Source `json:"items" nullable:"false" doc:"The sources, in order of their names."`
}

// LogPage is a page of log lines. Unlike any other page it always has a cursor.
type LogPage struct {
	Items      []ledger.LogLine `json:"items" nullable:"false" doc:"The lines, oldest first."`
	NextCursor string           `json:"next_cursor" doc:"The cursor of the next page, which starts after the last line read so far."`
}

func (s *service) requestRun(ctx context.Context, in *requestRunInput) (*requestRunOutput, error) {
	var date *civil.Date
	if in.Body != nil && in.Body.LogicalDate != "" {
		day, err := in.Body.LogicalDate.parse("body.logical_date", 0)
		if err != nil {
			return nil, err
		}
		date = &day
	}
	run, err := s.Request(ctx, date, Actor(ctx), requestOf(ctx).origin)
	if errors.Is(err, ledger.ErrNotEnded) {
		return nil, invalid(ProblemError{Location: "body.logical_date", Message: "must be a day that has ended"})
	}
	if err != nil {
		return nil, fmt.Errorf("request a run: %w", err)
	}
	out := &requestRunOutput{Status: http.StatusOK, Location: fmt.Sprintf("/runs/%d", run.ID), Body: run}
	if run.Created {
		out.Status = http.StatusAccepted
	}
	return out, nil
}

func (s *service) listRuns(ctx context.Context, in *PageQuery) (*pageOutput[ledger.Run], error) {
	return listPage(list{PageQuery: *in, path: "runs"}, func(after position, limit int) ([]ledger.Run, error) {
		return s.Runs.Runs(ctx, after.first, limit)
	}, func(r ledger.Run) position { return position{first: r.ID} })
}

func (s *service) getRun(ctx context.Context, in *RunPath) (*runOutput, error) {
	run, err := s.Runs.Run(ctx, in.ID)
	return &runOutput{run}, err
}

func (s *service) listSources(ctx context.Context, _ *struct{}) (*sourcesOutput, error) {
	sources, err := s.Runs.Sources(ctx)
	return &sourcesOutput{SourceList{sources}}, err
}

// listAlerts continues after the state and the id of an alert. One that closes meanwhile
// moves to the later part of the list.
func (s *service) listAlerts(ctx context.Context, in *PageQuery) (*pageOutput[ledger.Alert], error) {
	return listPage(list{PageQuery: *in, path: "alerts"}, func(after position, limit int) ([]ledger.Alert, error) {
		return s.Runs.Alerts(ctx, after.first == 0, after.second, limit)
	}, func(a ledger.Alert) position {
		if a.Open() {
			return position{second: a.ID}
		}
		return position{first: 1, second: a.ID}
	})
}

func (in *RunListInput) list(name string) list {
	return list{PageQuery: in.PageQuery, path: fmt.Sprintf("runs/%d/%s", in.ID, name)}
}

func (s *service) listFiles(ctx context.Context, in *RunListInput) (*pageOutput[ledger.File], error) {
	return listPage(in.list("files"), func(after position, limit int) ([]ledger.File, error) {
		rows, err := s.Runs.Files(ctx, in.ID, after.first, limit)
		return rows, s.requireRun(ctx, in, len(rows), err)
	}, func(f ledger.File) position { return position{first: f.ID} })
}

func (s *service) listLogs(ctx context.Context, in *RunListInput) (*logsOutput, error) {
	lines := in.list("logs")
	last, err := lines.start()
	if err != nil {
		return nil, err
	}
	rows, err := s.Runs.Logs(ctx, in.ID, last.first, in.Limit)
	if err := s.requireRun(ctx, in, len(rows), err); err != nil {
		return nil, err
	}
	out := &logsOutput{Body: LogPage{Items: append([]ledger.LogLine{}, rows...)}}
	if len(rows) > 0 {
		last = position{first: rows[len(rows)-1].ID}
	}
	out.Body.NextCursor, out.Link = lines.next(last)
	return out, nil
}

func (s *service) listRejects(ctx context.Context, in *rejectsInput) (*pageOutput[ledger.Reject], error) {
	rejects := in.list("rejects")
	if in.Outcome != "" {
		rejects.filter = url.Values{"outcome": {in.Outcome}}
	}
	after, err := rejects.start()
	if err != nil {
		return nil, err
	}
	rows, more, err := readSized(after, in.Limit, rejectPosition, func(after position, limit int) ([]ledger.Reject, error) {
		return s.Runs.Rejects(ctx, ledger.RejectQuery{RunID: in.ID, Outcome: in.Outcome, AfterFile: after.first, AfterLine: after.second, Limit: limit})
	}, func(r ledger.Reject) int { return len(r.Raw) + len(r.RawBytes) })
	if err := s.requireRun(ctx, &in.RunListInput, len(rows), err); err != nil {
		return nil, err
	}
	return newPage(rejects, rows, more, rejectPosition), nil
}

func rejectPosition(r ledger.Reject) position { return position{r.FileID, r.Line} }

// A row's text is at most 64 KiB, so a thousand would be 64 MiB: rows are read in batches, up
// to a total size.
const (
	rejectBatch    = defaultLimit + 1
	maxRejectBytes = 4 << 20
)

// readSized reads a page, and reports whether there is another.
func readSized[T any](
	after position, limit int, key func(T) position, read func(after position, limit int) ([]T, error), bytes func(T) int,
) (rows []T, more bool, err error) {
	for size := 0; ; {
		want := min(rejectBatch, limit+1-len(rows))
		batch, err := read(after, want)
		if err != nil {
			return nil, false, err
		}
		for _, r := range batch {
			if len(rows) == limit || (len(rows) > 0 && size+bytes(r) > maxRejectBytes) {
				return rows, true, nil
			}
			rows, size = append(rows, r), size+bytes(r)
		}
		if len(batch) < want {
			return rows, false, nil
		}
		after = key(rows[len(rows)-1])
	}
}

// requireRun distinguishes an empty list from a run that does not exist. A cursor was made
// from an item of the run, so the run exists.
func (s *service) requireRun(ctx context.Context, in *RunListInput, items int, err error) error {
	if err == nil && items == 0 && in.Cursor == "" {
		_, err = s.Runs.Run(ctx, in.ID)
	}
	if err != nil {
		return fmt.Errorf("list a part of run %d: %w", in.ID, err)
	}
	return nil
}
