package api

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opentax/tally/summaries"
)

// Summaries is what the API reads of the rollups. [summaries.Store] is one.
type Summaries interface {
	// Get returns a user's summary, or [summaries.ErrNotFound].
	Get(ctx context.Context, userID int32) (summaries.Summary, error)
	// Transactions returns at most limit of a user's transactions after a place,
	// in order of date and id.
	Transactions(ctx context.Context, userID int32, after summaries.Cursor, limit int) ([]summaries.Transaction, error)
	// Many returns the summaries of those users that have one, in order of their ids.
	Many(ctx context.Context, userIDs []int32) ([]summaries.Summary, error)
	// Range returns the summary of a user's transactions of some days, or
	// [summaries.ErrNotFound].
	Range(ctx context.Context, userID int32, days summaries.Days) (summaries.Summary, error)
	// Top returns the users who come first in an order.
	Top(ctx context.Context, by summaries.Order, limit int) ([]summaries.Summary, error)
	// Totals returns totals by day or month, in order of time.
	Totals(ctx context.Context, q summaries.TotalsQuery) ([]summaries.Total, error)
}

// Total is the count and sum of a day or month in which there are transactions.
type Total struct {
	Start             civil.Date `json:"start" doc:"The day, or the first day of the month."`
	TotalTransactions int64      `json:"total_transactions" minimum:"1" example:"50" doc:"The number of its transactions."`
	TotalAmount       money.Sum  `json:"total_amount" doc:"The exact sum of the amounts."`
}

// RangeQuery bounds what is looked at. It is exported since huma passes over embedded
// types that are not.
type RangeQuery struct {
	From Day `query:"from" example:"2024-01-01" doc:"The first day to include. Default: no bound."`
	To   Day `query:"to" example:"2024-12-31" doc:"The last day to include. Default: no bound."`
}

// days are the days asked for: all of them where there is no bound.
func (q RangeQuery) days() (days summaries.Days, err error) {
	if days.From, err = q.From.parse("query.from", civil.Min); err != nil {
		return days, err
	}
	if days.To, err = q.To.parse("query.to", civil.Max); err != nil {
		return days, err
	}
	if days.From > days.To {
		err = invalid(ProblemError{Location: "query.to", Message: "must not be before from"})
	}
	return days, err
}

// Day is a day that a client gives; "" where it gives none.
type Day string

// Schema describes a day to huma, from 0001-01-01 to 9999-12-31.
func (Day) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeString, Format: "date",
		Pattern: "^(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$",
	}
}

// parse reads a day strictly, "" as missing: what is no day of the calendar is refused.
func (d Day) parse(location string, missing civil.Date) (civil.Date, error) {
	if d == "" {
		return missing, nil
	}
	day, err := civil.Parse(string(d))
	if err != nil || day < civil.Min {
		return day, invalid(ProblemError{Location: location, Message: "must be a day, as in 2024-01-31"})
	}
	return day, nil
}

// TotalsQuery is the parameters of totals.
type TotalsQuery struct {
	PageQuery
	RangeQuery
	By string `query:"by" enum:"day,month" default:"day" doc:"The period of each total. Where from or to falls within a month, only its days in the range count."`
}

func (q TotalsQuery) values() url.Values {
	v := url.Values{"by": {q.By}}
	if q.From != "" {
		v.Set("from", string(q.From))
	}
	if q.To != "" {
		v.Set("to", string(q.To))
	}
	return v
}

type totalsInput struct{ TotalsQuery }

type userTotalsInput struct {
	UserPath
	TotalsQuery
}

func (s *service) registerTotals(operations huma.API) {
	huma.Register(operations, huma.Operation{
		OperationID: "listTotals",
		Method:      http.MethodGet,
		Path:        "/totals",
		Tags:        []string{tagTransactions},
		Summary:     "Sum all transactions by day or month",
		Description: "Count and exact sum of all users' transactions by day or month, in chronological order, in pages. Periods without transactions are omitted.",
		Responses:   responses(success("A page of totals.", nil), unavailableResponse),
	}, withProblems(s, func(ctx context.Context, in *totalsInput) (*pageOutput[Total], error) {
		out, _, err := s.totals(ctx, 0, "totals", in.TotalsQuery)
		return out, err
	}))
	huma.Register(operations, huma.Operation{
		OperationID: "listUserTotals",
		Method:      http.MethodGet,
		Path:        "/transactions/{user_id}/totals",
		Tags:        []string{tagTransactions},
		Summary:     "Sum a user's transactions by day or month",
		Description: "Count and exact sum of a user's transactions by day or month, in chronological order, in pages. Periods without transactions are omitted; if the user has none in the whole range, the list is empty.",
		Responses:   responses(success("A page of totals.", nil), noTransactionsResponse, unavailableResponse),
	}, withProblems(s, s.userTotals))
}

func (s *service) userTotals(ctx context.Context, in *userTotalsInput) (*pageOutput[Total], error) {
	out, found, err := s.totals(ctx, in.UserID, fmt.Sprintf("transactions/%d/totals", in.UserID), in.TotalsQuery)
	if err != nil || found {
		return out, err
	}
	_, err = s.summaries.Get(ctx, in.UserID) // nothing in the range, or nothing at all
	return out, err
}

// totals is a page, and whether there is anything on it.
func (s *service) totals(ctx context.Context, userID int32, path string, in TotalsQuery) (*pageOutput[Total], bool, error) {
	days, err := in.days()
	if err != nil {
		return nil, false, err
	}
	list := path + "?" + in.values().Encode()
	start, err := in.start(list)
	if err != nil {
		return nil, false, err
	}
	var after *civil.Date
	if start != (position{}) {
		day, err := start.day()
		if err != nil {
			return nil, false, err
		}
		after = &day
	}
	sums, err := s.summaries.Totals(ctx, summaries.TotalsQuery{
		UserID: userID, By: summaries.Period(in.By), Days: days, After: after, Limit: in.Limit + 1,
	})
	if err != nil {
		return nil, false, err
	}
	totals := make([]Total, len(sums))
	for i, t := range sums {
		totals[i] = Total{Start: t.Start, TotalTransactions: t.Transactions, TotalAmount: t.Amount}
	}
	page := newPage(totals, in.PageQuery, list, "/"+path, in.values(), func(t Total) position {
		return position{int64(t.Start), 1}
	})
	return page, len(sums) > 0, nil
}

type summariesInput struct {
	UserIDs []int32 `query:"user_id" required:"true" nullable:"false" minItems:"1" maxItems:"1000" example:"[123,456]" doc:"The users' ids, at most 1000, repeated (user_id=123&user_id=456) or comma-separated (user_id=123,456)."`
}

// SummaryList is the answer of several users at once.
type SummaryList struct {
	Items   []Summary `json:"items" nullable:"false" doc:"The summaries of the users with transactions, in order of id, each once."`
	Missing []int32   `json:"missing" nullable:"false" example:"[456]" doc:"The requested ids without transactions, in order, each once."`
}

type summariesOutput struct{ Body SummaryList }

func (s *service) registerSummaries(operations huma.API) {
	huma.Register(operations, huma.Operation{
		OperationID: "listSummaries",
		Method:      http.MethodGet,
		Path:        "/summaries",
		Tags:        []string{tagTransactions},
		Summary:     "Summarize several users' transactions",
		Description: "The summaries of up to 1000 users, all as of the same moment.",
		Responses:   responses(success("The summaries.", nil), unavailableResponse),
	}, withProblems(s, s.listSummaries))
	// huma has no tag for what the items of a list may be.
	ids := operations.OpenAPI().Paths["/summaries"].Get.Parameters[0].Schema.Items
	low, high := 1.0, float64(math.MaxInt32)
	ids.Minimum, ids.Maximum = &low, &high
	ids.PrecomputeMessages()
}

func (s *service) listSummaries(ctx context.Context, in *summariesInput) (*summariesOutput, error) {
	asked := map[int32]bool{}
	for _, id := range in.UserIDs {
		asked[id] = true
	}
	sums, err := s.summaries.Many(ctx, in.UserIDs)
	if err != nil {
		return nil, err
	}
	body := SummaryList{Items: make([]Summary, len(sums)), Missing: []int32{}}
	for i, sum := range sums {
		body.Items[i] = summaryOf(sum)
		delete(asked, sum.UserID)
	}
	for id := range asked {
		body.Missing = append(body.Missing, id)
	}
	slices.Sort(body.Missing)
	return &summariesOutput{body}, nil
}

type topInput struct {
	By    string `query:"by" enum:"total_amount,total_transactions" default:"total_amount" doc:"The figure to sort by, largest first."`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"10" doc:"The maximum number of users."`
}

// TopUsers is the users who come first.
type TopUsers struct {
	Items []Summary `json:"items" nullable:"false" doc:"The summaries, largest first; ties are in order of user id."`
}

type topOutput struct{ Body TopUsers }

func (s *service) registerTop(operations huma.API) {
	huma.Register(operations, huma.Operation{
		OperationID: "listTopUsers",
		Method:      http.MethodGet,
		Path:        "/summaries/top",
		Tags:        []string{tagTransactions},
		Summary:     "List the users with the largest totals",
		Description: "The users with the largest sums or the most transactions, all as of the same moment. The time it takes grows with the number of users: about 0.2 s for a million.",
		Responses:   responses(success("The users.", nil), unavailableResponse),
	}, withProblems(s, func(ctx context.Context, in *topInput) (*topOutput, error) {
		top, err := s.summaries.Top(ctx, summaries.Order(in.By), in.Limit)
		if err != nil {
			return nil, err
		}
		body := TopUsers{Items: make([]Summary, len(top))}
		for i, sum := range top {
			body.Items[i] = summaryOf(sum)
		}
		return &topOutput{body}, nil
	}))
}
