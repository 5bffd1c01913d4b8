package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opentax/tally/jobs/ledger"
)

type filesInput struct {
	RunPath
	PageQuery
}

func (s *service) registerFiles(operations huma.API) {
	huma.Register(operations, huma.Operation{
		OperationID: "listRunFiles",
		Method:      http.MethodGet,
		Path:        "/runs/{id}/files",
		Tags:        []string{tagRuns},
		Summary:     "List a run's files",
		Description: "The files that a run has finished reading, in that order. Files with content that was loaded before appear only in the run's log.",
		Responses:   responses(success("A page of files.", nil), runResponses...),
	}, withProblems(s, s.listFiles))
}

func (s *service) listFiles(ctx context.Context, in *filesInput) (*pageOutput[ledger.File], error) {
	list := fmt.Sprintf("runs/%d/files", in.ID)
	start, err := in.start(list)
	if err != nil {
		return nil, err
	}
	rows, err := s.runs.Files(ctx, in.ID, start.first, in.Limit+1)
	if err != nil {
		return nil, fmt.Errorf("list a run's files: %w", err)
	}
	if err := s.requireRun(ctx, in.ID, len(rows), in.PageQuery); err != nil {
		return nil, err
	}
	return newPage(rows, in.PageQuery, list, "/"+list, nil, func(f ledger.File) position { return position{first: f.ID} }), nil
}
