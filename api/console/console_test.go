package console_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/api/console"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/summaries"
)

const maxPage = 150_000 // bytes

// data is two users with 150 transactions in March to July 2024, and one in 2022.
const data = `
	BEGIN;
	SET LOCAL tally.writer = 'tally';
	SELECT tally_ensure_partition(m::date) FROM unnest('{2022-01-01,2024-03-01,2024-04-01,2024-05-01,2024-06-01,2024-07-01}'::text[]) m;
	INSERT INTO etl_runs (kind, logical_date, requested_by) VALUES ('nightly', '2024-07-31', 'schedule');
	INSERT INTO etl_attempts (run_id, attempt, worker, code_version) VALUES (1, 1, 'worker-1', '1.0.0');
	INSERT INTO etl_files (run_id, attempt, source, path, bytes, status, read, loaded, duplicate, conflict, rejected, rules, code_version, started_at)
	VALUES (1, 1, 'shop', 'inbox/<new>.csv', 1, 'loaded', 0, 0, 0, 0, 0, '{"decimal": "comma", "columns": {"amount": "Betrag"}}', '1.0.0', now());
	INSERT INTO transactions (transaction_id, user_id, amount, transaction_date, file_id, line)
	SELECT 'TXN ' || n, 7, 1.5 - 3 * (n % 3), date '2024-03-01' + n, 1, n + 1 FROM generate_series(0, 149) n
	UNION ALL SELECT '../&<b>', 8, 99999999999.1234, '2022-01-31', 2, 5;
	INSERT INTO transaction_keys (transaction_id, user_id, transaction_date) SELECT transaction_id, user_id, transaction_date FROM transactions;
	INSERT INTO user_months SELECT user_id, date_trunc('month', transaction_date), count(*), sum(amount::numeric) FROM transactions GROUP BY 1, 2;
	INSERT INTO user_summary (user_id, total_transactions, total_amount, file_id)
	SELECT user_id, count(*), sum(amount::numeric), 1 FROM transactions GROUP BY 1;
	INSERT INTO daily_totals (transaction_date, total_transactions, total_amount, file_id)
	SELECT transaction_date, count(*), sum(amount::numeric), 1 FROM transactions GROUP BY 1;
	INSERT INTO etl_conventions VALUES ('shop', 'slash', 'dmy', 1, 7), ('shop', 'dot', 'dmy', 1, 8), ('shop', 'dot', 'mdy', 9, 1),
		('shop', 'decimal', 'point', 1, 9), ('', 'currency', '€', 1, 3);
	COMMIT;`

// newConsole is the console over a database that a script has filled.
func newConsole(t *testing.T, script string, change func(*console.Config)) (http.Handler, *pgxpool.Pool) {
	t.Helper()
	pool := testdb.New(t, migrations.Schema{})
	_, err := pool.Exec(t.Context(), script)
	require.NoError(t, err)
	config := console.Config{
		Ledger: ledger.NewStore(pool), Summaries: summaries.NewStore(pool), Currency: "EUR",
		Receipt: func(_ context.Context, w io.Writer, user int32) error {
			_, err := fmt.Fprint(w, `{"user_id":`, user, `}`)
			return err
		},
		Viewer: func(*http.Request) console.Viewer { return console.Viewer{Name: "token:ann"} },
		Problem: func(_ context.Context, err error) console.Problem {
			return console.Problem{Status: http.StatusInternalServerError, Title: "Failed", Detail: err.Error()}
		},
	}
	if change != nil {
		change(&config)
	}
	pages, err := console.NewPages()
	require.NoError(t, err)
	mux := http.NewServeMux()
	pages.Mount(mux)
	console.Mount(mux, pages, config)
	return mux, pool
}

// get is a page, which is as each one must be.
func get(t *testing.T, h http.Handler, status int, path string) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	body := w.Body.String()
	require.Equal(t, status, w.Code, "%s: %s", path, body)
	assert.Less(t, len(body), maxPage, path)
	assert.Equal(t, console.Policy, w.Header().Get("Content-Security-Policy"))
	assert.NotRegexp(t, `<style|\sstyle=|<script>|\son[a-z]+=|href="javascript`, body, "%s: the policy would refuse it", path)
	assert.Contains(t, body, "</html>", "%s: the page is whole", path)
	assert.NotContains(t, body, "ZgotmplZ", path)
	return body
}

var tags = regexp.MustCompile(`<[^>]*>`)

// text is what a page says, without its markup.
func text(page string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(tags.ReplaceAllString(page, " "), "\u00a0", " ")), " ")
}
