package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opentax/tally/jobs/ledger"
)

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
		Summary:     "List the rows a run did not load",
		Description: "Every row of a run's files that was not loaded, in order of file and line, with its text and all its faults. A page ends early when the text of its rows reaches 4 MiB.",
		Responses:   responses(success("A page of rows.", nil), runResponses...),
	}, withProblems(s, s.listRejects))
}

func (s *service) listRejects(ctx context.Context, in *rejectsInput) (*pageOutput[ledger.Reject], error) {
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
	if err := s.requireRun(ctx, in.ID, len(rows), in.PageQuery); err != nil {
		return nil, err
	}
	out := &pageOutput[ledger.Reject]{Body: Page[ledger.Reject]{Items: rows}}
	if more {
		out.next(in.PageQuery, positionOf(rows[len(rows)-1]).cursor(list), path, query)
	}
	return out, nil
}

func positionOf(r ledger.Reject) position { return position{r.FileID, r.Line} }

func sizeOf(r ledger.Reject) int { return len(r.Raw) + len(r.RawBytes) }

// A row's text is at most 64 KiB, so a thousand would be 64 MiB: they are read
// in batches, up to a sum.
const (
	rejectBatch    = defaultLimit + 1
	maxRejectBytes = 4 << 20
)

// readRejects reads a page, and reports whether there is more.
func (s *service) readRejects(ctx context.Context, in *rejectsInput, after position) ([]ledger.Reject, bool, error) {
	rows, size := []ledger.Reject{}, 0
	for {
		want := min(rejectBatch, in.Limit+1-len(rows))
		batch, err := s.runs.Rejects(ctx, ledger.RejectQuery{
			RunID: in.ID, Outcome: in.Outcome, AfterFile: after.first, AfterLine: after.second, Limit: want,
		})
		if err != nil {
			return nil, false, err
		}
		for _, r := range batch {
			if len(rows) == in.Limit || (len(rows) > 0 && size+sizeOf(r) > maxRejectBytes) {
				return rows, true, nil
			}
			rows, size = append(rows, r), size+sizeOf(r)
		}
		if len(batch) < want {
			return rows, false, nil
		}
		after = positionOf(rows[len(rows)-1])
	}
}
