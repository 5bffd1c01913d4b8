package main

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
)

// consoleTest is a service with a browser on it. Its tests share both, in order.
type consoleTest struct {
	*browser
	p *program

	settings string // the file
	service  *exec.Cmd
}

// TestConsole uses the console as people do: first without data, then as a newcomer with the
// sample, then as an operator, and as a reader at last.
func TestConsole(t *testing.T) {
	t.Parallel()
	c := &consoleTest{browser: newBrowser(t), p: newProgram(t)}
	c.settings = c.p.write("tally.yaml", fmt.Sprintf("sources:\n  - {name: shop, path: %q, settle: 0s, expected_by: \"06:30\"}\n", filepath.Join(c.p.dir, "shop", "*.csv")))
	for _, part := range []struct {
		name string
		test func()
	}{
		{"WithoutData", c.withoutData}, {"Newcomer", c.newcomer}, {"Drop", c.dropFiles}, {"Live", c.live},
		{"Decide", c.decide}, {"Replay", c.replay}, {"Revert", c.revert}, {"Health", c.health}, {"Nights", c.nights}, {"Pages", c.pages}, {"Reader", c.reader},
	} {
		if !t.Run(part.name, func(t *testing.T) { c.t = t; part.test() }) {
			return // what follows needs it
		}
	}
}

// serve starts the program, after an end of the one before.
func (c *consoleTest) serve(args ...string) {
	t := c.t
	t.Helper()
	if c.service != nil {
		require.NoError(t, c.service.Process.Signal(syscall.SIGTERM))
		require.NoError(t, c.service.Wait())
	}
	listen := freeAddress(t)
	c.service, _ = c.p.start(append([]string{"up", "--listen", listen, "--config", c.settings}, args...)...)
	c.base = "http://" + listen
	require.Eventually(t, func() bool {
		response, err := http.Get(c.base + "/readyz")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	}, testdb.Patience, 50*time.Millisecond)
}

// says checks that the page has words.
func (c *consoleTest) says(words ...string) {
	c.t.Helper()
	text := c.text()
	for _, w := range words {
		assert.Contains(c.t, text, w, c.at())
	}
}

// Nothing is missing on a page without data, and each says how to begin.
func (c *consoleTest) withoutData() {
	c.serve()
	for path, words := range map[string]string{
		"/": "Needs action", "/console/nights": "No source has had a file yet", "/console/rejects": "None: every row",
		"/console/users?by=total_amount": "No user has transactions yet", "/console/totals": "Nothing is loaded yet", "/console/sources": "No source has had a file yet",
		"/console/health": "Not verified yet", "/console/drop": "It is checked first",
	} {
		c.open(path)
		c.says(words)
	}
}

// A newcomer comes from the sample to a corrected and loaded row by what the pages offer.
func (c *consoleTest) newcomer() {
	c.serve("--sample")
	require.Eventually(c.t, func() bool { return c.p.query("SELECT count(*) FROM etl_outcomes") == "1" }, testdb.Patience, 50*time.Millisecond)
	c.do(chromedp.Navigate(c.base + "/"))
	c.press("Show the rows: 1900 rows of source manual with missing_amount")
	c.says("Open rows with missing_amount of manual")
	c.press(filepath.Join(c.p.dir, "sample.csv") + ", line ")
	c.fill("input[name=amount]", "5.25")
	c.fill("form[action$=fix] input[name=reason]", "the sender says so")
	c.press("Load the corrected row")
	c.check("fixed")
	c.says("The row was loaded with the corrected values.")
	c.press("transaction TXN")
	c.check("history of a fixed row")
	c.says("fix", "5.25", "stored")
	assert.Equal(c.t, "the sender says so anonymous",
		c.p.query("SELECT entry::json->>'reason' || ' ' || (entry::json->>'actor') FROM audit_chain WHERE kind = 'fix'"))
}

const dropped = "transaction_id,user_id,amount,transaction_date\n" +
	"T1,7,10.50,2024-01-05\nT2,7,,2024-01-06\nT3,8,20,03/04/2024\nT4,x,1,2024-01-06\nT8,7,2.50,2024-01-05\nT9,7,2.50,2024-01-05\n" +
	"T5,8,1,2024-02-01\nT6,8,1,2024-02-01\nT7,8,1,2024-02-01\n"

// drop has a file checked.
func (c *consoleTest) drop(path string) {
	c.t.Helper()
	c.open("/console/drop")
	c.do(chromedp.SetUploadFiles(chromedp.CSS("input[type=file]"), []string{path}))
	c.press("Check it")
}

// A file is dropped, checked, read as a source's, and loaded.
func (c *consoleTest) dropFiles() {
	t := c.t
	const header = "transaction_id,user_id,amount,transaction_date\n"
	code, _, stderr := c.p.run("run", c.p.write("shop/old.csv", header+"T8,7,1.50,2024-01-05\nT9,7,1.50,2024-01-05\n"), c.p.write("shop/retired.csv", header+"T0,6,3,2019-01-05\n"))
	require.Zero(t, code, stderr)
	file := c.p.write("new.csv", dropped)
	c.drop(file)
	c.check("dropped")
	c.says("6 of 9 rows would load", "03/04/2024 is 2024-03-04 under slash: mdy")
	c.fill("select[name=source]", "shop")
	c.press("Check again")
	c.press("Load 6 rows")
	c.awaitEnd()
	assert.Regexp(t, `4\s+loaded`, c.text())
	c.press(filepath.Join(c.p.dir, "dropped"))
	c.says("ambiguous_date", "missing_amount", "conflict")
	c.press("missing_amount")
	c.says("Open rows with missing_amount of file")

	c.drop(file) // once more, under a setting
	c.fill("select[name=slash]", "dmy")
	c.press("Check again")
	c.says("7 of 9 rows would load")
}

// awaitEnd waits until the page of a run, which it follows, is that of a finished one.
func (c *consoleTest) awaitEnd() {
	c.t.Helper()
	c.await("succeeded")
	require.Eventually(c.t, func() bool {
		return read(c.browser, chromedp.Evaluate[bool](`document.readyState == "complete" && !document.querySelector("[data-events]")`))
	}, testdb.Patience, 10*time.Millisecond)
}

// A page follows its run while that waits for a lock.
func (c *consoleTest) live() {
	t := c.t
	conn, err := pgx.Connect(t.Context(), c.p.url)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "LOCK TABLE transactions IN SHARE MODE")
	require.NoError(t, err)
	c.drop(c.p.write("live.csv", "transaction_id,user_id,amount,transaction_date\nL1,9,1,2024-01-05\n"))
	c.press("Load 1 row")
	c.await("running")
	c.await("run started") // a line of the log
	c.check("live run")
	require.NoError(t, tx.Commit(t.Context()))
	c.awaitEnd()
}

// Conflicts are decided for either version, and a row is discarded.
func (c *consoleTest) decide() {
	t := c.t
	for button, words := range map[string]string{"Keep the stored row": "The stored row stays.", "Take this row instead": "This row has taken the stored row's place."} {
		c.do(chromedp.Navigate(c.base + "/console/rejects"))
		c.press("conflict of shop")
		c.press(filepath.Join(c.p.dir, "dropped"))
		c.says("Both versions of T")
		c.press(button)
		c.says(words)
	}
	assert.Equal(t, "1.5 2.5", c.p.query("SELECT string_agg(amount::text, ' ' ORDER BY amount) FROM transactions WHERE transaction_id IN ('T8', 'T9')"))
	c.press("Open rejects")
	c.press("invalid_user_id of shop")
	c.press(filepath.Join(c.p.dir, "dropped"))
	c.fill("form[action$=discard] input[name=reason]", "a test row")
	c.press("Discard the row")
	c.says("closed without loading")
}

// A row is replayed once a later file has shown how its source writes dates.
func (c *consoleTest) replay() {
	t := c.t
	c.do(chromedp.Navigate(c.base + "/"))
	c.says("Set slash for source shop in tally.yaml")
	c.press("Show the rows: 1 row of source shop with ambiguous_date")
	c.press("Replay these: preview")
	c.says("A preview: nothing is changed yet. 0 rows would be loaded.")
	code, _, stderr := c.p.run("run", c.p.write("shop/later.csv", "transaction_id,user_id,amount,transaction_date\nT10,8,1,13/04/2024\n"))
	require.Zero(t, code, stderr)
	c.press("Back")
	c.press("Replay these: preview")
	c.check("replay preview")
	c.says("1 row would be loaded.")
	c.press("Replay 1 row")
	c.check("replayed")
	c.says("Done: 1 row loaded.")
	c.press("Show the loaded rows")
	c.press(filepath.Join(c.p.dir, "dropped"))
	c.press("transaction T3")
	c.says("replay", "2024-04-03", "stored")
	c.press("8")
	assert.Equal(t, "/console/users/8", c.at())
}

// A file is taken back out.
func (c *consoleTest) revert() {
	c.do(chromedp.Navigate(c.base + "/console/files/" + c.p.query("SELECT max(id) FROM etl_files WHERE path LIKE '%live.csv'")))
	c.fill("form[action$=revert] input[name=reason]", "sent by mistake")
	c.press("Take the file back out: preview")
	c.check("revert")
	c.says("A preview")
	c.press("Take 1 row back out")
	c.says("The file was taken back out.")
	assert.Equal(c.t, "sent by mistake", c.p.query("SELECT entry::json->>'reason' FROM audit_chain WHERE kind = 'revert'"))
}

// Verifications, exports, a retired month and a report are on the page of the health.
func (c *consoleTest) health() {
	t := c.t
	for _, args := range [][]string{{"verify"}, {"export", "--to", filepath.Join(c.p.dir, "lake")}, {"partitions", "retire", "--before", "2020-01", "--keep-totals", "--drop"}} {
		code, out, stderr := c.p.run(args...)
		require.Zero(t, code, out+stderr)
	}
	c.do(chromedp.Navigate(c.base + "/console/health"))
	c.press("Make a report")
	require.Eventually(t, func() bool {
		c.do(chromedp.Navigate(c.base + "/console/health"))
		return strings.Contains(c.text(), "Download the whole report")
	}, testdb.Patience, 50*time.Millisecond)
	assert.NotContains(t, c.text(), "still counted", "a retired month is not lost")
	c.says("every rollup equals the transactions", "retired, totals kept", "lake")
	assert.Contains(t, c.download("a[href$=report]"), "<title>Tally")
}

// download is the file that a link leads to.
func (c *consoleTest) download(selector string) string {
	c.t.Helper()
	return read(c.browser, chromedp.Evaluate[string](fmt.Sprintf("fetch(document.querySelector(%q).href).then(r => r.text())", selector), chromedp.EvalAwaitPromise))
}

// nightsOfMonths are a night of the source in each of the last twenty months, loaded at noon.
const nightsOfMonths = `
	INSERT INTO etl_runs (kind, logical_date, requested_by) SELECT 'nightly', current_date - 40 * n, 'schedule' FROM generate_series(1, 20) n;
	INSERT INTO etl_attempts (run_id, attempt, worker, code_version) SELECT id, 1, 'a:1', '1.0.0' FROM etl_runs WHERE requested_by = 'schedule';
	INSERT INTO etl_outcomes (run_id, attempt, status) SELECT id, 1, 'succeeded' FROM etl_runs WHERE requested_by = 'schedule';
	INSERT INTO etl_files (run_id, attempt, source, path, bytes, status, read, loaded, duplicate, conflict, rejected, rules, code_version, started_at, finished_at)
	SELECT id, 1, 'shop', 'night.csv', 1, 'loaded', 0, 0, 0, 0, 0, '{}', '1.0.0', now(), logical_date + interval '36 hours' FROM etl_runs WHERE requested_by = 'schedule'`

// Earlier months follow when a person scrolls to the end, or by a link; a night leads to its run.
func (c *consoleTest) nights() {
	c.p.exec(nightsOfMonths)
	c.do(chromedp.Navigate(c.base + "/console/nights"))
	months := func() int {
		return read(c.browser, chromedp.Evaluate[int](`document.querySelectorAll("#months > section").length`))
	}
	shown := months()
	assert.Equal(c.t, 12, shown)
	require.Eventually(c.t, func() bool {
		c.do(chromedp.Evaluate[chromedp.Void]("scrollTo(0, document.body.scrollHeight)"))
		return months() > shown && strings.Contains(c.text(), "These are the first nights.")
	}, testdb.Patience, 50*time.Millisecond)
	c.check("many nights")
	c.do(chromedp.Navigate(c.base + "/console/nights?month=2020-01"))
	c.says("No nights.")
	c.press("Newest")
	c.press(c.p.query("SELECT current_date - 40") + ", shop: late")
	assert.Equal(c.t, "/console/runs/"+c.p.query("SELECT id FROM etl_runs WHERE logical_date = current_date - 40 AND kind = 'nightly'"), c.at())
}

type consolePage struct{ path, words string }

// consolePages are all pages of the console, with what the tests before have made.
func consolePages() []consolePage {
	return []consolePage{
		{"/", "Needs action"}, {"/console/nights", "shop"}, {"/console/runs/1", "sample.csv"}, {"/console/files/1", "Not loaded"},
		{"/console/rejects", "conflict"}, {"/console/rejects?state=fixed", "Closed rows"}, {"/console/rejects/1:13", "Fix by hand"}, {"/console/rejects/1:5", "Nothing is to be done"},
		{"/console/users", ""}, {"/console/users?by=total_amount", "Average"}, {"/console/users/7", "receipt"}, {"/console/users/6", "their months are retired"}, {"/console/history?id=T9", "shop/old.csv"},
		{"/console/totals", "2024-02"}, {"/console/totals?by=day", "2024-12"}, {"/console/sources", "slash: dmy"}, {"/console/health", "Partitions"}, {"/console/drop", ""},
	}
}

func (c *consoleTest) pages() {
	others := []consolePage{{"/docs", ""}, {"/problems/", "Types of problem"}, {"/problems/not-found", "Not found"}}
	for _, page := range slices.Concat(consolePages(), others) {
		c.open(page.path)
		c.says(page.words)
	}
	c.openProblem("/console/runs/99999", http.StatusNotFound)
	c.openProblem("/console/users/9", http.StatusNotFound)
	c.openProblem("/console/users/6/receipt", http.StatusConflict)
	c.openProblem("/console/users?user=x", http.StatusUnprocessableEntity)
	c.openProblem("/console/totals?from=x", http.StatusUnprocessableEntity)
	c.open("/console/users/7")
	assert.Contains(c.t, c.download("a[href$=receipt]"), `"user_id": 7`)
}

// A reader sees every page, without a form that makes a change.
func (c *consoleTest) reader() {
	t := c.t
	code, secret, stderr := c.p.run("token", "add", "ann", "--role", "reader")
	require.Zero(t, code, stderr)
	bearer := "Bearer " + strings.TrimSpace(secret)
	_, err := chromedp.Call(c.ctx, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Authorization": bearer}})
	require.NoError(t, err)
	require.Eventually(t, func() bool { // the service learns of tokens once a second
		status, _ := get(t, c.base+"/console/nights")
		return status == http.StatusUnauthorized
	}, testdb.Patience, 50*time.Millisecond)
	axe := c.axe
	for _, page := range consolePages() {
		c.axe = ""
		if slices.Contains([]string{"/", "/console/files/1", "/console/rejects/1:13", "/console/health", "/console/drop"}, page.path) {
			c.axe = axe // it says other things to a reader
		}
		c.open(page.path)
		assert.Contains(t, read(c.browser, chromedp.Text(chromedp.CSS(".viewer"))), "token:ann (reader)", page.path)
		assert.Zero(t, read(c.browser, chromedp.Evaluate[int]("document.querySelectorAll('form[method=post]').length")), page.path)
	}
	for _, path := range []string{"/console/drop", "/console/rejects/1:13/discard", "/console/rejects/replay", "/console/files/1/revert", "/console/health/report"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.base+path, strings.NewReader("reason=x"))
		require.NoError(t, err)
		request.Header.Set("Authorization", bearer)
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusForbidden, response.StatusCode, path)
	}
}
