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
	Items      []ledger.LogLine `json:"items" nullable:"false" doc:"The lines, the oldest first."`
	NextCursor string           `json:"next_cursor" doc:"Where to go on: after the last line of this page, or after the lines read before where it has none."`
}

type logsOutput struct {
	Link string `header:"Link" doc:"Where to go on, as rel=\"next\"."`
	Body LogPage
}

func (s *service) registerLogs(operations huma.API) {
	huma.Register(operations, huma.Operation{
		OperationID: "listRunLogs",
		Method:      http.MethodGet,
		Path:        "/runs/{id}/logs",
		Tags:        []string{tagRuns},
		Summary:     "List a run's log lines",
		Description: "What a run logged, the oldest line first, while it runs too. To follow a run, ask again with next_cursor, which every page has: a page without items says that there is nothing new yet.",
		Responses:   responses(success("A page of log lines.", nil), runResponses...),
	}, answering(s, s.listLogs))
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
	if err := s.listed(ctx, in.ID, len(rows), in.PageQuery); err != nil {
		return nil, err
	}
	if rows == nil {
		rows = []ledger.LogLine{}
	}
	if len(rows) > 0 {
		start = place{first: rows[len(rows)-1].ID}
	}
	page := pageOutput[ledger.LogLine]{}
	page.next(in.PageQuery, start.cursor(list), "/"+list, nil)
	return &logsOutput{Link: page.Link, Body: LogPage{Items: rows, NextCursor: page.Body.NextCursor}}, nil
}
