package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/summaries"
)

const (
	usersPath       = "/console/users"
	historyPath     = "/console/history"
	topShown        = 25
	rowsShown       = 100
	versionsShown   = 200
	noUserID        = "A user id is an integer from 1 to 2147483647."
	noTransactions  = "No transaction of this user has been loaded."
	noTransactionID = "No transaction with this id has been loaded."
)

// The bounds of a receipt; the command line makes larger ones. MaxReceiptRows transactions are some 5 MB.
// MaxReceiptChain is in bytes of its entries and links: 110,000 commits without the entries.
const (
	MaxReceiptRows  = 20_000
	MaxReceiptChain = 8 << 20
)

// ErrNoReceipt reports that a user's total cannot be proven.
var ErrNoReceipt = errors.New("months of the user's files are retired, and their rows cannot be proven any more")

// ErrLargeReceipt reports that too much of the audit chain belongs to a receipt.
var ErrLargeReceipt = errors.New("the user's transactions name too many commits, or the first is too many commits ago: tally prove makes the receipt")

// Summaries reads the rollups, as [summaries.Store] does.
type Summaries interface {
	Get(ctx context.Context, userID int32) (summaries.Summary, error)
	Transactions(ctx context.Context, userID int32, after summaries.Cursor, limit int) ([]summaries.Transaction, error)
	Top(ctx context.Context, by summaries.Order, limit int) ([]summaries.Summary, error)
	Totals(ctx context.Context, q summaries.TotalsQuery) ([]summaries.Total, error)
}

// usersPage is where users and transactions are looked up.
type usersPage struct {
	Problem string // of what was looked up; "" if nothing was
	By      summaries.Order
	Top     []summaries.Summary // in the order By, if one was asked for
}

// userPage is a user.
type userPage struct {
	Summary summaries.Summary
	Months  totals
	Rows    []userRow // of transactions, in order of date and id
	First   bool      // they are the first
	Next    string    // where the next ones begin, if there are more
}

// userRow is a transaction with its file, which is zero where the ledger does not have it.
type userRow struct {
	summaries.Transaction
	File ledger.File
}

// Provable reports whether the page makes a receipt.
func (p userPage) Provable() bool { return p.Summary.Transactions <= MaxReceiptRows }

// historyPage is every state of a transaction, the latest [versionsShown] of them.
type historyPage struct {
	ID string
	ledger.History
	Earlier int64 // states before
}

func userPath(id int32) string { return fmt.Sprint(usersPath, "/", id) }

func (c *console) users(w http.ResponseWriter, r *http.Request) error {
	if r.FormValue("user") != "" {
		id, ok := userID(r.FormValue("user"))
		if !ok {
			return c.lookUp(w, r, http.StatusUnprocessableEntity, usersPage{Problem: noUserID})
		}
		http.Redirect(w, r, userPath(id), http.StatusSeeOther)
		return nil
	}
	p := usersPage{By: summaries.Order(r.FormValue("by"))}
	if p.By != summaries.ByAmount && p.By != summaries.ByTransactions {
		return c.lookUp(w, r, http.StatusOK, usersPage{})
	}
	var err error
	if p.Top, err = c.Summaries.Top(r.Context(), p.By, topShown); err != nil {
		return err
	}
	return c.lookUp(w, r, http.StatusOK, p)
}

func (c *console) lookUp(w http.ResponseWriter, r *http.Request, status int, data usersPage) error {
	p, err := c.page(r, "Users", usersPath, data)
	if err != nil {
		return err
	}
	return c.pages.Write(w, status, "users.html", p)
}

func userID(text string) (int32, bool) {
	id, err := strconv.ParseInt(strings.TrimSpace(text), 10, 32)
	return int32(id), err == nil && id > 0
}

// summaryOf looks up the user of the path. Without one it has answered.
func (c *console) summaryOf(w http.ResponseWriter, r *http.Request) (s summaries.Summary, found bool, err error) {
	id, ok := userID(r.PathValue("id"))
	if !ok {
		return s, false, c.lookUp(w, r, http.StatusNotFound, usersPage{Problem: noUserID})
	}
	s, err = c.Summaries.Get(r.Context(), id)
	if errors.Is(err, summaries.ErrNotFound) {
		return s, false, c.lookUp(w, r, http.StatusNotFound, usersPage{Problem: noTransactions})
	}
	return s, err == nil, err
}

func (c *console) user(w http.ResponseWriter, r *http.Request) error {
	s, found, err := c.summaryOf(w, r)
	if !found {
		return err
	}
	p := userPage{Summary: s}
	if p.Months, err = c.userMonths(r.Context(), s.UserID); err != nil {
		return err
	}
	after := startOf(r.URL.Query())
	p.First = after == summaries.Cursor{}
	if p.Rows, p.Next, err = c.userRows(r.Context(), s.UserID, after); err != nil {
		return err
	}
	return c.show(w, r, "user.html", fmt.Sprint("User ", s.UserID), usersPath, p)
}

func (c *console) userMonths(ctx context.Context, id int32) (totals, error) {
	months, err := c.Summaries.Totals(ctx, summaries.TotalsQuery{UserID: id, By: summaries.Month, Days: summaries.AllDays(), Limit: math.MaxInt32})
	if err != nil {
		return totals{}, err
	}
	t := newest(summaries.Month, months)
	t.OfUser = true
	return t, nil
}

func (c *console) userRows(ctx context.Context, id int32, after summaries.Cursor) (rows []userRow, next string, err error) {
	list, err := c.Summaries.Transactions(ctx, id, after, rowsShown+1)
	if err != nil {
		return nil, "", err
	}
	if len(list) > rowsShown {
		list = list[:rowsShown]
		last := list[rowsShown-1]
		next = fmt.Sprint(last.Date, ".", last.ID)
	}
	var ids []int64
	for _, t := range list {
		ids = append(ids, t.FileID)
	}
	files, err := c.Ledger.FilesByID(ctx, ids)
	for _, t := range list {
		rows = append(rows, userRow{t, files[t.FileID]})
	}
	return rows, next, err
}

// startOf is the position after that of a link to the next rows, or before the first row of a
// day; where there is none of both, the start.
func startOf(query url.Values) summaries.Cursor {
	if from, err := civil.Parse(query.Get("from")); err == nil && from > civil.Min {
		return summaries.Cursor{Date: from - 1, ID: math.MaxInt64}
	}
	day, id, _ := strings.Cut(query.Get("after"), ".")
	date, err := civil.Parse(day)
	if number := idOf(id); err == nil && date >= civil.Min && number > 0 {
		return summaries.Cursor{Date: date, ID: number}
	}
	return summaries.Cursor{}
}

// receipt answers with a file: the receipt of the user's total, as tally prove makes it.
func (c *console) receipt(w http.ResponseWriter, r *http.Request) error {
	s, found, err := c.summaryOf(w, r)
	if !found {
		return err
	}
	var body bytes.Buffer
	if (userPage{Summary: s}).Provable() {
		err = c.Receipt(r.Context(), &body, s.UserID)
	} else {
		err = ErrLargeReceipt
	}
	if errors.Is(err, ErrLargeReceipt) {
		c.pages.WriteProblem(w, Problem{Status: http.StatusUnprocessableEntity, Title: "The receipt is too large for a page",
			Detail: fmt.Sprintf("The command line makes it: tally prove %d --out receipt.json", s.UserID)})
		return nil
	}
	if errors.Is(err, ErrNoReceipt) {
		c.pages.WriteProblem(w, Problem{Status: http.StatusConflict, Title: "There is no receipt", Detail: "Some of the user's months are retired: their rows cannot be proven any more."})
		return nil
	}
	if err != nil {
		return err
	}
	attach(w, "application/json", fmt.Sprintf("tally-receipt-%d.json", s.UserID), &body)
	return nil
}

// attach answers with a file to be stored.
func attach(w http.ResponseWriter, contentType, name string, body io.WriterTo) {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", name))
	header.Set("Cache-Control", "no-store")
	_, _ = body.WriteTo(w) // a client that is gone needs no answer
}

// history has the id in its query: in a path, a browser would resolve an id such as "..".
func (c *console) history(w http.ResponseWriter, r *http.Request) error {
	p := historyPage{ID: strings.TrimSpace(r.FormValue("id"))}
	var err error
	p.History, err = c.Ledger.History(r.Context(), p.ID)
	if errors.Is(err, ledger.ErrTransactionNotFound) {
		return c.lookUp(w, r, http.StatusNotFound, usersPage{Problem: noTransactionID})
	}
	if err != nil {
		return err
	}
	p.Earlier = int64(max(0, len(p.Versions)-versionsShown))
	p.Versions = p.Versions[p.Earlier:]
	return c.show(w, r, "history.html", "History of "+p.ID, usersPath, p)
}
