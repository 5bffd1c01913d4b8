package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/danielgtaylor/huma/v2"
)

// RejectQuery asks for a run's rows that were not loaded, in order of file and
// line, after a place.
type RejectQuery struct {
	RunID     int64
	Outcome   string // rejected, duplicate or conflict; empty means all
	AfterFile int64
	AfterLine int64
	Limit     int
}

// Reject is a row that was read and not loaded.
type Reject struct {
	FileID        int64    `json:"file_id" minimum:"1" example:"3" doc:"The file that the row is in."`
	Line          int64    `json:"line" minimum:"1" example:"42" doc:"The line on which it starts; the header is line 1."`
	Outcome       string   `json:"outcome" enum:"rejected,duplicate,conflict" doc:"rejected: it has faults; duplicate: a stored row has its id and values; conflict: a stored row has its id and other values."`
	Faults        []string `json:"faults" nullable:"false" example:"[\"missing_amount\"]" doc:"All its faults, the one that counts first; empty unless rejected."`
	TransactionID string   `json:"transaction_id,omitempty" example:"TXN186490" doc:"The row's id, where it could be read."`
	KeptFileID    int64    `json:"kept_file_id,omitempty" example:"1" doc:"Of a duplicate or conflict: the file of the row that was kept."`
	KeptLine      int64    `json:"kept_line,omitempty" example:"40" doc:"The kept row's line in that file."`
	Raw           string   `json:"raw" example:"TXN186490,1633,,2024-01-31" doc:"The row as it stands in the file, at most its first 65536 bytes; bytes that are no text are shown as U+FFFD."`
	RawBytes      []byte   `json:"raw_bytes,omitempty" doc:"The same to the byte, where raw cannot be."`
	RawLength     int64    `json:"raw_length" minimum:"0" example:"26" doc:"Length of the row in the file, in bytes."`
}

func (r Reject) answered() Reject {
	if r.Faults == nil {
		r.Faults = []string{}
	}
	return r
}

func (r Reject) size() int { return len(r.Raw) + len(r.RawBytes) }

type rejectsInput struct {
	RunPath
	PageQuery
	Outcome string `query:"outcome" enum:"rejected,duplicate,conflict" doc:"Only rows with this outcome."`
}

func (s *service) registerRejects(operations huma.API) {
	huma.Register(operations, huma.Operation{
		OperationID: "listRunRejects",
		Method:      http.MethodGet,
		Path:        "/runs/{id}/rejects",
		Tags:        []string{tagRuns},
		Summary:     "List a run's rows that were not loaded",
		Description: "Every row of a run's files that was read and not loaded, in order of file and line, with its text and all its faults. A page ends early where its rows' text comes to 4 MiB.",
		Responses:   responses(success("A page of rows.", nil), runResponses...),
	}, answering(s, s.listRejects))
}

func (s *service) listRejects(ctx context.Context, in *rejectsInput) (*pageOutput[Reject], error) {
	list := fmt.Sprintf("runs/%d/rejects", in.ID)
	path, query := "/"+list, url.Values{}
	if in.Outcome != "" {
		list += "/" + in.Outcome
		query.Set("outcome", in.Outcome)
	}
	start, err := in.start(list)
	if err != nil {
		return nil, err
	}
	rows, more, err := s.readRejects(ctx, in, start)
	if err != nil {
		return nil, fmt.Errorf("list a run's rejects: %w", err)
	}
	if err := s.listed(ctx, in.ID, len(rows), in.PageQuery); err != nil {
		return nil, err
	}
	out := &pageOutput[Reject]{Body: Page[Reject]{Items: rows}}
	if more {
		out.next(in.PageQuery, rows[len(rows)-1].place().cursor(list), path, query)
	}
	return out, nil
}

func (r Reject) place() place { return place{r.FileID, r.Line} }

// A row's text is at most 64 KiB, so a thousand would be 64 MiB: they are read
// in batches, up to a sum.
const (
	rejectBatch    = defaultLimit + 1
	maxRejectBytes = 4 << 20
)

// readRejects reads a page, and says whether there is more.
func (s *service) readRejects(ctx context.Context, in *rejectsInput, after place) ([]Reject, bool, error) {
	rows, size := []Reject{}, 0
	for {
		want := min(rejectBatch, in.Limit+1-len(rows))
		batch, err := s.runs.Rejects(ctx, RejectQuery{
			RunID: in.ID, Outcome: in.Outcome, AfterFile: after.first, AfterLine: after.second, Limit: want,
		})
		if err != nil {
			return nil, false, err
		}
		for _, r := range batch {
			if len(rows) == in.Limit || (len(rows) > 0 && size+r.size() > maxRejectBytes) {
				return rows, true, nil
			}
			rows, size = append(rows, r.answered()), size+r.size()
		}
		if len(batch) < want {
			return rows, false, nil
		}
		after = rows[len(rows)-1].place()
	}
}
