package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opentax/tally/internal/money"

	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/summaries"
)

var (
	modifiedAt = time.Date(2024, 1, 2, 0, 0, 5, 300_000_000, time.UTC)
	sentAt     = "Tue, 02 Jan 2024 00:00:05 GMT"
)

// many answers in each way that a look-up can end.
func many(_ context.Context, userID int32) (summaries.Summary, error) {
	s := summaries.Summary{UserID: userID, Transactions: 50, Total: money.MustParse("10240.5"), Version: 3, FileID: 12, RunID: 4, UpdatedAt: modifiedAt}
	switch userID {
	case 2:
		return summaries.Summary{}, summaries.ErrNotFound
	case 3:
		return summaries.Summary{}, errors.New("<broken> & \"quoted\"")
	case 4:
		return summaries.Summary{}, fmt.Errorf("look up: %w", context.DeadlineExceeded)
	case 5:
		s.UpdatedAt = time.Now().Add(time.Hour)
	case 6:
		s.FileID, s.RunID = 0, 0
	}
	return s, nil
}

// onHuma is the same operations without the shortcut.
func onHuma(c Config) http.Handler {
	s := newService(c)
	mux := http.NewServeMux()
	s.register(humago.New(mux, humaConfig()))
	f, err := newMiddleware(mux, s)
	if err != nil {
		panic(err)
	}
	return f
}

func TestFastPathMatchesHuma(t *testing.T) {
	t.Parallel()
	fast, slow := newHandler(t, withSummaries(many)), onHuma(withSummaries(many))
	tag := ask(fast, http.MethodGet, "/transactions/1/summary").Header().Get("Etag")
	require.NotEmpty(t, tag)
	ids := []string{
		"1", "2", "3", "4", "5", "6", "2147483647", "2147483648", "0", "-1", "+1", "01", "1.0", "1e3", "x", "%20", "%31", "1%00",
		"4294967297", "9223372036854775808", "99999999999999999999", "９", "%EF%BC%91", "1/", "1_0", "0x1",
	}
	queries := []string{"", "?", "?a=b", "?%zz", "?user_id=1"}
	headers := [][]string{
		nil, {"Accept: "}, {"Accept: */*"}, {"Accept: text/html"}, {"Accept: application/json;q=0"}, {"Accept: text/html, */*;q=0.1"},
		{"Accept: text/html", "Accept: */*"}, {"Accept: */*", "Accept: text/html"}, {"Accept-Encoding: gzip"}, {"Content-Type: text/plain"},
	}
	for _, list := range []string{
		"", " ", "*", "x", tag, "W/" + tag, `"x"`, `"x", ` + tag, `"x", W/` + tag, `"x` + tag, `, ,` + tag + ",", tag + "x", `"x"` + tag,
	} {
		headers = append(headers, []string{"If-Match: " + list}, []string{"If-None-Match: " + list},
			[]string{`If-Match: "x"`, "If-Match: " + list}, []string{"If-None-Match: ", "If-None-Match: " + list},
			[]string{"If-Match: " + tag, "If-None-Match: " + list}, []string{"If-None-Match: " + list, "If-Modified-Since: " + sentAt})
	}
	for _, date := range []string{sentAt, "Tue, 02 Jan 2024 00:00:04 GMT", "Tue, 02 Jan 2024 00:00:06 GMT", "yesterday", "", "Tuesday, 02-Jan-24 00:00:05 GMT"} {
		headers = append(headers, []string{"If-Modified-Since: " + date}, []string{"If-Unmodified-Since: " + date},
			[]string{"If-Match: " + tag, "If-Unmodified-Since: " + date}, []string{"If-Modified-Since: x", "If-Modified-Since: " + date})
	}
	for _, name := range []string{"If-Match: ", "If-None-Match: ", "If-Modified-Since: ", "If-Unmodified-Since: "} {
		headers = append(headers, []string{name + long(maxCondition)}, []string{name + long(maxCondition+1)}, []string{name + long(maxCondition), name},
			[]string{name + strings.Repeat("é", maxCondition)}, []string{name + strings.Repeat("é", maxCondition), name + tag})
	}
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete} {
		if method != http.MethodGet {
			queries = queries[:1] // they have no say in what another method does
		}
		for _, id := range ids {
			for _, query := range queries {
				for _, header := range headers {
					target := "/transactions/" + id + "/summary" + query
					require.Equal(t, told(ask(slow, method, target, header...)), told(ask(fast, method, target, header...)),
						"%s %s %q", method, target, header)
				}
			}
		}
	}
}

var randomID = regexp.MustCompile(`[A-Z2-7]{26}`)

// told is all that an answer tells, but for the request's id, and for the length, which
// the server gives where the handler does not.
func told(w *httptest.ResponseRecorder) string {
	var out strings.Builder
	fmt.Fprintln(&out, w.Code)
	header := w.Result().Header
	header.Del("Content-Length")
	if len(header["X-Request-Id"]) == 1 {
		header["X-Request-Id"] = []string{"ID"}
	}
	_ = header.Write(&out) // in order
	out.WriteString(randomID.ReplaceAllString(w.Body.String(), "ID"))
	return out.String()
}

func TestSummaryIsRenderedOnceWhileItIsKept(t *testing.T) {
	t.Parallel()
	memo := new(atomic.Value)
	h := newHandler(t, withSummaries(func(ctx context.Context, userID int32) (summaries.Summary, error) {
		s, err := contractSummary(ctx, userID)
		s.Memo = memo
		return s, err
	}))
	for range 2 {
		assert.Equal(t, contractBody, ask(h, http.MethodGet, "/transactions/123/summary").Body.String())
	}
	assert.IsType(t, &renderedSummary{}, memo.Load())
}

func TestConditions(t *testing.T) {
	t.Parallel()
	h := newHandler(t, withSummaries(many))
	const path = "/transactions/1/summary"
	w := ask(h, http.MethodGet, path)
	tag := w.Header().Get("Etag")
	assert.Regexp(t, `^"3-12-[0-9a-f]+"$`, tag)
	assert.Equal(t, "private, no-cache", w.Header().Get("Cache-Control"))
	assert.Equal(t, sentAt, w.Header().Get("Last-Modified"))
	assert.Equal(t, "4", w.Header().Get("Tally-Run"))
	assert.Empty(t, ask(h, http.MethodGet, "/transactions/5/summary").Header().Get("Last-Modified"), "HTTP has no dates to come")

	for header, status := range map[string]int{
		"If-None-Match: " + tag:                              http.StatusNotModified,
		"If-None-Match: W/" + tag:                            http.StatusNotModified,
		"If-None-Match: *":                                   http.StatusNotModified,
		`If-None-Match: "a,b", ` + tag:                       http.StatusNotModified,
		`If-None-Match: "3-12"`:                              http.StatusOK,
		"If-None-Match: " + tag[:5]:                          http.StatusOK,
		"If-Match: " + tag:                                   http.StatusOK,
		"If-Match: *":                                        http.StatusOK,
		"If-Match: W/" + tag:                                 http.StatusPreconditionFailed, // the strong comparison
		`If-Match: "x"`:                                      http.StatusPreconditionFailed,
		"If-Modified-Since: " + sentAt:                       http.StatusNotModified,
		"If-Modified-Since: soon":                            http.StatusOK,
		"If-Unmodified-Since: " + sentAt:                     http.StatusOK,
		"If-Unmodified-Since: Mon, 01 Jan 2024 00:00:00 GMT": http.StatusPreconditionFailed,
	} {
		w := ask(h, http.MethodGet, path, header)
		if status == http.StatusPreconditionFailed {
			requireProblem(t, w, status, "precondition-failed")
			continue
		}
		assert.Equal(t, status, w.Code, header)
		assert.Equal(t, tag, w.Header().Get("Etag"), header)
		assert.Equal(t, status == http.StatusOK, w.Body.Len() > 0, header)
	}
	requireProblem(t, ask(h, http.MethodGet, "/transactions/2/summary", "If-None-Match: *"), http.StatusNotFound, "no-transactions")
}

// Every change of a summary has another tag, and what stays has the same.
func TestTagsTellSummariesApart(t *testing.T) {
	t.Parallel()
	base, _ := many(t.Context(), 1)
	seen := map[string]bool{newRenderedSummary(base).etag[0]: true}
	assert.True(t, seen[newRenderedSummary(base).etag[0]])
	for _, change := range []func(*summaries.Summary){
		func(s *summaries.Summary) { s.Version++ },
		func(s *summaries.Summary) { s.FileID++ },
		func(s *summaries.Summary) { s.Transactions++ },
		func(s *summaries.Summary) { s.Total = s.Total.Neg() },
	} {
		s := base
		change(&s)
		tag := newRenderedSummary(s).etag[0]
		assert.False(t, seen[tag], tag)
		seen[tag] = true
	}
}

func TestDeadlineContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		at := time.Now().Add(time.Second)
		c := &deadlineContext{Context: t.Context(), at: at}
		got, ok := c.Deadline()
		assert.True(t, ok)
		assert.Equal(t, at, got)
		require.NoError(t, c.Err())
		<-c.Done()
		require.ErrorIs(t, c.Err(), context.DeadlineExceeded)

		for name, ask := range map[string]bool{"asked before": true, "never asked": false} {
			c = &deadlineContext{Context: t.Context(), at: time.Now().Add(time.Hour)}
			if ask {
				require.NoError(t, c.Err(), name)
			}
			c.end()
			require.ErrorIs(t, c.Err(), context.Canceled, name)
		}
		parent, cancel := context.WithDeadline(t.Context(), at)
		defer cancel()
		got, _ = (&deadlineContext{Context: parent, at: at.Add(time.Hour)}).Deadline()
		assert.Equal(t, at, got, "the parent's, which is earlier")
	})
}

// A context made of one that waits costs no goroutine, as it does where package context
// does not know its parent. Not beside other tests, whose goroutines would count.
func TestDeadlineContextNeedsNoGoroutine(t *testing.T) {
	c := &deadlineContext{Context: t.Context(), at: time.Now().Add(time.Hour)}
	defer c.end()
	before := runtime.NumGoroutine()
	var told sync.WaitGroup
	for range 100 {
		told.Add(1)
		context.AfterFunc(c, told.Done)
	}
	assert.Less(t, runtime.NumGoroutine(), before+50)
	c.end()
	told.Wait()
}
