package console_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/opentax/tally/api/console"
)

func TestUsersWithoutData(t *testing.T) {
	t.Parallel()
	h, _ := newConsole(t, "", nil)
	assert.Contains(t, text(get(t, h, http.StatusOK, "/console/users")), "User id")
	assert.Contains(t, text(get(t, h, http.StatusOK, "/console/users?by=total_amount")), "No user has transactions yet.")
	assert.Contains(t, text(get(t, h, http.StatusNotFound, "/console/users/7")), "No transaction of this user has been loaded.")
	assert.Contains(t, text(get(t, h, http.StatusNotFound, "/console/users/7/receipt")), "No transaction of this user has been loaded.")
	assert.Contains(t, text(get(t, h, http.StatusNotFound, "/console/history?id=%00")), "No transaction with this id has been loaded.")
	for _, id := range []string{"0", "-1", "2147483648", "x", "1.0"} {
		assert.Contains(t, text(get(t, h, http.StatusUnprocessableEntity, "/console/users?user="+id)), "integer from 1 to 2147483647", id)
		assert.Contains(t, text(get(t, h, http.StatusNotFound, "/console/users/"+id)), "integer from 1 to 2147483647", id)
	}
}

func TestUser(t *testing.T) {
	t.Parallel()
	h, _ := newConsole(t, data, nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/console/users?user=+7+", nil))
	assert.Equal(t, http.StatusSeeOther, w.Code)
	assert.Equal(t, "/console/users/7", w.Header().Get("Location"))
	top := text(get(t, h, http.StatusOK, "/console/users?by=total_amount"))
	assert.Contains(t, top, "8 1 99,999,999,999.1234 EUR 99,999,999,999.12 EUR 7 150 −225.00 EUR −1.50 EUR")
	assert.Contains(t, text(get(t, h, http.StatusOK, "/console/users?by=total_transactions")), "7 150 −225.00 EUR −1.50 EUR 8 1")

	page := get(t, h, http.StatusOK, "/console/users/7")
	assert.Contains(t, text(page), "Transactions 150 Sum −225.00 EUR Average −1.50 EUR")
	assert.Contains(t, text(page), "2024-07 28 −45.00 EUR 2024-06 30 −45.00 EUR 2024-05 31 −46.50 EUR")
	assert.Contains(t, page, `href="?from=2024-07-01#transactions"`)
	assert.Contains(t, text(page), "TXN 0 2024-03-01 1.50 EUR inbox/&lt;new&gt;.csv 1 1 TXN 1 2024-03-02 −1.50 EUR")
	assert.Contains(t, page, `href="/console/history?id=TXN%200"`)
	assert.Contains(t, page, `href="/console/files/1"`)
	assert.Contains(t, page, `href="/console/runs/1"`)
	assert.Contains(t, page, `href="?after=2024-06-08.100#transactions"`)
	assert.NotContains(t, page, "TXN%20100")
	rest := get(t, h, http.StatusOK, "/console/users/7?after=2024-06-08.100")
	assert.Contains(t, text(rest), "TXN 100 2024-06-09")
	assert.Contains(t, text(rest), "First transactions")
	assert.NotContains(t, text(rest), "Next transactions")
	assert.NotContains(t, text(rest), "TXN 99 ")
	july := text(get(t, h, http.StatusOK, "/console/users/7?from=2024-07-01"))
	assert.Contains(t, july, "TXN 122 2024-07-01")
	assert.NotContains(t, july, "TXN 121 ")
	assert.Contains(t, text(get(t, h, http.StatusOK, "/console/users/7?from=2025-01-01")), "None from there on.")
	for _, odd := range []string{"?after=x", "?after=0000-01-01.5", "?after=2024-06-08", "?from=0001-01-01"} {
		assert.Contains(t, text(get(t, h, http.StatusOK, "/console/users/7"+odd)), "TXN 0 ", odd)
	}

	lone := get(t, h, http.StatusOK, "/console/users/8")
	assert.Contains(t, text(lone), "2022-01-31 99,999,999,999.1234 EUR 2 5", "of a file that the ledger does not have")
	assert.Contains(t, lone, `href="/console/history?id=..%2f%26%3cb%3e"`)
	history := get(t, h, http.StatusOK, "/console/history?id=..%2f%26%3cb%3e")
	assert.Contains(t, text(history), "stored load 99,999,999,999.1234 EUR 2022-01-31 8")
}

// A user with transactions in years far apart.
func TestUserOfManyYears(t *testing.T) {
	t.Parallel()
	h, _ := newConsole(t, data+`BEGIN; SET LOCAL tally.writer = 'tally';
		INSERT INTO user_months SELECT 8, m, 1, -0.01 FROM generate_series(date '0001-01-01', '0020-12-01', '1 month') m; COMMIT`, nil)
	page := get(t, h, http.StatusOK, "/console/users/8")
	assert.Contains(t, text(page), "In figures, the newest first; 121 earlier are left out")
	assert.Contains(t, text(page), "sum: 0 at 2012-02, 100G at 2022-01")
}

func TestReceipt(t *testing.T) {
	t.Parallel()
	var refused error
	h, pool := newConsole(t, data, func(c *console.Config) {
		made := c.Receipt
		c.Receipt = func(ctx context.Context, w io.Writer, user int32) error {
			if refused != nil {
				return refused
			}
			return made(ctx, w, user)
		}
	})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/console/users/7/receipt", nil))
	assert.Equal(t, `{"user_id":7}`, w.Body.String())
	assert.Equal(t, `attachment; filename="tally-receipt-7.json"`, w.Header().Get("Content-Disposition"))
	refused = console.ErrNoReceipt
	assert.Contains(t, text(get(t, h, http.StatusConflict, "/console/users/7/receipt")), "retired")
	refused = console.ErrLargeReceipt
	assert.Contains(t, text(get(t, h, http.StatusUnprocessableEntity, "/console/users/7/receipt")), "tally prove 7 --out receipt.json")
	_, err := pool.Exec(t.Context(), "BEGIN; SET LOCAL tally.writer = 'tally'; UPDATE user_summary SET total_transactions = 20001 WHERE user_id = 7; COMMIT")
	assert.NoError(t, err)
	assert.Contains(t, text(get(t, h, http.StatusUnprocessableEntity, "/console/users/7/receipt")), "tally prove 7 --out receipt.json")
	assert.Contains(t, text(get(t, h, http.StatusOK, "/console/users/7")), "tally prove 7 --out receipt.json")
}

// The page of a transaction in a retired month tells that, and its former states.
func TestHistoryOfARetiredMonth(t *testing.T) {
	t.Parallel()
	h, _ := newConsole(t, data+`BEGIN; SET LOCAL tally.writer = 'tally';
		INSERT INTO transaction_keys (transaction_id, user_id, transaction_date) VALUES ('gone', 7, '2021-05-02'), ('moved', 7, '2021-05-03'), ('orphan', 7, '2022-05-03');
		INSERT INTO audit_chain (number, at, kind, entry, hash) VALUES (1000, '2024-07-29', 'revert', '{}', sha256('')), (1001, '2024-07-30', 'retire', '{}', sha256(''));
		INSERT INTO transaction_versions (transaction_id, user_id, amount, transaction_date, file_id, line, from_change, to_change) VALUES ('moved', 7, 5, '2021-05-02', 1, 2, 999, 1000);
		INSERT INTO etl_retired (month, before, totals, rows, amount, keys_hash, months_hash, days_hash, change, kept_table) VALUES ('2021-05-01', '2022-01-01', 'kept', 2, 1, 0, 0, 0, 1001, 'transactions_2021_05');
		COMMIT`, nil)
	gone := text(get(t, h, http.StatusOK, "/console/history?id=gone"))
	assert.Contains(t, gone, "Its month 2021-05 was retired at 2024-07-30 00:00:00 UTC . Its key is still known, for user 7 and 2021-05-02; its row is in the table transactions_2021_05. The totals still count it.")
	assert.NotContains(t, gone, "Its states")
	moved := text(get(t, h, http.StatusOK, "/console/history?id=moved"))
	assert.Contains(t, moved, "Its month 2021-05 was retired")
	assert.Contains(t, moved, "Its states")
	assert.NotContains(t, moved, "It is no longer stored.")
	assert.Contains(t, text(get(t, h, http.StatusNotFound, "/console/history?id=orphan")), "No transaction with this id has been loaded.")
}
