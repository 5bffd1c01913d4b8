package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs/ledger"
)

// RunReader is what the API reads of the ledger. [ledger.Store] is one. Lists are in order of
// the key that they continue after; a limit is the most that is wanted. Of a run that
// does not exist a list is empty: the API asks Run then.
type RunReader interface {
	// Runs returns runs with ids below before, the newest first; before 0 means
	// from the newest.
	Runs(ctx context.Context, before int64, limit int) ([]ledger.Run, error)
	// Run returns a run, or [ledger.ErrRunNotFound].
	Run(ctx context.Context, id int64) (ledger.Run, error)
	// Files returns a run's files with ids above after.
	Files(ctx context.Context, run, after int64, limit int) ([]ledger.File, error)
	// Rejects returns the rows of a run's files that were not loaded.
	Rejects(ctx context.Context, q ledger.RejectQuery) ([]ledger.Reject, error)
	// Logs returns a run's log lines with ids above after.
	Logs(ctx context.Context, run, after int64, limit int) ([]ledger.LogLine, error)
}

// RunPath is the path of what belongs to one run.
type RunPath struct {
	ID int64 `path:"id" minimum:"1" example:"7" doc:"The run's id."`
}

// Resolve is called by huma once the path has been read.
func (RunPath) Resolve(ctx huma.Context) []error { return decimalDigits(ctx, "id") }

type (
	runsInput   struct{ PageQuery }
	getRunInput struct{ RunPath }
	runOutput   struct{ Body ledger.Run }
)

func (s *service) registerRuns(operations huma.API) {
	huma.Register(operations, huma.Operation{
		OperationID: "listRuns",
		Method:      http.MethodGet,
		Path:        "/runs",
		Tags:        []string{tagRuns},
		Summary:     "List the runs",
		Description: "All runs, newest first, each with its latest attempt.",
		Responses:   responses(success("A page of runs.", nil), unavailableResponse),
	}, withProblems(s, s.listRuns))
	huma.Register(operations, huma.Operation{
		OperationID: "getRun",
		Method:      http.MethodGet,
		Path:        "/runs/{id}",
		Tags:        []string{tagRuns},
		Summary:     "Get a run",
		Description: "One run with its latest attempt.",
		Responses:   responses(success("The run.", nil), runResponses...),
	}, withProblems(s, s.getRun))
}

// RunRequest asks for a run.
type RunRequest struct {
	LogicalDate Day `json:"logical_date,omitempty" example:"2024-01-31" doc:"The logical date of the run. Default: the day that has just ended in the schedule's time zone."`
}

type (
	requestRunInput struct {
		Body *RunRequest // a pointer makes it optional
	}
	requestRunOutput struct {
		Status   int
		Location string `header:"Location" doc:"The run."`
		Body     ledger.Run
	}
)

func (s *service) registerRunRequest(operations huma.API) {
	entered := success("The run is enqueued.", nil)
	location := &huma.Header{Description: "The run's address.", Schema: &huma.Schema{Type: huma.TypeString, Examples: []any{"/runs/7"}}}
	there := success("The date already has a run, which is unchanged.", nil)
	for _, r := range []*huma.Response{entered, there} {
		r.Headers["Location"] = location
		r.Content[jsonContentType].Schema = operations.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[ledger.Run](), true, "Run")
	}
	all := responses(there, requestTimeoutResponse, unsupportedMediaResponse, unavailableResponse)
	all["202"] = entered
	huma.Register(operations, huma.Operation{
		OperationID:   "requestRun",
		Method:        http.MethodPost,
		Path:          "/runs",
		Tags:          []string{tagRuns},
		Summary:       "Request a run",
		Description:   "Enqueues the run of a logical date over the configured sources. A date has one run: repeating the request changes nothing. A finished run is not restarted; retry its job in River UI, or use `tally run --date`.",
		DefaultStatus: http.StatusAccepted,
		Metadata:      map[string]any{bodyProperties: operations.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[RunRequest](), false, "").Properties},
		Responses:     all,
	}, withProblems(s, s.requestRun))
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
	run, err := s.request(ctx, date, Actor(ctx), origin(ctx))
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

func (s *service) listRuns(ctx context.Context, in *runsInput) (*pageOutput[ledger.Run], error) {
	start, err := in.start("runs")
	if err != nil {
		return nil, err
	}
	rows, err := s.runs.Runs(ctx, start.first, in.Limit+1)
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	return newPage(rows, in.PageQuery, "runs", "/runs", nil, func(r ledger.Run) position { return position{first: r.ID} }), nil
}

func (s *service) getRun(ctx context.Context, in *getRunInput) (*runOutput, error) {
	run, err := s.runs.Run(ctx, in.ID)
	if err != nil {
		return nil, fmt.Errorf("get a run: %w", err)
	}
	return &runOutput{Body: run}, nil
}

// listed tells an empty list from a run that does not exist. A cursor was made
// from an item of the run, so the run exists.
func (s *service) requireRun(ctx context.Context, run int64, items int, in PageQuery) error {
	if items > 0 || in.Cursor != "" {
		return nil
	}
	if _, err := s.runs.Run(ctx, run); err != nil {
		return fmt.Errorf("get the list's run: %w", err)
	}
	return nil
}
