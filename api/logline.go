package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opentax/tally/jobs/ledger"
)

type logsInput struct {
	RunPath
	PageQuery
}

// LogPage is a page of log lines. Unlike any other it always has a cursor.
type LogPage struct {
	Items      []ledger.LogLine `json:"items" nullable:"false" doc:"The lines, oldest first."`
	NextCursor string           `json:"next_cursor" doc:"The cursor of the next page, which starts after the last line read so far."`
}

type logsOutput struct {
	Link string `header:"Link" doc:"The next page, as rel=\"next\"."`
	Body LogPage
}

func (s *service) registerLogs(operations huma.API) {
	huma.Register(operations, huma.Operation{
		OperationID: "listRunLogs",
		Method:      http.MethodGet,
		Path:        "/runs/{id}/logs",
		Tags:        []string{tagRuns},
		Summary:     "List a run's log lines",
		Description: "A run's log lines, oldest first, also while it runs. To follow a run, repeat the request with next_cursor, which every page has: a page without items means that there is nothing new yet.",
		Responses:   responses(success("A page of log lines.", nil), runResponses...),
	}, withProblems(s, s.listLogs))
}

func (s *service) listLogs(ctx context.Context, in *logsInput) (*logsOutput, error) {
	list := fmt.Sprintf("runs/%d/logs", in.ID)
	start, err := in.start(list)
	if err != nil {
		return nil, err
	}
	rows, err := s.runs.Logs(ctx, in.ID, start.first, in.Limit)
	if err != nil {
		return nil, fmt.Errorf("list a run's log lines: %w", err)
	}
	if err := s.requireRun(ctx, in.ID, len(rows), in.PageQuery); err != nil {
		return nil, err
	}
	if rows == nil {
		rows = []ledger.LogLine{}
	}
	if len(rows) > 0 {
		start = position{first: rows[len(rows)-1].ID}
	}
	page := pageOutput[ledger.LogLine]{}
	page.next(in.PageQuery, start.cursor(list), "/"+list, nil)
	return &logsOutput{Link: page.Link, Body: LogPage{Items: rows, NextCursor: page.Body.NextCursor}}, nil
}
