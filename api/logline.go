package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// LogLine is a line that an attempt logged while it ran.
type LogLine struct {
	ID      int64     `json:"id" minimum:"1" example:"101" doc:"The line's id; ids ascend."`
	Attempt int       `json:"attempt" format:"int32" minimum:"1" example:"1" doc:"The attempt that logged it."`
	At      time.Time `json:"at" doc:"When it was logged."`
	Level   string    `json:"level" example:"INFO" doc:"The line's level."`
	Message string    `json:"message" example:"file loaded" doc:"What happened."`
	Attrs   Object    `json:"attrs" doc:"What the line says besides."`
}

func (l LogLine) answered() LogLine {
	l.At = l.At.UTC()
	return l
}

type logsInput struct {
	RunPath
	PageQuery
}

// LogPage is a page of log lines. Unlike any other it always has a cursor.
type LogPage struct {
	Items      []LogLine `json:"items" nullable:"false" doc:"The lines, the oldest first."`
	NextCursor string    `json:"next_cursor" doc:"Where to go on: after the last line of this page, or after the lines read before where it has none."`
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
	for i := range rows {
		rows[i] = rows[i].answered()
		start = place{first: rows[i].ID}
	}
	if rows == nil {
		rows = []LogLine{}
	}
	page := pageOutput[LogLine]{}
	page.next(in.PageQuery, start.cursor(list), "/"+list, nil)
	return &logsOutput{Link: page.Link, Body: LogPage{Items: rows, NextCursor: page.Body.NextCursor}}, nil
}
