package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/summaries"
)

const (
	runHeader   = "Tally-Run"
	summaryPath = "/transactions/{user_id}/summary"
	revalidate  = "private, no-cache" // the client may cache a response, and asks each time whether it is current
)

// The values of constant headers, shared by all responses.
var (
	revalidateHeader = []string{revalidate}
	jsonHeader       = []string{jsonContentType}
)

// UserPath is the path of a user. It is exported because huma skips unexported embedded
// types; so are RunPath and PageQuery.
type UserPath struct {
	UserID int32 `path:"user_id" minimum:"1" maximum:"2147483647" example:"123" doc:"The user's id."`
}

// Summary is the contract's answer: these four keys, in this order.
type Summary struct {
	UserID            int32     `json:"user_id" minimum:"1" example:"123" doc:"The user's id."`
	TotalTransactions int64     `json:"total_transactions" minimum:"1" example:"50" doc:"The number of the user's transactions."`
	TotalAmount       money.Sum `json:"total_amount" doc:"The exact sum of the amounts."`
	Average           money.Sum `json:"average_transaction_amount" example:"204.81" doc:"total_amount / total_transactions, rounded half away from zero to two decimals."`
}

func summariesOf(sums []summaries.Summary) []Summary {
	list := make([]Summary, len(sums))
	for i, s := range sums {
		list[i] = Summary{s.UserID, s.Transactions, s.Total, s.Average()}
	}
	return list
}

// SummaryList is the summaries of several users.
type SummaryList struct {
	Items   []Summary `json:"items" nullable:"false" doc:"The summaries of the users with transactions, in order of id, each once."`
	Missing []int32   `json:"missing" nullable:"false" example:"[456]" doc:"The requested ids without transactions, in order, each once."`
}

// TopUsers is the first users in an order.
type TopUsers struct {
	Items []Summary `json:"items" nullable:"false" doc:"The summaries, largest first; ties are in order of user id."`
}

type (
	summaryInput struct {
		UserPath
		RangeQuery
		AsOf Moment `query:"as_of" example:"2024-06-30T00:00Z" doc:"The summary as of this moment: after the last change of any data up to it. Default: now. A + in its offset is written %2B."`
		Conditions
	}
	summariesInput struct {
		UserIDs []int32 `query:"user_id" required:"true" nullable:"false" minItems:"1" maxItems:"1000" example:"[123,456]" doc:"The users' ids, at most 1000, repeated (user_id=123&user_id=456) or comma-separated (user_id=123,456)."`
	}
	topInput struct {
		By    string `query:"by" enum:"total_amount,total_transactions" default:"total_amount" doc:"The figure to sort by, largest first."`
		Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"10" doc:"The maximum number of users."`
	}
	summariesOutput struct{ Body SummaryList }
	topOutput       struct{ Body TopUsers }
)

func (s *service) listSummaries(ctx context.Context, in *summariesInput) (*summariesOutput, error) {
	sums, err := s.Summaries.Many(ctx, in.UserIDs)
	if err != nil {
		return nil, err
	}
	ids := slices.Compact(slices.Sorted(slices.Values(in.UserIDs)))
	missing := slices.DeleteFunc(ids, func(id int32) bool {
		_, found := slices.BinarySearchFunc(sums, id, func(s summaries.Summary, id int32) int { return cmp.Compare(s.UserID, id) })
		return found
	})
	return &summariesOutput{SummaryList{summariesOf(sums), missing}}, nil
}

func (s *service) listTopUsers(ctx context.Context, in *topInput) (*topOutput, error) {
	top, err := s.Summaries.Top(ctx, summaries.Order(in.By), in.Limit)
	return &topOutput{TopUsers{summariesOf(top)}}, err
}

// withSummaryResponses describes what huma cannot see, since the operation writes its
// response itself.
func withSummaryResponses(api huma.API, op huma.Operation) huma.Operation {
	ok := op.Responses["200"]
	ok.Content[jsonContentType] = &huma.MediaType{
		Schema:  api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Summary](), true, "Summary"),
		Example: json.RawMessage(`{"user_id":123,"total_transactions":50,"total_amount":10240.50,"average_transaction_amount":204.81}`),
	}
	ok.Headers["ETag"] = stringHeader("A strong entity tag that changes with every change of the summary.", `"3-12-af63bd4c8601b7df"`)
	ok.Headers["Cache-Control"] = stringHeader("The client may cache the answer and must revalidate it each time.", revalidate)
	op.Responses["304"] = &huma.Response{Description: "The client already has the current summary.", Headers: maps.Clone(ok.Headers)}
	ok.Headers["Last-Modified"] = stringHeader("When the last load that changed the summary began; at least a second later than any before "+
		"it, and omitted while that time is in the future.", "Tue, 02 Jan 2024 00:00:05 GMT")
	ok.Headers[runHeader] = &huma.Header{
		Description: "The ledger's id of the run that last changed the summary.",
		Schema:      &huma.Schema{Type: huma.TypeInteger, Format: "int64", Examples: []any{12}},
	}
	return op
}

func (s *service) summary(ctx context.Context, in *summaryInput) (*huma.StreamResponse, error) {
	days, err := in.days()
	if err != nil {
		return nil, err
	}
	if in.AsOf != "" {
		return s.pastSummary(ctx, in, days)
	}
	var sum summaries.Summary
	if in.RangeQuery == (RangeQuery{}) {
		sum, err = s.Summaries.Get(ctx, in.UserID)
	} else {
		sum, err = s.Summaries.Range(ctx, in.UserID, days)
	}
	answer, err := answerSummary(sum, err, in.Conditions)
	if err != nil {
		return nil, err
	}
	return answer.stream(), nil
}

// stream lets huma send the response.
func (a *summaryAnswer) stream() *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		_, w := humago.Unwrap(ctx)
		a.write(w)
	}}
}

// summaryAnswer is a response with a summary. It is written by hand: huma's reflection costs
// more than the look-up.
type summaryAnswer struct {
	*renderedSummary
	status int
	dated  bool // whether it has a Last-Modified
}

// answerSummary is the response with a summary that was looked up, or with the error of that.
func answerSummary(sum summaries.Summary, err error, conditions Conditions) (answer summaryAnswer, _ error) {
	if err != nil {
		return answer, err
	}
	answer.renderedSummary = render(sum)
	answer.dated = !answer.modified.After(time.Now()) // HTTP has no dates in the future
	var modified time.Time
	if answer.dated {
		modified = answer.modified
	}
	if answer.status = conditions.status(answer.etag[0], modified); answer.status == http.StatusPreconditionFailed {
		return answer, kindPrecondition.problem()
	}
	return answer, nil
}

// write sends the response. The server sets the length of so short a body.
func (a *summaryAnswer) write(w http.ResponseWriter) {
	header := w.Header()
	header["Etag"], header["Cache-Control"] = a.etag, revalidateHeader
	if a.status == http.StatusNotModified {
		w.WriteHeader(a.status)
		return
	}
	if a.dated {
		header["Last-Modified"] = a.lastModified
	}
	if a.run != nil {
		header[runHeader] = a.run
	}
	header["Content-Type"] = jsonHeader
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // a client that is gone needs no answer
}

// renderedSummary is the part that a summary's responses share. It is immutable.
type renderedSummary struct {
	body                    []byte
	etag, run, lastModified []string
	modified                time.Time // in whole seconds
}

// render renders a summary, once while it is cached.
func render(sum summaries.Summary) *renderedSummary {
	if sum.Memo == nil {
		return newRenderedSummary(sum)
	}
	r, ok := sum.Memo.Load().(*renderedSummary)
	if !ok {
		r = newRenderedSummary(sum)
		sum.Memo.Store(r)
	}
	return r
}

// summaryBody is a summary as JSON. By hand: encoding/json takes four times as long, some 4 µs of
// every uncached look-up.
func summaryBody(sum *Summary) (body []byte, checksum uint64) {
	body = append(make([]byte, 0, 160), `{"user_id":`...)
	body = strconv.AppendInt(body, int64(sum.UserID), 10)
	body = append(body, `,"total_transactions":`...)
	body = strconv.AppendInt(body, sum.TotalTransactions, 10)
	body = sum.TotalAmount.AppendJSON(append(body, `,"total_amount":`...))
	body = sum.Average.AppendJSON(append(body, `,"average_transaction_amount":`...))
	body = append(body, "}\n"...)
	hash := fnv.New64a()
	_, _ = hash.Write(body) // never fails
	return body, hash.Sum64()
}

// newRenderedSummary derives the entity tag from version, file and bytes: after a manual write, or
// in a release that renders them differently, only the bytes change.
func newRenderedSummary(sum summaries.Summary) *renderedSummary {
	body, checksum := summaryBody(&Summary{sum.UserID, sum.Transactions, sum.Total, sum.Average()})
	modified := sum.UpdatedAt.Truncate(time.Second)
	r := &renderedSummary{
		body: body, modified: modified, lastModified: []string{modified.UTC().Format(http.TimeFormat)},
		etag: []string{fmt.Sprintf(`"%d-%d-%x"`, sum.Version, sum.FileID, checksum)},
	}
	if sum.RunID > 0 {
		r.run = []string{strconv.FormatInt(sum.RunID, 10)}
	}
	return r
}
