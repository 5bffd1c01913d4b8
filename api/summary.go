package api

import (
	"context"
	"encoding/json"
	"hash/fnv"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/opentax/tally/internal/money"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opentax/tally/summaries"
)

// UserPath is the path of what belongs to one user. It is exported since huma
// passes over embedded types that are not; so are RunPath and PageQuery.
type UserPath struct {
	UserID int32 `path:"user_id" minimum:"1" maximum:"2147483647" example:"123" doc:"The user's id."`
}

// Resolve is called by huma once the path has been read.
func (UserPath) Resolve(ctx huma.Context) []error { return decimalDigits(ctx, "user_id") }

// Summary is the answer that the contract fixes: these four keys, in this order.
type Summary struct {
	UserID            int32     `json:"user_id" minimum:"1" example:"123" doc:"The user's id."`
	TotalTransactions int64     `json:"total_transactions" minimum:"1" example:"50" doc:"The number of the user's transactions."`
	TotalAmount       money.Sum `json:"total_amount" doc:"The exact sum of the amounts."`
	Average           money.Sum `json:"average_transaction_amount" example:"204.81" doc:"total_amount / total_transactions, rounded half away from zero to two decimals."`
}

type summaryInput struct {
	UserPath
	RangeQuery
	Conditions
}

const (
	runHeader = "Tally-Run"
	// revalidate lets the client keep an answer, and ask each time whether it holds.
	revalidate  = "private, no-cache"
	summaryPath = "/transactions/{user_id}/summary"
)

// The values of headers that are always the same, lent to each answer.
var (
	revalidateHeader = []string{revalidate}
	jsonHeader       = []string{jsonContentType}
)

func (s *service) registerSummary(operations huma.API) {
	huma.Register(operations, huma.Operation{
		OperationID: "getUserSummary",
		Method:      http.MethodGet,
		Path:        summaryPath,
		Tags:        []string{tagTransactions},
		Summary:     "Summarize a user's transactions",
		Description: "Count, exact sum and average of a user's transactions, as of the last loaded file: of all transactions, or of those from one day to another. A range without transactions of the user is a 404 too.",
		Responses:   summaryResponses(operations.OpenAPI().Components.Schemas),
	}, withProblems(s, s.summary))
}

// summaryResponses describes what huma cannot see: the operation writes its answer
// itself.
func summaryResponses(schemas huma.Registry) map[string]*huma.Response {
	header := func(description, example string) *huma.Header {
		return &huma.Header{Description: description, Schema: &huma.Schema{Type: huma.TypeString, Examples: []any{example}}}
	}
	number := func(description string) *huma.Header {
		return &huma.Header{Description: description, Schema: &huma.Schema{Type: huma.TypeInteger, Format: "int64", Examples: []any{12}}}
	}
	etag := header("A strong entity tag that changes with every change of the summary.", `"3-12-af63bd4c8601b7df"`)
	cache := header("The client may cache the answer and must revalidate it each time.", revalidate)

	ok := success("The user's summary.", json.RawMessage(
		`{"user_id":123,"total_transactions":50,"total_amount":10240.50,"average_transaction_amount":204.81}`))
	ok.Content[jsonContentType].Schema = schemas.Schema(reflect.TypeFor[Summary](), true, "Summary")
	ok.Headers["ETag"], ok.Headers["Cache-Control"] = etag, cache
	ok.Headers["Last-Modified"] = header("When the last load that changed the summary began; at least a second later than any before it, and omitted while that time is in the future.", "Tue, 02 Jan 2024 00:00:05 GMT")
	ok.Headers[runHeader] = number("The ledger's id of the run that last changed the summary.")

	all := responses(ok, noTransactionsResponse, preconditionResponse, unavailableResponse)
	all["304"] = &huma.Response{
		Description: "The client already has the current summary.",
		Headers: map[string]*huma.Header{
			requestIDHeader: {Ref: "#/components/headers/" + requestIDComponent}, "ETag": etag, "Cache-Control": cache,
		},
	}
	return all
}

func (s *service) summary(ctx context.Context, in *summaryInput) (*huma.StreamResponse, error) {
	days, err := in.days()
	if err != nil {
		return nil, err
	}
	lookUp := s.summaries.Get
	if in.RangeQuery != (RangeQuery{}) {
		lookUp = func(ctx context.Context, userID int32) (summaries.Summary, error) {
			return s.summaries.Range(ctx, userID, days)
		}
	}
	answer, err := summaryAnswerOf(ctx, lookUp, in.UserID, in.Conditions)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		answer.write(contextWriter{ctx, make(http.Header)})
	}}, nil
}

// summaryAnswerOf is what a user's summary is to be answered with.
func summaryAnswerOf(ctx context.Context, lookUp func(context.Context, int32) (summaries.Summary, error), userID int32, conditions Conditions) (summaryAnswer, error) {
	sum, err := lookUp(ctx, userID)
	if err != nil {
		return summaryAnswer{}, err
	}
	answer := summaryAnswer{rendered: renderingOf(sum)}
	if !answer.modified.After(time.Now()) { // HTTP has no dates to come
		answer.dated = true
	}
	var modified time.Time
	if answer.dated {
		modified = answer.modified
	}
	if answer.status = conditions.status(answer.etag[0], modified); answer.status == http.StatusPreconditionFailed {
		return summaryAnswer{}, kindPrecondition.problem()
	}
	return answer, nil
}

func summaryOf(sum summaries.Summary) Summary {
	return Summary{
		UserID:            sum.UserID,
		TotalTransactions: sum.Transactions,
		TotalAmount:       sum.Total,
		Average:           sum.Average(),
	}
}

// summaryAnswer is a summary as it goes out. It is written by hand: what huma would
// do by reflection costs more than the look-up.
type summaryAnswer struct {
	*rendered
	status int
	dated  bool // whether Last-Modified goes with it
}

// rendered is what many answers have in common. It is never changed: the headers' values
// are lent to each answer.
type rendered struct {
	body                    []byte
	etag, run, lastModified []string
	modified                time.Time // in whole seconds
}

// renderingOf renders a summary, once if it is kept in memory.
func renderingOf(sum summaries.Summary) *rendered {
	if r, ok := sum.Memo.Load().(*rendered); ok {
		return r
	}
	r := newRendered(sum)
	sum.Memo.Store(r)
	return r
}

// newRendered makes the tag of version and file, and of the bytes: they change without the
// former when somebody writes by hand, or when another version of the program writes
// them differently.
func newRendered(sum summaries.Summary) *rendered {
	body := make([]byte, 0, 160)
	body = append(body, `{"user_id":`...)
	body = strconv.AppendInt(body, int64(sum.UserID), 10)
	body = append(body, `,"total_transactions":`...)
	body = strconv.AppendInt(body, sum.Transactions, 10)
	body = append(body, `,"total_amount":`...)
	body = sum.Total.AppendJSON(body)
	body = append(body, `,"average_transaction_amount":`...)
	body = sum.Average().AppendJSON(body)
	body = append(body, "}\n"...)

	hash := fnv.New64a()
	_, _ = hash.Write(body) // never fails
	etag := make([]byte, 0, 48)
	etag = append(etag, '"')
	etag = append(strconv.AppendInt(etag, sum.Version, 10), '-')
	etag = append(strconv.AppendInt(etag, sum.FileID, 10), '-')
	etag = append(strconv.AppendUint(etag, hash.Sum64(), 16), '"')

	modified := sum.UpdatedAt.Truncate(time.Second)
	return &rendered{
		body: body, etag: []string{string(etag)}, run: positive(sum.RunID),
		modified: modified, lastModified: []string{modified.UTC().Format(http.TimeFormat)},
	}
}

// positive is a header's value, nil for none.
func positive(n int64) []string {
	if n <= 0 {
		return nil
	}
	return []string{strconv.FormatInt(n, 10)}
}

// write sends the answer. The length is left to the server, which knows it of so
// short a body.
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
