package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/opentax/tally/internal/civil"

	"github.com/danielgtaylor/huma/v2"
)

// ErrRunNotFound says that there is no run with an id.
var ErrRunNotFound = errors.New("the run does not exist")

// ErrDateNotEnded says that a logical date is not over yet.
var ErrDateNotEnded = errors.New("the logical date is not over yet")

// Runs is what the API reads of the ledger, and asks of the queue. Lists are in order of the key that
// they go on from; a limit is the most that is wanted.
type Runs interface {
	// List returns runs with ids below before, the newest first; before 0 means
	// from the newest.
	List(ctx context.Context, before int64, limit int) ([]Run, error)
	// Get returns a run, or [ErrRunNotFound].
	Get(ctx context.Context, id int64) (Run, error)
	// Files returns a run's files with ids above after. Of a run that does not
	// exist it may return none: the API asks Get then. So do Rejects and Logs.
	Files(ctx context.Context, run, after int64, limit int) ([]File, error)
	// Rejects returns the rows of a run's files that were not loaded.
	Rejects(ctx context.Context, q RejectQuery) ([]Reject, error)
	// Request enters the run of a logical date, nil for the day that has just ended, and
	// gives it to the queue; by and origin are for the audit trail. Of a date that has a
	// run it returns that one, and not created. [ErrDateNotEnded] refuses a date that is
	// not over.
	Request(ctx context.Context, date *civil.Date, by, origin string) (run Run, created bool, err error)
	// Logs returns a run's log lines with ids above after.
	Logs(ctx context.Context, run, after int64, limit int) ([]LogLine, error)
}

// Run is a run and its latest attempt.
type Run struct {
	ID          int64      `json:"id" minimum:"1" example:"7" doc:"The run's id."`
	Kind        string     `json:"kind" enum:"nightly,backfill,manual" doc:"nightly and backfill: the configured sources, one run a logical date; manual: paths given by hand."`
	LogicalDate civil.Date `json:"logical_date" doc:"The day that the run is for: of a nightly run, the day that had just ended."`
	RequestedBy string     `json:"requested_by" example:"schedule" doc:"Who asked for the run."`
	Paths       []string   `json:"paths" nullable:"false" doc:"The paths given by hand; empty for the configured sources."`
	CreatedAt   time.Time  `json:"created_at" doc:"When the run was entered."`
	Status      string     `json:"status" enum:"due,running,retrying,interrupted,lost,succeeded,failed" doc:"Of the latest attempt. due: not started yet; running: started and not ended; retrying, interrupted, lost: to be tried again; succeeded and failed are final."`
	Attempt     int        `json:"attempt" format:"int32" minimum:"0" example:"1" doc:"The number of the latest attempt; 0 where there is none."`
	JobID       int64      `json:"job_id,omitempty" example:"12" doc:"The queue's job, for as long as the queue keeps it. Left out for a run in the foreground."`
	Worker      string     `json:"worker,omitempty" example:"worker-1:4711" doc:"Who works, or worked, on the attempt."`
	CodeVersion string     `json:"code_version,omitempty" example:"1.0.0" doc:"The program's version in that attempt."`
	StartedAt   time.Time  `json:"started_at,omitzero" doc:"When the attempt started."`
	FinishedAt  time.Time  `json:"finished_at,omitzero" doc:"When the attempt ended."`
	Error       string     `json:"error,omitempty" example:"inbox/2024-01-31.csv: no column \"amount\"" doc:"Why the attempt did not succeed."`
}

// answered fills what JSON must not leave null and puts times in UTC.
func (r Run) answered() Run {
	if r.Paths == nil {
		r.Paths = []string{}
	}
	r.CreatedAt, r.StartedAt, r.FinishedAt = r.CreatedAt.UTC(), r.StartedAt.UTC(), r.FinishedAt.UTC()
	return r
}

// RunPath is the path of what belongs to one run.
type RunPath struct {
	ID int64 `path:"id" minimum:"1" example:"7" doc:"The run's id."`
}

// Resolve is called by huma once the path has been read.
func (RunPath) Resolve(ctx huma.Context) []error { return plainDigits(ctx, "id") }

type (
	runsInput   struct{ PageQuery }
	getRunInput struct{ RunPath }
	runOutput   struct{ Body Run }
)

func (s *service) registerRuns(operations huma.API) {
	huma.Register(operations, huma.Operation{
		OperationID: "listRuns",
		Method:      http.MethodGet,
		Path:        "/runs",
		Tags:        []string{tagRuns},
		Summary:     "List the runs",
		Description: "All runs, the newest first, each with its latest attempt.",
		Responses: responses(success("A page of runs.", nil),
			notAcceptableResponse, invalidResponse, internalResponse, unavailableResponse),
	}, answering(s, s.listRuns))
	huma.Register(operations, huma.Operation{
		OperationID: "getRun",
		Method:      http.MethodGet,
		Path:        "/runs/{id}",
		Tags:        []string{tagRuns},
		Summary:     "Get a run",
		Description: "One run with its latest attempt.",
		Responses:   responses(success("The run.", nil), runResponses...),
	}, answering(s, s.getRun))
}

// RunRequest asks for a run.
type RunRequest struct {
	LogicalDate string `json:"logical_date,omitempty" format:"date" example:"2024-01-31" doc:"The day that the run is for; left out, the day that has just ended in the schedule's time zone."`
}

type (
	requestRunInput struct {
		Body *RunRequest // a pointer makes it optional
	}
	requestRunOutput struct {
		Status   int
		Location string `header:"Location" doc:"The run."`
		Body     Run
	}
)

func (s *service) registerRunRequest(operations huma.API) {
	entered := success("The run is entered, and waits for a worker.", nil)
	location := &huma.Header{Description: "The run's address.", Schema: &huma.Schema{Type: huma.TypeString, Examples: []any{"/runs/7"}}}
	there := success("The date has a run already; it is left as it is.", nil)
	for _, r := range []*huma.Response{entered, there} {
		r.Headers["Location"] = location
		r.Content[jsonContentType].Schema = operations.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Run](), true, "Run")
	}
	all := responses(there, badRequestResponse, notAcceptableResponse, requestTimeoutResponse, contentTooLargeResponse, unsupportedMediaResponse,
		invalidResponse, internalResponse, unavailableResponse)
	all["202"] = entered
	huma.Register(operations, huma.Operation{
		OperationID:   "requestRun",
		Method:        http.MethodPost,
		Path:          "/runs",
		Tags:          []string{tagRuns},
		Summary:       "Ask for a run",
		Description:   "Enters the run of a logical date over the configured sources, for the next worker to take. A date has one run: to ask twice is the same as to ask once. A run that is over is not started again by this; retry its job in River UI, or use `tally run --date`.",
		DefaultStatus: http.StatusAccepted,
		Metadata:      map[string]any{bodyProperties: operations.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[RunRequest](), false, "").Properties},
		Responses:     all,
	}, answering(s, s.requestRun))
}

func (s *service) requestRun(ctx context.Context, in *requestRunInput) (*requestRunOutput, error) {
	var date *civil.Date
	if in.Body != nil && in.Body.LogicalDate != "" {
		day, err := parseDay("body.logical_date", in.Body.LogicalDate)
		if err != nil {
			return nil, err
		}
		date = &day
	}
	run, created, err := s.runs.Request(ctx, date, Actor(ctx), origin(ctx))
	if errors.Is(err, ErrDateNotEnded) {
		return nil, invalid(ProblemError{Location: "body.logical_date", Message: "must be a day that is over"})
	}
	if err != nil {
		return nil, fmt.Errorf("request a run: %w", err)
	}
	out := &requestRunOutput{Status: http.StatusOK, Location: fmt.Sprintf("/runs/%d", run.ID), Body: run.answered()}
	if created {
		out.Status = http.StatusAccepted
	}
	return out, nil
}

func (s *service) listRuns(ctx context.Context, in *runsInput) (*pageOutput[Run], error) {
	start, err := in.start("runs")
	if err != nil {
		return nil, err
	}
	rows, err := s.runs.List(ctx, start.first, in.Limit+1)
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	for i := range rows {
		rows[i] = rows[i].answered()
	}
	return newPage(rows, in.PageQuery, "runs", "/runs", nil, func(r Run) place { return place{first: r.ID} }), nil
}

func (s *service) getRun(ctx context.Context, in *getRunInput) (*runOutput, error) {
	run, err := s.runs.Get(ctx, in.ID)
	if err != nil {
		return nil, fmt.Errorf("get a run: %w", err)
	}
	return &runOutput{Body: run.answered()}, nil
}

// listed tells an empty list from a run that does not exist. A cursor was made
// from an item of the run, so the run exists.
func (s *service) listed(ctx context.Context, run int64, items int, in PageQuery) error {
	if items > 0 || in.Cursor != "" {
		return nil
	}
	if _, err := s.runs.Get(ctx, run); err != nil {
		return fmt.Errorf("get the list's run: %w", err)
	}
	return nil
}
