package api

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/summaries"
)

// Summaries reads the rollups for the API, as [summaries.Store] does. For a user without
// transactions, or without any in the range, Get and Range return [summaries.ErrNotFound].
type Summaries interface {
	Get(ctx context.Context, userID int32) (summaries.Summary, error)
	Transactions(ctx context.Context, userID int32, after summaries.Cursor, limit int) ([]summaries.Transaction, error)
	Many(ctx context.Context, userIDs []int32) ([]summaries.Summary, error)
	Range(ctx context.Context, userID int32, days summaries.Days) (summaries.Summary, error)
	// AsOf returns [summaries.ErrFuture] for a moment that has not come yet.
	AsOf(ctx context.Context, userID int32, moment time.Time, days summaries.Days) (summaries.Past, error)
	Top(ctx context.Context, by summaries.Order, limit int) ([]summaries.Summary, error)
	Totals(ctx context.Context, q summaries.TotalsQuery) ([]summaries.Total, error)
}

// RangeQuery is a range of days. It is exported because huma skips unexported embedded types.
type RangeQuery struct {
	From Day `query:"from" example:"2024-01-01" doc:"The first day to include. Default: no bound."`
	To   Day `query:"to" example:"2024-12-31" doc:"The last day to include. Default: no bound."`
}

// days returns the range, all days where there is no bound.
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

// Day is a day in a request, "" if omitted.
type Day string

// Schema describes a day to huma, from 0001-01-01 to 9999-12-31.
func (Day) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeString, Format: "date",
		Pattern: "^(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$",
	}
}

// parse returns the day, or missing for "".
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

func (q TotalsQuery) filter() url.Values {
	filter := url.Values{"by": {q.By}}
	for name, day := range map[string]Day{"from": q.From, "to": q.To} {
		if day != "" {
			filter.Set(name, string(day))
		}
	}
	return filter
}

type userTotalsInput struct {
	UserPath
	TotalsQuery
}

func (s *service) listTotals(ctx context.Context, in *TotalsQuery) (*pageOutput[summaries.Total], error) {
	return s.totals(ctx, 0, "totals", in)
}

func (s *service) listUserTotals(ctx context.Context, in *userTotalsInput) (*pageOutput[summaries.Total], error) {
	out, err := s.totals(ctx, in.UserID, fmt.Sprintf("transactions/%d/totals", in.UserID), &in.TotalsQuery)
	if err == nil && len(out.Body.Items) == 0 {
		_, err = s.Summaries.Get(ctx, in.UserID) // the range is empty, or the user unknown
	}
	return out, err
}

// totals is a page of one user's totals, or for user 0 of all users'.
func (s *service) totals(ctx context.Context, userID int32, path string, in *TotalsQuery) (*pageOutput[summaries.Total], error) {
	days, err := in.days()
	if err != nil {
		return nil, err
	}
	query := summaries.TotalsQuery{UserID: userID, By: summaries.Period(in.By), Days: days}
	return listPage(list{in.PageQuery, path, in.filter()}, func(after position, limit int) ([]summaries.Total, error) {
		query.Limit = limit
		if after != (position{}) {
			day, err := after.day()
			if err != nil {
				return nil, err
			}
			query.After = &day
		}
		return s.Summaries.Totals(ctx, query)
	}, func(t summaries.Total) position { return position{int64(t.Start), 1} })
}

type transactionsInput struct {
	UserPath
	PageQuery
}

func (s *service) listTransactions(ctx context.Context, in *transactionsInput) (*pageOutput[summaries.Transaction], error) {
	rows := list{PageQuery: in.PageQuery, path: fmt.Sprintf("transactions/%d", in.UserID)}
	return listPage(rows, func(after position, limit int) ([]summaries.Transaction, error) {
		cursor := summaries.Cursor{ID: after.second}
		if after != (position{}) {
			var err error
			if cursor.Date, err = after.day(); err != nil {
				return nil, err
			}
		}
		stored, err := s.Summaries.Transactions(ctx, in.UserID, cursor, limit)
		if err == nil && len(stored) == 0 && in.Cursor == "" {
			err = summaries.ErrNotFound
		}
		return stored, err
	}, func(t summaries.Transaction) position { return position{int64(t.Date), t.ID} })
}
