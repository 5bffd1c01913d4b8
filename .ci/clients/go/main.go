// This program tests the client that oapi-codegen generates from the OpenAPI document. It
// queries a server that has loaded a file, and checks that the answers are consistent.
// .ci/run generates the client.
//
//	main ADDRESS USER_ID
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math/big"
	"net/http"
	"os"
	"slices"
	"strconv"

	"clients/tally"
)

const unknownUser = 2147483647 // a user without transactions

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: main ADDRESS USER_ID")
	}
	user, err := strconv.ParseInt(os.Args[2], 10, 32)
	if err != nil {
		log.Fatal(err)
	}
	client, err := tally.NewClientWithResponses(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	c := check{context.Background(), client, int32(user)}
	if err := c.all(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("the Go client agrees with the server")
}

type check struct {
	ctx    context.Context
	client *tally.ClientWithResponses
	user   int32
}

func (c check) all() error {
	summary, err := c.client.GetUserSummaryWithResponse(c.ctx, c.user, nil)
	if err != nil {
		return err
	}
	if summary.JSON200 == nil {
		return fmt.Errorf("no summary: %s", summary.Status())
	}
	loaded, err := c.runs()
	return errors.Join(err,
		c.unchanged(summary.HTTPResponse.Header.Get("ETag")),
		c.average(*summary.JSON200),
		c.transactions(*summary.JSON200),
		c.summaries(*summary.JSON200),
		c.months(*summary.JSON200),
		c.allMonths(loaded),
		c.problems())
}

// sum is a count and the exact sum of amounts.
type sum struct {
	count  int64
	amount big.Rat
}

func (s *sum) add(count int64, amount json.Number) {
	s.count += count
	s.amount.Add(&s.amount, exact(amount))
}

func (s *sum) equals(of string, count int64, amount json.Number) error {
	if s.count != count || s.amount.Cmp(exact(amount)) != 0 {
		return fmt.Errorf("%s: %d with %s, and not %d with %s", of, s.count, s.amount.FloatString(4), count, amount)
	}
	return nil
}

func exact(amount json.Number) *big.Rat {
	value, ok := new(big.Rat).SetString(amount.String())
	if !ok {
		log.Fatalf("%q is not an amount", amount)
	}
	return value
}

func (c check) average(s tally.Summary) error {
	mean := new(big.Rat).Quo(exact(s.TotalAmount), big.NewRat(s.TotalTransactions, 1))
	off := mean.Sub(mean, exact(s.AverageTransactionAmount))
	if s.UserId != c.user || off.Abs(off).Cmp(big.NewRat(1, 200)) > 0 {
		return fmt.Errorf("a wrong average: %+v", s)
	}
	return nil
}

// unchanged requests the summary again with its entity tag.
func (c check) unchanged(tag string) error {
	again, err := c.client.GetUserSummaryWithResponse(c.ctx, c.user, &tally.GetUserSummaryParams{IfNoneMatch: &tag})
	if err != nil {
		return err
	}
	if again.StatusCode() != http.StatusNotModified || tag == "" {
		return fmt.Errorf("the summary with the tag %q was answered again: %s", tag, again.Status())
	}
	return nil
}

// transactions follows the cursors to the end.
func (c check) transactions(s tally.Summary) error {
	var of sum
	var cursor *string
	limit, pages := int32(3), 0
	seen := map[int64]bool{}
	for more := true; more; pages++ {
		page, err := c.client.ListUserTransactionsWithResponse(c.ctx, c.user, &tally.ListUserTransactionsParams{Limit: &limit, Cursor: cursor})
		if err != nil {
			return err
		}
		if page.JSON200 == nil {
			return fmt.Errorf("no page of transactions: %s", page.Status())
		}
		for _, t := range page.JSON200.Items {
			if seen[t.Id] || t.UserId != c.user || t.TransactionDate.IsZero() {
				return fmt.Errorf("an odd transaction: %+v", t)
			}
			seen[t.Id] = true
			of.add(1, t.Amount)
		}
		cursor = page.JSON200.NextCursor
		more = cursor != nil
	}
	if pages < 2 {
		return errors.New("all transactions came in one page, so no cursor was followed")
	}
	return of.equals("the transactions", s.TotalTransactions, s.TotalAmount)
}

func (c check) summaries(s tally.Summary) error {
	several, err := c.client.ListSummariesWithResponse(c.ctx, &tally.ListSummariesParams{UserId: []int32{unknownUser, c.user}})
	if err != nil {
		return err
	}
	if several.JSON200 == nil {
		return fmt.Errorf("no summaries: %s", several.Status())
	}
	if got := several.JSON200; !slices.Equal(got.Items, []tally.Summary{s}) || !slices.Equal(got.Missing, []int32{unknownUser}) {
		return fmt.Errorf("other summaries of several users: %+v", *got)
	}
	return nil
}

func (c check) months(s tally.Summary) error {
	by := tally.ListUserTotalsParamsByMonth
	totals, err := c.client.ListUserTotalsWithResponse(c.ctx, c.user, &tally.ListUserTotalsParams{By: &by})
	if err != nil {
		return err
	}
	if totals.JSON200 == nil || totals.JSON200.NextCursor != nil {
		return fmt.Errorf("no whole page of a user's months: %s", totals.Status())
	}
	var of sum
	for _, month := range totals.JSON200.Items {
		if month.Start.Day() != 1 {
			return fmt.Errorf("a month that starts at %s", month.Start)
		}
		of.add(month.TotalTransactions, month.TotalAmount)
	}
	return of.equals("the user's months", s.TotalTransactions, s.TotalAmount)
}

func (c check) allMonths(loaded sum) error {
	var of sum
	var cursor *string
	by, limit := tally.ListTotalsParamsByMonth, int32(5)
	for more := true; more; {
		page, err := c.client.ListTotalsWithResponse(c.ctx, &tally.ListTotalsParams{By: &by, Limit: &limit, Cursor: cursor})
		if err != nil {
			return err
		}
		if page.JSON200 == nil {
			return fmt.Errorf("no page of months: %s", page.Status())
		}
		for _, month := range page.JSON200.Items {
			of.add(month.TotalTransactions, month.TotalAmount)
		}
		cursor = page.JSON200.NextCursor
		more = cursor != nil
	}
	return loaded.equals("the files", of.count, json.Number(of.amount.FloatString(4)))
}

// runs sums the loaded rows of the files of all runs.
func (c check) runs() (loaded sum, err error) {
	runs, err := c.client.ListRunsWithResponse(c.ctx, &tally.ListRunsParams{})
	if err != nil {
		return loaded, err
	}
	if runs.JSON200 == nil {
		return loaded, fmt.Errorf("no runs: %s", runs.Status())
	}
	for _, run := range runs.JSON200.Items {
		if !run.Kind.Valid() || !run.Status.Valid() || run.CreatedAt.IsZero() {
			return loaded, fmt.Errorf("an odd run: %+v", run)
		}
		files, err := c.client.ListRunFilesWithResponse(c.ctx, run.Id, &tally.ListRunFilesParams{})
		if err != nil {
			return loaded, err
		}
		if files.JSON200 == nil {
			return loaded, fmt.Errorf("no files of a run: %s", files.Status())
		}
		var not int64
		for _, f := range files.JSON200.Items {
			if !f.Status.Valid() || f.RunId != run.Id || f.Read != f.Loaded+f.Duplicate+f.Conflict+f.Rejected {
				return loaded, fmt.Errorf("an odd file: %+v", f)
			}
			loaded.add(f.Loaded, f.TotalAmount)
			not += f.Read - f.Loaded
		}
		if err := c.rejects(run.Id, not); err != nil {
			return loaded, err
		}
	}
	if loaded.count == 0 {
		return loaded, errors.New("no run has loaded anything")
	}
	return loaded, nil
}

func (c check) rejects(run, want int64) error {
	var cursor *string
	var got int64
	for more := true; more; {
		page, err := c.client.ListRunRejectsWithResponse(c.ctx, run, &tally.ListRunRejectsParams{Cursor: cursor})
		if err != nil {
			return err
		}
		if page.JSON200 == nil {
			return fmt.Errorf("no page of rejects: %s", page.Status())
		}
		for _, r := range page.JSON200.Items {
			if (r.Outcome == tally.RejectOutcomeRejected) != (len(r.Faults) > 0) {
				return fmt.Errorf("an odd reject: %+v", r)
			}
		}
		got += int64(len(page.JSON200.Items))
		cursor = page.JSON200.NextCursor
		more = cursor != nil
	}
	if got != want {
		return fmt.Errorf("%d rows were not loaded, and not %d", got, want)
	}
	return nil
}

func (c check) problems() error {
	missing, err := c.client.GetUserSummaryWithResponse(c.ctx, unknownUser, nil)
	if err != nil {
		return err
	}
	p := missing.ApplicationproblemJSON404
	if p == nil || p.Type != "/problems/no-transactions" || p.Status != http.StatusNotFound || p.RequestId != missing.HTTPResponse.Header.Get("X-Request-Id") {
		return fmt.Errorf("another 404: %s", missing.Body)
	}
	none := int32(0)
	refused, err := c.client.ListRunsWithResponse(c.ctx, &tally.ListRunsParams{Limit: &none})
	if err != nil {
		return err
	}
	p = refused.ApplicationproblemJSON422
	if p == nil || p.Errors == nil || (*p.Errors)[0].Location != "query.limit" {
		return fmt.Errorf("another 422: %s", refused.Body)
	}
	return nil
}
