package console

import (
	"errors"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/opentax/tally/internal/chart"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/summaries"
)

const (
	totalsPath  = "/console/totals"
	monthsShown = 120
	daysShown   = 366
	daysBefore  = 91 // by default, to which the last day is added
	// Charts are as wide as is readable on a telephone.
	chartWidth  = 400
	chartHeight = 160
)

// totalsPage is the totals of a range.
type totalsPage struct {
	Totals       totals
	Days         summaries.Days
	Transactions int64
	Sum          money.Sum
	Problem      string // of the form
	Before       string // the link to the periods before, if there are some
	Newest       bool   // there are none after
}

// totals are those of periods, the newest first.
type totals struct {
	By      summaries.Period
	Rows    []summaries.Total
	Earlier int64 // periods before
	OfUser  bool
}

// newest are the last of periods in chronological order.
func newest(by summaries.Period, all []summaries.Total) totals {
	t := totals{By: by, Earlier: int64(max(0, len(all)-monthsShown))}
	t.Rows = slices.Clone(all[t.Earlier:])
	slices.Reverse(t.Rows)
	return t
}

// Name is a period's.
func (t totals) Name(start civil.Date) string {
	if t.By == summaries.Month {
		return start.Month().String()
	}
	return start.String()
}

// Link is where a month leads: to the transactions from there on, or to its days.
func (t totals) Link(start civil.Date) string {
	switch {
	case t.OfUser:
		return fmt.Sprintf("?from=%s#transactions", start)
	case t.By == summaries.Month:
		return fmt.Sprintf("?by=day&from=%s&to=%s", start, start.Month().Last())
	default:
		return ""
	}
}

// Charts draws the sums and the counts of periods, of the last [monthsShown] months at most.
func (p Page) Charts(t totals) (charts []template.HTML, err error) {
	sum, count, ticks, err := t.lines()
	if err != nil {
		return nil, err
	}
	for _, c := range []chart.Chart{
		{Title: "Sum by " + string(t.By), YLabel: p.Currency, Lines: []chart.Line{sum}},
		{Title: "Transactions by " + string(t.By), YLabel: "transactions", Lines: []chart.Line{count}},
	} {
		c.XLabel, c.Ticks, c.Width, c.Height, c.Bare = string(t.By), ticks, chartWidth, chartHeight, true
		var drawing strings.Builder
		if err := c.WriteSVG(&drawing); err != nil {
			return nil, err
		}
		charts = append(charts, template.HTML(drawing.String())) //nolint:gosec // the chart escapes the texts in it
	}
	return charts, nil
}

// lines have zero where a period has no transactions.
func (t totals) lines() (sum, count chart.Line, ticks []chart.Tick, err error) {
	sum.Name, count.Name = "sum", "transactions"
	first, last := t.Rows[len(t.Rows)-1].Start, t.Rows[0].Start
	if t.By == summaries.Month {
		first = max(first, (last.Month() - monthsShown + 1).First())
	}
	rows := map[civil.Date]summaries.Total{}
	for _, row := range t.Rows {
		rows[row.Start] = row
	}
	i := 0.0
	for start := first; start <= last; start = t.By.Next(start) {
		amount, err := strconv.ParseFloat(rows[start].Amount.String(), 64)
		if err != nil {
			return sum, count, nil, err
		}
		sum.X, sum.Y = append(sum.X, i), append(sum.Y, amount)
		count.X, count.Y = append(count.X, i), append(count.Y, float64(rows[start].Transactions))
		i++
	}
	ticks = []chart.Tick{{At: 0, Name: t.Name(first)}}
	if first < last {
		ticks = append(ticks, chart.Tick{At: i - 1, Name: t.Name(last)})
	}
	return sum, count, ticks, nil
}

func (c *console) totals(w http.ResponseWriter, r *http.Request) error {
	p := totalsPage{Totals: totals{By: summaries.Month}, Newest: true}
	if r.FormValue("by") == string(summaries.Day) {
		p.Totals.By = summaries.Day
	}
	query := summaries.TotalsQuery{By: summaries.Month, Days: summaries.AllDays(), Limit: math.MaxInt32}
	months, err := c.Summaries.Totals(r.Context(), query)
	if err != nil {
		return err
	}
	if len(months) == 0 {
		return c.showTotals(w, r, p)
	}
	if !p.choose(r.URL.Query(), months[0].Start, months[len(months)-1].Start.Month().Last()) {
		return c.showTotals(w, r, p)
	}
	query.By, query.Days = p.Totals.By, p.Days
	list, err := c.Summaries.Totals(r.Context(), query)
	if retired, ok := errors.AsType[*summaries.RetiredError](err); ok {
		p.Problem = fmt.Sprintf("Months before %s are retired, and their totals are dropped: choose a range from then on.", retired.Before)
		return c.showTotals(w, r, p)
	}
	if err != nil {
		return err
	}
	for _, t := range list {
		p.Transactions += t.Transactions
		p.Sum = p.Sum.Plus(t.Amount)
	}
	slices.Reverse(list)
	p.Totals.Rows = list
	return c.showTotals(w, r, p)
}

// choose reads the range of the form, which is shortened to what a page shows: its end is shown.
// The whole data's are the defaults.
func (p *totalsPage) choose(query url.Values, oldest, latest civil.Date) bool {
	from, fromErr := dayOf(query.Get("from"), oldest)
	to, toErr := dayOf(query.Get("to"), latest)
	p.Days = summaries.Days{From: from, To: to}
	if fromErr != nil || toErr != nil || from > to {
		p.Problem = "The range is two days such as 2024-01-31, the first not after the last."
		return false
	}
	first := (to.Month() - monthsShown + 1).First()
	if p.Totals.By == summaries.Day {
		first = to - daysShown + 1
		if query.Get("from") == "" {
			first = to - daysBefore
		}
	}
	if from < first {
		p.Days.From = first
		p.Before = "?" + url.Values{"by": {string(p.Totals.By)}, "from": {query.Get("from")}, "to": {(first - 1).String()}}.Encode()
	}
	p.Newest = to >= latest
	return true
}

func dayOf(text string, missing civil.Date) (civil.Date, error) {
	if text == "" {
		return missing, nil
	}
	day, err := civil.Parse(text)
	if err == nil && day < civil.Min {
		err = errors.New("before the first year")
	}
	return day, err
}

func (c *console) showTotals(w http.ResponseWriter, r *http.Request, data totalsPage) error {
	p, err := c.page(r, "Totals", totalsPath, data)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if data.Problem != "" {
		status = http.StatusUnprocessableEntity
	}
	return c.pages.Write(w, status, "totals.html", p)
}
