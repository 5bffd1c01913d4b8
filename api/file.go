package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/opentax/tally/internal/money"

	"github.com/danielgtaylor/huma/v2"
)

// File is a file whose reading ended: what was in it and what became of it. The
// counts add up: read = loaded + duplicate + conflict + rejected.
type File struct {
	ID          int64            `json:"id" minimum:"1" example:"3" doc:"The file's id."`
	RunID       int64            `json:"run_id" minimum:"1" example:"7" doc:"The run that read it."`
	Attempt     int              `json:"attempt" format:"int32" minimum:"1" example:"1" doc:"The attempt that read it."`
	Source      string           `json:"source" example:"inbox" doc:"The source that it belongs to."`
	Path        string           `json:"path" example:"inbox/2024-01-31.csv" doc:"Where it was read."`
	SHA256      string           `json:"sha256,omitempty" pattern:"^[0-9a-f]{64}$" doc:"Checksum of the content after decompression, in hexadecimal."`
	Bytes       int64            `json:"bytes" minimum:"0" example:"48213" doc:"Length of the content after decompression."`
	Status      string           `json:"status" enum:"loaded,failed" doc:"loaded: its rows are in; failed: nothing of it is."`
	ErrorCode   string           `json:"error_code,omitempty" example:"missing_column" doc:"Why the file failed, as a code."`
	Error       string           `json:"error,omitempty" doc:"Why the file failed, in words."`
	Read        int64            `json:"read" minimum:"0" example:"1015" doc:"Rows read."`
	Loaded      int64            `json:"loaded" minimum:"0" example:"784" doc:"Rows loaded."`
	Duplicate   int64            `json:"duplicate" minimum:"0" example:"11" doc:"Rows that repeat a stored row, with the same values."`
	Conflict    int64            `json:"conflict" minimum:"0" example:"14" doc:"Rows with the id of a stored row, and other values."`
	Rejected    int64            `json:"rejected" minimum:"0" example:"206" doc:"Rows with a fault."`
	Replaced    int64            `json:"replaced" minimum:"0" example:"0" doc:"Those of loaded that took a stored row's place."`
	Faults      map[string]int64 `json:"faults" example:"{\"missing_amount\":199,\"missing_date\":7}" doc:"Rejected rows by their first fault; the values add up to rejected."`
	TotalAmount money.Sum        `json:"total_amount" doc:"The exact sum of the loaded rows' amounts."`
	Rules       Object           `json:"rules" doc:"The source's rules under which the file was read."`
	CodeVersion string           `json:"code_version" example:"1.0.0" doc:"The program's version that read it."`
	StartedAt   time.Time        `json:"started_at" doc:"When its reading started."`
	FinishedAt  time.Time        `json:"finished_at" doc:"When its reading ended."`
}

func (f File) answered() File {
	if f.Faults == nil {
		f.Faults = map[string]int64{}
	}
	f.StartedAt, f.FinishedAt = f.StartedAt.UTC(), f.FinishedAt.UTC()
	return f
}

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
		Description: "The files that a run has read to their end, in that order. Content that had been loaded before is in the run's log, and not here.",
		Responses:   responses(success("A page of files.", nil), runResponses...),
	}, answering(s, s.listFiles))
}

func (s *service) listFiles(ctx context.Context, in *filesInput) (*pageOutput[File], error) {
	list := fmt.Sprintf("runs/%d/files", in.ID)
	start, err := in.start(list)
	if err != nil {
		return nil, err
	}
	rows, err := s.runs.Files(ctx, in.ID, start.first, in.Limit+1)
	if err != nil {
		return nil, fmt.Errorf("list a run's files: %w", err)
	}
	if err := s.listed(ctx, in.ID, len(rows), in.PageQuery); err != nil {
		return nil, err
	}
	for i := range rows {
		rows[i] = rows[i].answered()
	}
	return newPage(rows, in.PageQuery, list, "/"+list, nil, func(f File) place { return place{first: f.ID} }), nil
}
