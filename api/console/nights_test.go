package console_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/api/console"
	"github.com/opentax/tally/internal/civil"
)

// nightsData is nights of January 2024: of bank, which is expected by 6:30, and of shop, which has no
// time; and a night of 2020 that was loaded afterwards.
const nightsData = `
	INSERT INTO etl_runs (kind, logical_date, requested_by) SELECT 'nightly', date '2024-01-01' + n, 'schedule' FROM generate_series(1, 5) n
	UNION ALL SELECT 'backfill', '2020-02-29', 'cli';
	INSERT INTO etl_attempts (run_id, attempt, worker, code_version) SELECT id, 1, 'a:1', '1.0.0' FROM etl_runs;
	INSERT INTO etl_outcomes (run_id, attempt, status) SELECT id, 1, 'succeeded' FROM etl_runs;
	INSERT INTO etl_files (run_id, attempt, source, path, bytes, status, read, loaded, duplicate, conflict, rejected, rules, code_version, started_at, finished_at)
	SELECT id, 1, source, 'a', 1, 'loaded', 0, 0, 0, 0, 0, '{}', '1.0.0', now(), logical_date + at FROM etl_runs CROSS JOIN LATERAL (VALUES
		(2, 'bank', '30 hours'::interval), (2, 'shop', '30 hours'), (3, 'bank', '31 hours'), (3, 'shop', '47 hours'), (4, 'shop', '49 hours'), (29, 'bank', '9 years')) v (day, source, at)
	WHERE extract(day FROM logical_date) = v.day`

func nightsConsole(t *testing.T, script string) http.Handler {
	t.Helper()
	h, _ := newConsole(t, script, func(c *console.Config) {
		c.TimeZone = time.UTC
		c.DueAt = func(source string, date civil.Date) (time.Time, bool) {
			if date >= civil.Of(time.Now().UTC())-1 {
				return time.Now().Add(time.Hour), source == "bank"
			}
			return (date + 1).Time().Add(6*time.Hour + 30*time.Minute), source == "bank"
		}
	})
	return h
}

func TestNights(t *testing.T) {
	t.Parallel()
	h := nightsConsole(t, nightsData)
	page := get(t, h, http.StatusOK, "/console/nights?month=2024-01")
	for _, label := range []string{
		"2024-01-02, bank: loaded", "2024-01-02, shop: loaded", "2024-01-03, shop: loaded", "2024-01-05, bank: missing",
		"2024-01-03, bank: late", "2024-01-04, shop: late",
	} {
		assert.Contains(t, page, `aria-label="`+label+`"`)
	}
	assert.Contains(t, text(page), "January 2024")
	assert.Contains(t, text(page), "February 2023", "a year is on a page")
	assert.Contains(t, page, `id="earlier" href="/console/nights?month=2023-01"`)
	assert.Contains(t, page, `<a href="/console/nights?month=2025-01">‹ Later</a>`)
	oldest := get(t, h, http.StatusOK, "/console/nights?month=2020-03")
	assert.Contains(t, oldest, `aria-label="2020-02-29, bank: loaded"`)
	assert.Contains(t, text(oldest), "These are the first nights.")
	assert.NotContains(t, text(get(t, h, http.StatusOK, "/console/nights?month=9999-12")), "Later", "nothing is after the last night")

	assert.Contains(t, get(t, h, http.StatusOK, "/console/nights"), "bank: unfinished", "the last night's")
	require.Contains(t, text(get(t, nightsConsole(t, ""), http.StatusOK, "/console/nights")), "No source has had a file yet.")
}

// A page has as many months as its sources leave room for.
func TestNightsOfManySources(t *testing.T) {
	t.Parallel()
	h := nightsConsole(t, nightsData+`;
		INSERT INTO etl_runs (kind, logical_date, requested_by) SELECT 'nightly', date '2024-01-01' + n, 'schedule' FROM generate_series(6, 30) n;
		INSERT INTO etl_attempts (run_id, attempt, worker, code_version) SELECT id, 1, 'a:1', '1.0.0' FROM etl_runs WHERE logical_date > '2024-01-06';
		INSERT INTO etl_files (run_id, attempt, source, path, bytes, status, read, loaded, duplicate, conflict, rejected, rules, code_version, started_at)
		SELECT id, 1, 'many ' || lpad(n::text, 20, '0'), 'a', 1, 'loaded', 1000000, 999999, 0, 0, 1, '{}', '1.0.0', now()
		FROM etl_runs CROSS JOIN generate_series(1, 38) n WHERE logical_date > '2021-01-01'`)
	page := get(t, h, http.StatusOK, "/console/nights?month=2024-01")
	assert.Equal(t, 1, strings.Count(page, "<section"))
	assert.Equal(t, 24, strings.Count(page, `<th scope="row">`))
	assert.Contains(t, page, `<a href="/console/nights?after=many`)
	rest := get(t, h, http.StatusOK, "/console/nights?month=2024-01&after=many+00000000000000000023")
	assert.Equal(t, 16, strings.Count(rest, `<th scope="row">`))
	assert.Contains(t, rest, `<a href="/console/nights?month=2024-01">First sources</a>`)
	assert.Contains(t, rest, `id="earlier" href="/console/nights?after=many`)
}
