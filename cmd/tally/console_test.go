package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	axeVariable        = "TALLY_TEST_AXE"         // axe.min.js of axe-core
	screenshotVariable = "TALLY_TEST_SCREENSHOTS" // a folder; none are taken without it
	patience           = time.Minute
	pageBytes          = 150_000
)

// browser is a page of Chromium that notes what goes wrong on it.
type browser struct {
	t    *testing.T
	ctx  context.Context
	base string
	axe  string

	mu       sync.Mutex
	problems []string
}

// newBrowser starts Chromium, and skips the test where there is none.
func newBrowser(t *testing.T, base string) *browser {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "google-chrome", "chromium-browser"} {
		if path, err := exec.LookPath(name); err == nil && program == "" {
			program = path
		}
	}
	if program == "" {
		t.Skip("no Chromium is installed, so the console's pages are not tested in a browser")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox)
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx, base: base}
	if path := os.Getenv(axeVariable); path != "" {
		script, err := os.ReadFile(path)
		require.NoError(t, err)
		b.axe = string(script)
	} else {
		t.Logf("%s names no axe.min.js, so accessibility is not tested", axeVariable)
	}
	require.NoError(t, chromedp.Do(ctx)) // starts the browser
	require.NoError(t, chromedp.Listen(ctx, b.note))
	return b
}

// note keeps errors of scripts and policies, and requests to other hosts.
func (b *browser) note(event any) {
	problem := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		problem = "exception: " + e.ExceptionDetails.Text
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			problem = "console: " + e.Entry.Text + " " + e.Entry.URL
		}
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, b.base) && !strings.HasPrefix(e.Request.URL, "data:") {
			problem = "request to " + e.Request.URL
		}
	}
	if problem != "" {
		b.mu.Lock()
		b.problems = append(b.problems, problem)
		b.mu.Unlock()
	}
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	limited, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	require.NoError(b.t, chromedp.Do(limited, steps...))
}

// read is the result of an action.
func read[T any](b *browser, action chromedp.Action[T]) T {
	b.t.Helper()
	limited, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	result, err := chromedp.Run(limited, action)
	require.NoError(b.t, err)
	return result
}

// open goes to a page and checks it.
func (b *browser) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.base + path))
	b.check(path)
}

// check is what holds for every page.
func (b *browser) check(what string) {
	b.t.Helper()
	b.mu.Lock()
	problems := b.problems
	b.problems = nil
	b.mu.Unlock()
	assert.Empty(b.t, problems, what)
	for _, width := range []int64{360, 1280} {
		b.do(chromedp.EmulateViewport(width, 900))
		assert.False(b.t, read(b, chromedp.Evaluate[bool]("document.documentElement.scrollWidth > document.documentElement.clientWidth")),
			"%s is wider than its window of %d pixels", what, width)
	}
	assert.Less(b.t, read(b, chromedp.Evaluate[int]("document.documentElement.outerHTML.length")), pageBytes, what)
	b.checkAccessibility(what)
	b.shoot(what)
}

func (b *browser) checkAccessibility(what string) {
	b.t.Helper()
	if b.axe == "" {
		return
	}
	const run = `axe.run({exclude: ["#swagger-ui"]}, {runOnly: %s})
		.then(r => r.violations.map(v => v.id + ": " + v.nodes.map(n => n.html + " " + n.failureSummary).join(" | ")))`
	b.do(chromedp.Evaluate[chromedp.Void](b.axe))
	for scheme, rules := range map[string]string{ // colors are all that differs in the dark
		"light": `["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]`, "dark": `{type: "rule", values: ["color-contrast"]}`,
	} {
		b.scheme(scheme)
		assert.Empty(b.t, read(b, chromedp.Evaluate[[]string](fmt.Sprintf(run, rules), chromedp.EvalAwaitPromise)), "%s, %s", what, scheme)
	}
	b.scheme("light")
}

func (b *browser) scheme(name string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}},
	})
	require.NoError(b.t, err)
}

// shoot takes screenshots for people: wide and narrow, light and dark.
func (b *browser) shoot(what string) {
	b.t.Helper()
	dir := os.Getenv(screenshotVariable)
	if dir == "" {
		return
	}
	name := strings.Trim(strings.NewReplacer("/", "-", "?", "-", "=", "-", ":", "-", "&", "-", " ", "-").Replace(what), "-")
	for _, width := range []int64{1600, 360} {
		for _, scheme := range []string{"light", "dark"} {
			b.scheme(scheme)
			b.do(chromedp.EmulateViewport(width, 900))
			image := read(b, chromedp.FullScreenshot(100))
			require.NoError(b.t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%s-%d-%s.png", b.t.Name(), name, width, scheme)), image, 0o600))
		}
	}
	b.scheme("light")
	b.do(chromedp.EmulateViewport(1280, 900))
}

// text is that of the page.
func (b *browser) text() string {
	b.t.Helper()
	return read(b, chromedp.Text(chromedp.CSS("main")))
}

// press clicks on what a selector finds and waits for the next page.
func (b *browser) press(selector string) {
	b.t.Helper()
	limited, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	response, err := chromedp.RunResponse(limited, chromedp.Click(chromedp.CSS(selector)))
	require.NoError(b.t, err, selector)
	require.Equal(b.t, int64(http.StatusOK), response.Status, selector)
}

func (b *browser) fill(selector, value string) {
	b.t.Helper()
	b.do(chromedp.SetValue(chromedp.CSS(selector), value))
}

// at is the path of the page.
func (b *browser) at() string {
	b.t.Helper()
	return read(b, chromedp.Evaluate[string]("location.pathname"))
}

// await waits until the page says something. It may reload meanwhile.
func (b *browser) await(words string) {
	b.t.Helper()
	for until := time.Now().Add(2 * patience); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		limited, cancel := context.WithTimeout(b.ctx, patience)
		text, err := chromedp.Run(limited, chromedp.Text(chromedp.CSS("main")))
		cancel()
		if err == nil && strings.Contains(text, words) {
			return
		}
	}
	require.Fail(b.t, "the page does not say: "+words)
}

// serveConsole starts the program with sources, and returns its address.
func serveConsole(t *testing.T, p *program) string {
	t.Helper()
	listen := freeAddress(t)
	settings := p.write("tally.yaml", "sources:\n  - name: shop\n    path: "+filepath.Join(p.dir, "shop", "*.csv")+"\n    settle: 0s\n")
	p.start("up", "--listen", listen, "--config", settings)
	base := "http://" + listen
	require.Eventually(t, func() bool {
		response, err := http.Get(base + "/readyz")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	}, time.Minute, 50*time.Millisecond)
	return base
}

// Every page without data: nothing is missing, and each says how to begin.
func TestConsoleWithoutData(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	b := newBrowser(t, serveConsole(t, p))
	for path, words := range map[string]string{
		"/": "What needs a person", "/console/nights": "No source has had a file yet", "/console/rejects": "None: every row",
		"/console/users": "User", "/console/totals": "", "/console/sources": "", "/console/health": "",
		"/console/drop": "It is checked first", "/docs": "", "/problems/": "Types of problem", "/problems/not-found": "Not found",
	} {
		b.open(path)
		assert.Contains(t, b.text(), words, path)
	}
}

// A newcomer drops a file, sees it load, fixes a row, replays rows after a setting, decides a
// conflict, discards a row and takes the file back out, all in the browser.
func TestConsole(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	old := p.write("shop/old.csv", "transaction_id,user_id,amount,transaction_date\nT9,7,1.50,2024-01-05\n")
	base := serveConsole(t, p)
	code, _, stderr := p.run("run", old)
	require.Zero(t, code, stderr)
	b := newBrowser(t, base)
	dropped := p.write("new.csv", "transaction_id,user_id,amount,transaction_date\n"+
		"T1,7,10.50,2024-01-05\nT2,7,,2024-01-06\nT3,8,20,03/04/2024\nT4,x,1,2024-01-06\nT9,7,2.50,2024-01-05\n"+
		"T5,8,1,2024-02-01\nT6,8,1,2024-02-01\nT7,8,1,2024-02-01\n")
	b.open("/console/drop")
	b.do(chromedp.SetUploadFiles(chromedp.CSS("input[type=file]"), []string{dropped}))
	b.press("form button.main")
	b.check("dropped")
	assert.Contains(t, b.text(), "5 of 8 rows would load")
	assert.Contains(t, b.text(), "03/04/2024 is 2024-03-04 under slash: mdy")
	b.press("form[method=post] button.main")
	b.await("run of")
	b.await("succeeded")
	b.check("run")
	assert.Regexp(t, `4\s+loaded`, b.text())
	run := b.at()

	for path, words := range map[string]string{"/console/users/7": "", "/console/totals": "2024-01", "/console/sources": "shop", "/console/health": "",
		"/console/history?id=T1": "T1"} {
		b.open(path)
		assert.Contains(t, b.text(), words, path)
	}
	b.open("/")
	assert.Contains(t, b.text(), "tally run --slash VALUE PATH")
	b.open("/console/nights")
	b.press("table.nights a.rejected")
	assert.Equal(t, run, b.at())

	b.press("th.path a")
	b.check("file")
	file := b.at()
	b.open("/console/rejects")
	assert.Contains(t, b.text(), "missing_amount")
	b.open("/console/rejects?fault=missing_amount")
	b.press("article h3 a")
	b.check("reject")
	b.fill("input[name=amount]", "5.25")
	b.fill("form[action$=fix] input[name=reason]", "the sender says so")
	b.press("form[action$=fix] button")
	b.check("fixed")
	assert.Contains(t, b.text(), "The row was loaded with the corrected values.")

	b.open("/console/rejects?fault=conflict")
	b.press("article h3 a")
	b.check("conflict")
	assert.Contains(t, b.text(), "Both versions of T9")
	b.press("button[formaction$=take]")
	assert.Contains(t, b.text(), "This row has taken the stored row's place.")

	b.open("/console/rejects?fault=invalid_user_id")
	b.press("article h3 a")
	b.fill("form[action$=discard] input[name=reason]", "a test row")
	b.press("form[action$=discard] button")
	assert.Contains(t, b.text(), "closed without loading")

	b.open("/console/rejects")
	b.press("form[action$=replay] button")
	b.check("replay")
	assert.Contains(t, b.text(), "A preview: nothing is changed yet. 0 rows would be loaded.")

	b.open(file)
	b.press("form[action$=revert] button")
	b.check("revert")
	assert.Contains(t, b.text(), "A preview")
	b.press("form[action$=revert] button")
	assert.Contains(t, b.text(), "The file was taken back out.")
	assert.Equal(t, "1.50", p.query("SELECT sum(total_amount) FROM user_summary WHERE user_id = 7"))
	assert.Equal(t, "the sender says so anonymous", p.query("SELECT entry::json->>'reason' || ' ' || (entry::json->>'actor') FROM audit_chain WHERE kind = 'fix'"))

	// Once more, as a file of a source and with what the file leaves open.
	b.open("/console/drop")
	b.do(chromedp.SetUploadFiles(chromedp.CSS("input[type=file]"), []string{dropped}))
	b.press("form button.main")
	b.fill("select[name=source]", "shop")
	b.fill("select[name=slash]", "dmy")
	b.press("form[method=get] button")
	assert.Contains(t, b.text(), "6 of 8 rows would load")
	b.press("form[method=post] button.main")
	b.await("succeeded")
	assert.Equal(t, "shop dmy", p.query("SELECT source || ' ' || (rules->>'slash') FROM etl_files ORDER BY id DESC LIMIT 1"))
}

// A reader sees every page, without a form that makes a change.
func TestConsoleAsReader(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	path := p.write("a.csv", sheet)
	code, _, stderr := p.run("run", path)
	require.Zero(t, code, stderr)
	code, secret, stderr := p.run("token", "add", "ann", "--role", "reader")
	require.Zero(t, code, stderr)
	base := serveConsole(t, p)
	b := newBrowser(t, base)
	_, err := chromedp.Call(b.ctx, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{
		Headers: network.Headers{"Authorization": "Bearer " + strings.TrimSpace(secret)},
	})
	require.NoError(t, err)
	for _, path := range []string{"/", "/console/nights", "/console/runs/1", "/console/files/1", "/console/rejects", "/console/rejects/1:4",
		"/console/users", "/console/users/7", "/console/totals", "/console/sources", "/console/health", "/console/drop"} {
		b.open(path)
		assert.Contains(t, read(b, chromedp.Text(chromedp.CSS(".viewer"))), "token:ann (reader)")
		assert.Zero(t, read(b, chromedp.Evaluate[int]("document.querySelectorAll('form[method=post]').length")), path)
	}
	for _, path := range []string{"/console/drop", "/console/rejects/1:4/discard", "/console/rejects/replay", "/console/files/1/revert"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+path, strings.NewReader("reason=x"))
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(secret))
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusForbidden, response.StatusCode, path)
	}
}
