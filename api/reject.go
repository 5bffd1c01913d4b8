package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opentax/tally/api/console"
	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/jobs/ledger"
)

// Changes lists what was not loaded, and changes loaded data, as jobs.Service does. Errors
// are those of [ledger].
type Changes interface {
	Rejects(ctx context.Context, f ledger.RejectFilter) ([]ledger.ListedReject, error)
	Replay(ctx context.Context, r ledger.ReplayRequest) (reject.ReplayResult, error)
	Fix(ctx context.Context, r ledger.FixRequest) (ledger.ListedReject, error)
	Settle(ctx context.Context, id reject.ID, take bool, by audit.By) (ledger.ListedReject, error)
	Discard(ctx context.Context, id reject.ID, by audit.By) (ledger.ListedReject, error)
	Revert(ctx context.Context, r ledger.RevertRequest) (reject.RevertResult, error)
	// RequestRetirement enqueues a retirement of months. If the same one is unfinished, it returns
	// that one, not marked as created; if another one is, [ledger.ErrRetiring].
	RequestRetirement(ctx context.Context, r ledger.RetireRequest) (ledger.Retirement, error)
}

// RejectID is a reject's file and line.
type RejectID string

const rejectIDPattern = "^[1-9][0-9]{0,17}:[1-9][0-9]{0,17}$"

// Schema describes an id to huma.
func (RejectID) Schema(huma.Registry) *huma.Schema {
	shortest, longest := 3, 37
	return &huma.Schema{Type: huma.TypeString, Pattern: rejectIDPattern, MinLength: &shortest, MaxLength: &longest, Examples: []any{"3:42"}}
}

func (id RejectID) parse() (reject.ID, error) {
	parsed, err := reject.ParseID(string(id))
	if err != nil {
		return parsed, fmt.Errorf("%w: %w", ledger.ErrRejectNotFound, err)
	}
	return parsed, nil
}

// RejectPath is the path of a reject.
type RejectPath struct {
	ID RejectID `path:"reject_id" doc:"The reject's file and line."`
}

// RejectQuery is the filters of rejects.
type RejectQuery struct {
	PageQuery
	FileID  int64  `query:"file_id" minimum:"1" doc:"Only rows of this file."`
	Fault   string `query:"fault" minLength:"1" maxLength:"50" pattern:"^[a-z0-9_]+$" example:"missing_amount" doc:"Only rows with this fault."`
	Source  string `query:"source" minLength:"1" maxLength:"200" doc:"Only rows of this source's files."`
	Date    Day    `query:"date" doc:"Only rows of files of this logical date."`
	State   string `query:"state" enum:"open,replayed,fixed,settled,discarded" default:"open" doc:"What became of them."`
	Outcome string `query:"outcome" enum:"rejected,conflict,duplicate" doc:"Only rows with this outcome. Default: rejected and conflict."`
}

func (q *RejectQuery) filter() (f ledger.RejectFilter, err error) {
	f = ledger.RejectFilter{FileID: q.FileID, Fault: q.Fault, Source: q.Source, State: q.State, Outcome: q.Outcome}
	f.Date, err = q.Date.optional("query.date")
	return f, err
}

func (d Day) optional(location string) (*civil.Date, error) {
	if d == "" {
		return nil, nil //nolint:nilnil // no day is no error
	}
	day, err := d.parse(location, 0)
	return &day, err
}

// list has the filters that are set, for its cursors.
func (q *RejectQuery) list() list {
	l := list{PageQuery: q.PageQuery, path: "rejects", filter: url.Values{}}
	for name, value := range map[string]string{
		"fault": q.Fault, "source": q.Source, "date": string(q.Date), "state": q.State, "outcome": q.Outcome,
	} {
		if value != "" {
			l.filter.Set(name, value)
		}
	}
	if q.FileID != 0 {
		l.filter.Set("file_id", strconv.FormatInt(q.FileID, 10))
	}
	return l
}

// ListedRejects is a page of rejects, as JSON or CSV.
type ListedRejects struct {
	Page[ledger.ListedReject]
	csv bool
}

// ContentType tells huma the media type.
func (p ListedRejects) ContentType(otherwise string) string {
	if p.csv {
		return csvContentType
	}
	return otherwise
}

func (p ListedRejects) writeCSV(w io.Writer) error {
	if _, err := io.WriteString(w, ledger.CSVHead); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return ledger.WriteCSV(w, p.Items)
}

// ReplayBody selects the rejects of a replay.
type ReplayBody struct {
	IDs    []RejectID `json:"ids,omitempty" minItems:"1" maxItems:"1000" nullable:"false" doc:"The rejects. Default: the open rejected rows that the filters select, at most 100000."`
	FileID int64      `json:"file_id,omitempty" minimum:"1" doc:"Only rows of this file."`
	Fault  string     `json:"fault,omitempty" minLength:"1" maxLength:"50" pattern:"^[a-z0-9_]+$" example:"ambiguous_date" doc:"Only rows with this fault."`
	Source string     `json:"source,omitempty" minLength:"1" maxLength:"200" doc:"Only rows of this source's files."`
	Date   Day        `json:"date,omitempty" doc:"Only rows of files of this logical date."`
	DryRun bool       `json:"dry_run,omitempty" doc:"Answer what would become of them, and change nothing."`
}

// FixBody is corrected values.
type FixBody struct {
	TransactionID string `json:"transaction_id,omitempty" minLength:"1" maxLength:"50" doc:"Transaction id."`
	UserID        int32  `json:"user_id,omitempty" minimum:"1" maximum:"2147483647" doc:"User id."`
	Amount        string `json:"amount,omitempty" maxLength:"30" pattern:"^-?[0-9]+(\\.[0-9]+)?$" example:"-1250.50" doc:"Amount, of at most 15 digits and 4 decimals."`
	Date          Day    `json:"date,omitempty" doc:"Day of the transaction."`
	Reason        string `json:"reason" minLength:"1" maxLength:"1000" doc:"Why, for the audit chain."`
}

// SettleBody decides a conflict.
type SettleBody struct {
	Decision string `json:"decision" enum:"keep,take" doc:"keep: the stored row stays; take: this row takes its place."`
	Reason   string `json:"reason,omitempty" maxLength:"1000" doc:"Why, for the audit chain."`
}

// DiscardBody is why a reject is closed.
type DiscardBody struct {
	Reason string `json:"reason" minLength:"1" maxLength:"1000" doc:"Why, for the audit chain."`
}

// RevertBody is how a file, or those of a run, are reverted.
type RevertBody struct {
	DryRun bool   `json:"dry_run,omitempty" doc:"Answer what would change, and change nothing."`
	Reason string `json:"reason,omitempty" maxLength:"1000" doc:"Why, for the audit chain."`
}

type (
	listedRejectsOutput struct {
		Link string `header:"Link" doc:"The next page, as rel=\"next\"; omitted on the last page."`
		Body ListedRejects
	}
	replayInput  struct{ Body ReplayBody }
	replayOutput struct{ Body reject.ReplayResult }
	fixInput     struct {
		RejectPath
		Body FixBody
	}
	settleInput struct {
		RejectPath
		Body SettleBody
	}
	discardInput struct {
		RejectPath
		Body DiscardBody
	}
	rejectOutput struct{ Body ledger.ListedReject }
	revertInput  struct {
		ID   int64       `path:"file_id" minimum:"1" example:"3" doc:"The file's id."`
		Body *RevertBody // a pointer makes it optional
	}
	revertRunInput struct {
		RunPath
		Body *RevertBody
	}
	revertOutput struct{ Body reject.RevertResult }
)

func (s *service) listAllRejects(ctx context.Context, in *RejectQuery) (*listedRejectsOutput, error) {
	filter, err := in.filter()
	if err != nil {
		return nil, err
	}
	rejects := in.list()
	after, err := rejects.start()
	if err != nil {
		return nil, err
	}
	rows, more, err := readSized(after, in.Limit, listedPosition, func(after position, limit int) ([]ledger.ListedReject, error) {
		filter.After, filter.Limit = reject.ID{FileID: after.first, Line: after.second}, limit
		return s.Changes.Rejects(ctx, filter)
	}, func(r ledger.ListedReject) int { return len(r.Raw) + len(r.RawBytes) })
	if err != nil {
		return nil, err
	}
	page := newPage(rejects, rows, more, listedPosition)
	csv, _ := ctx.Value(csvKey{}).(bool)
	return &listedRejectsOutput{Link: page.Link, Body: ListedRejects{page.Body, csv}}, nil
}

func listedPosition(r ledger.ListedReject) position { return position{r.FileID, r.Line} }

func changedBy(ctx context.Context, reason string) audit.By {
	return audit.By{Actor: Actor(ctx), Reason: reason}
}

func (s *service) replayRejects(ctx context.Context, in *replayInput) (*replayOutput, error) {
	b := &in.Body
	r := ledger.ReplayRequest{DryRun: b.DryRun, MaxRows: console.MaxChange, By: changedBy(ctx, "")}
	r.Filter = ledger.RejectFilter{FileID: b.FileID, Fault: b.Fault, Source: b.Source}
	var err error
	if r.Filter.Date, err = b.Date.optional("body.date"); err != nil {
		return nil, err
	}
	if len(b.IDs) > 0 && r.Filter != (ledger.RejectFilter{}) {
		return nil, invalid(ProblemError{Location: "body.ids", Message: "must not be combined with filters"})
	}
	for _, id := range b.IDs {
		parsed, err := id.parse()
		if err != nil {
			return nil, err
		}
		r.IDs = append(r.IDs, parsed)
	}
	result, err := s.Changes.Replay(ctx, r)
	return &replayOutput{result}, err
}

func (s *service) fixReject(ctx context.Context, in *fixInput) (*rejectOutput, error) {
	b := &in.Body
	r := ledger.FixRequest{TransactionID: b.TransactionID, Amount: b.Amount, Date: string(b.Date), By: changedBy(ctx, b.Reason)}
	if b.UserID != 0 {
		r.UserID = strconv.Itoa(int(b.UserID))
	}
	if r.TransactionID+r.Amount+r.Date+r.UserID == "" {
		return nil, invalid(ProblemError{Location: "body", Message: "must have a corrected value"})
	}
	var err error
	if r.ID, err = in.ID.parse(); err != nil {
		return nil, err
	}
	reject, err := s.Changes.Fix(ctx, r)
	return &rejectOutput{reject}, err
}

func (s *service) settleReject(ctx context.Context, in *settleInput) (*rejectOutput, error) {
	id, err := in.ID.parse()
	if err != nil {
		return nil, err
	}
	reject, err := s.Changes.Settle(ctx, id, in.Body.Decision == "take", changedBy(ctx, in.Body.Reason))
	return &rejectOutput{reject}, err
}

func (s *service) discardReject(ctx context.Context, in *discardInput) (*rejectOutput, error) {
	id, err := in.ID.parse()
	if err != nil {
		return nil, err
	}
	reject, err := s.Changes.Discard(ctx, id, changedBy(ctx, in.Body.Reason))
	return &rejectOutput{reject}, err
}

func (s *service) revertFile(ctx context.Context, in *revertInput) (*revertOutput, error) {
	return s.revert(ctx, ledger.RevertRequest{Files: []int64{in.ID}}, in.Body)
}

func (s *service) revertRun(ctx context.Context, in *revertRunInput) (*revertOutput, error) {
	return s.revert(ctx, ledger.RevertRequest{RunID: in.ID}, in.Body)
}

func (s *service) revert(ctx context.Context, r ledger.RevertRequest, body *RevertBody) (*revertOutput, error) {
	r.MaxRows = console.MaxChange
	if body != nil {
		r.DryRun, r.By.Reason = body.DryRun, body.Reason
	}
	r.By.Actor = Actor(ctx)
	result, err := s.Changes.Revert(ctx, r)
	return &revertOutput{result}, err
}

// registerRejects adds the operations after the load.
func (s *service) registerRejects(api huma.API) {
	rejects := get(tagRejects, "listRejects", "/rejects", "List rejects",
		"Rows that were not loaded, of files that are loaded and were not reverted, in order of file and line: by default the open rejected "+
			"rows and conflicts. Each has its text and the cell that its first fault is about, a conflict both versions. A page ends early when "+
			"the text of its rows reaches 4 MiB. As text/csv for spreadsheets: a cell that would be a formula starts with an apostrophe.",
		"A page of rejects.", kindUnavailable)
	rejects.Responses["200"].Content[csvContentType] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	rejects.Metadata = map[string]any{producesCSV: true}
	addOperation(s, api, s.listAllRejects, rejects)
	const limits = " One request changes at most 100000 rows; the command line has no such limit."
	addOperation(s, api, s.replayRejects, change[ReplayBody](api, "replayRejects", "/rejects/replay", "Replay rejects",
		"Reads open rejected rows again under the settings of today, and loads those that pass, in one commit. Repeated, it changes nothing more."+limits,
		"What became of the rows.", kindRejectNotFound))
	addOperation(s, api, s.fixReject, change[FixBody](api, "fixReject", "/rejects/{reject_id}/fix", "Fix a reject",
		"Loads a rejected row or a conflict with corrected values. It may end as a conflict, which stays open and keeps them.", "The reject as it is now.", kindRejectNotFound))
	addOperation(s, api, s.settleReject, change[SettleBody](api, "settleReject", "/rejects/{reject_id}/settle", "Settle a conflict",
		"Decides a conflict: the stored row stays, or this one takes its place.", "The reject as it is now.", kindRejectNotFound))
	addOperation(s, api, s.discardReject, change[DiscardBody](api, "discardReject", "/rejects/{reject_id}/discard", "Discard a reject",
		"Closes a rejected row or a conflict without loading it.", "The reject as it is now.", kindRejectNotFound))
	addOperation(s, api, s.revertFile, change[RevertBody](api, "revertFile", "/files/{file_id}/revert", "Revert a file",
		"Takes the rows of a loaded file back out in one commit. Rows that they had replaced are stored again, and rows of other files that had "+
			"lost against them are read again."+limits, "What changed.", kindFileNotFound))
	addOperation(s, api, s.revertRun, change[RevertBody](api, "revertRun", "/runs/{id}/revert", "Revert a run's files",
		"Does the same with all files that a run loaded and that are not reverted yet, in one commit."+limits, "What changed.", kindRunNotFound))
}

// change returns a POST operation with a body, for operators.
func change[Body any](api huma.API, id, path, summary, description, ok string, notFound kind) huma.Operation {
	op := get(tagRejects, id, path, summary, description, ok, notFound, kindNotOpen, kindRequestTimeout, kindUnsupportedMedia, kindUnavailable)
	op.Method = http.MethodPost
	op.Metadata = map[string]any{bodyProperties: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Body](), false, "").Properties}
	return op
}
