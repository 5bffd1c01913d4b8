package console_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTotalsWithoutData(t *testing.T) {
	t.Parallel()
	h, _ := newConsole(t, "", nil)
	for _, query := range []string{"", "?by=day", "?by=day&from=2024-01-01", "?from=x"} {
		assert.Contains(t, text(get(t, h, http.StatusOK, "/console/totals"+query)), "Nothing is loaded yet.", query)
	}
}

func TestTotals(t *testing.T) {
	t.Parallel()
	h, _ := newConsole(t, data, nil)
	page := get(t, h, http.StatusOK, "/console/totals")
	assert.Contains(t, text(page), "Range 2022-01-01 to 2024-07-31 Transactions 151 Sum 99,999,999,774.1234 EUR")
	assert.Contains(t, text(page), "2024-07 28 −45.00 EUR 2024-06 30 −45.00 EUR")
	assert.Contains(t, text(page), "2024-03 31 −43.50 EUR 2022-01 1 99,999,999,999.1234 EUR")
	assert.Contains(t, page, `href="?by=day&amp;from=2024-07-01&amp;to=2024-07-31"`)
	assert.NotContains(t, text(page), "Earlier months")

	days := get(t, h, http.StatusOK, "/console/totals?by=day")
	assert.Contains(t, text(days), "Range 2024-05-01 to 2024-07-31 Transactions 89")
	assert.Contains(t, days, `value="2024-05-01"`)
	assert.Contains(t, text(days), "2024-07-28 1 −4.50 EUR 2024-07-27 1 −1.50 EUR")
	assert.Contains(t, days, `href="?by=day&amp;from=&amp;to=2024-04-30"`)
	earlier := text(get(t, h, http.StatusOK, "/console/totals?by=day&from=&to=2024-04-30"))
	assert.Contains(t, earlier, "Range 2024-01-30 to 2024-04-30 Transactions 61")
	assert.Contains(t, earlier, "Newest days")

	cut := text(get(t, h, http.StatusOK, "/console/totals?by=month&from=2024-03-31&to=2024-04-02"))
	assert.Contains(t, cut, "2024-04 2 −6.00 EUR 2024-03 1 1.50 EUR")
	all := get(t, h, http.StatusOK, "/console/totals?by=day&from=2022-01-01&to=2024-07-31")
	assert.Contains(t, text(all), "Range 2023-08-01 to 2024-07-31 Transactions 150", "a page has a year at most")
	assert.Contains(t, all, `href="?by=day&amp;from=2022-01-01&amp;to=2023-07-31"`)
	assert.Contains(t, text(get(t, h, http.StatusOK, "/console/totals?from=2023-01-01&to=2023-01-31")), "No transactions in this range.")
	for _, query := range []string{"?from=x", "?from=2024-02-30", "?to=2021-12-31", "?from=2024-02-02&to=2024-02-01", "?from=0000-01-01"} {
		assert.Contains(t, text(get(t, h, http.StatusUnprocessableEntity, "/console/totals"+query)), "The range is two days", query)
	}
}

// Totals that were dropped with their months are not silently left out of a range that has them.
func TestTotalsOfRetiredMonths(t *testing.T) {
	t.Parallel()
	h, _ := newConsole(t, data+`INSERT INTO etl_retired (month, before, totals, rows, amount, keys_hash, change)
		VALUES ('2021-05-01', '2022-01-01', 'dropped', 1, 1, 0, 1)`, nil)
	get(t, h, http.StatusOK, "/console/totals")
	assert.Contains(t, text(get(t, h, http.StatusUnprocessableEntity, "/console/totals?from=2021-01-01")), "Months before 2022-01 are retired")
}
