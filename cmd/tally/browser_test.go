package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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

	"github.com/opentax/tally/internal/testdb"
)

const (
	axeVariable        = "TALLY_TEST_AXE"         // axe.min.js of axe-core
	screenshotVariable = "TALLY_TEST_SCREENSHOTS" // a folder; none are taken without it
	pageBytes          = 150_000
	// In pixels: the narrowest and a usual window.
	narrow, wide = 360, 1440
	height       = 900
)

// browser is a page of Chromium that notes what goes wrong on it.
type browser struct {
	t    *testing.T
	ctx  context.Context
	base string // the service's address
	axe  string

	mu       sync.Mutex
	problems []string
}

// newBrowser starts Chromium, and skips the test where there is none.
func newBrowser(t *testing.T) *browser {
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
	b := &browser{t: t, ctx: ctx}
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
	case *runtime.EventConsoleAPICalled:
		problem = fmt.Sprint("console.", e.Type)
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
	limited, cancel := context.WithTimeout(b.ctx, testdb.Patience)
	defer cancel()
	require.NoError(b.t, chromedp.Do(limited, steps...))
}

// read is the result of an action.
func read[T any](b *browser, action chromedp.Action[T]) T {
	b.t.Helper()
	limited, cancel := context.WithTimeout(b.ctx, testdb.Patience)
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

// openProblem goes to a page that is to have the status of an error, which Chromium notes.
func (b *browser) openProblem(path string, status int64) {
	b.t.Helper()
	limited, cancel := context.WithTimeout(b.ctx, testdb.Patience)
	defer cancel()
	response, err := chromedp.RunResponse(limited, chromedp.Navigate(b.base+path))
	require.NoError(b.t, err, path)
	assert.Equal(b.t, status, response.Status, path)
	b.mu.Lock()
	b.problems = slices.DeleteFunc(b.problems, func(p string) bool {
		return strings.HasPrefix(p, "console: Failed to load resource") && strings.HasSuffix(p, " "+b.base+path)
	})
	b.mu.Unlock()
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
	if b.axe != "" {
		b.do(chromedp.Evaluate[chromedp.Void](b.axe))
	}
	// Colors are all that differs in the dark, and they do not depend on the width.
	b.checkView(what, narrow, "light", `["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]`)
	b.checkView(what, wide, "dark", `{type: "rule", values: ["color-contrast"]}`)
	b.scheme("light")
	assert.Less(b.t, read(b, chromedp.Evaluate[int]("document.documentElement.outerHTML.length")), pageBytes, what)
	b.shoot(what)
}

func (b *browser) checkView(what string, width int64, scheme, rules string) {
	b.t.Helper()
	b.scheme(scheme)
	b.do(chromedp.EmulateViewport(width, height))
	assert.False(b.t, read(b, chromedp.Evaluate[bool]("document.documentElement.scrollWidth > document.documentElement.clientWidth")),
		"%s is wider than its window of %d pixels", what, width)
	if b.axe == "" {
		return
	}
	// Swagger UI nests buttons, which its page says.
	const run = `axe.run(document, {runOnly: %s, resultTypes: ["violations"]})
		.then(r => r.violations.filter(v => v.id != "nested-interactive" || v.nodes.some(n => !n.html.includes("opblock-summary-control"))).map(v => v.id + ": " + v.nodes.map(n => n.html + " " + n.failureSummary).join(" | ")))`
	assert.Empty(b.t, read(b, chromedp.Evaluate[[]string](fmt.Sprintf(run, rules), chromedp.EvalAwaitPromise)), "%s, %s, %d pixels", what, scheme, width)
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
	name := strings.Trim(regexp.MustCompile(`[^A-Za-z0-9]+`).ReplaceAllString(b.t.Name()+what, "-"), "-")
	for _, width := range []int64{wide, narrow} {
		for _, scheme := range []string{"light", "dark"} {
			b.scheme(scheme)
			b.do(chromedp.EmulateViewport(width, height))
			image := read(b, chromedp.FullScreenshot(100))
			require.NoError(b.t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%d-%s.png", name, width, scheme)), image, 0o600))
		}
	}
	b.scheme("light")
}

// text is that of the page.
func (b *browser) text() string {
	b.t.Helper()
	return read(b, chromedp.Text(chromedp.CSS("main")))
}

// press clicks on the button or link with a text and waits for the next page.
func (b *browser) press(text string) {
	b.t.Helper()
	limited, cancel := context.WithTimeout(b.ctx, testdb.Patience)
	defer cancel()
	quoted := strconv.Quote(text)
	at := chromedp.Search("//main//*[self::a or self::button][starts-with(normalize-space(.), " + quoted + ") or starts-with(@aria-label, " + quoted + ")]")
	response, err := chromedp.RunResponse(limited, chromedp.Click(at))
	require.NoError(b.t, err, text)
	require.Equal(b.t, int64(http.StatusOK), response.Status, text)
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
	for until := time.Now().Add(2 * testdb.Patience); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		limited, cancel := context.WithTimeout(b.ctx, testdb.Patience)
		text, err := chromedp.Run(limited, chromedp.Text(chromedp.CSS("main")))
		cancel()
		if err == nil && strings.Contains(text, words) {
			return
		}
	}
	require.Fail(b.t, "the page does not say: "+words)
}
