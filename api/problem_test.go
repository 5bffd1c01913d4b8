package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/summaries"
)

func failing(err error) Config {
	return withSummaries(func(context.Context, int32) (summaries.Summary, error) {
		return summaries.Summary{}, fmt.Errorf("look up a summary: %w", err)
	})
}

func TestStoreErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		cause   error
		status  int
		problem string
	}{
		{summaries.ErrNotFound, http.StatusNotFound, "no-transactions"},
		{errors.New("SELECT secret FROM users"), http.StatusInternalServerError, "internal-error"},
		{&pgconn.PgError{Code: "42P01", Message: "secret"}, http.StatusInternalServerError, "internal-error"},
		{&pgconn.PgError{Code: "57P01", Message: "secret"}, http.StatusServiceUnavailable, "unavailable"},
		{&pgconn.PgError{Code: "53300", Message: "secret"}, http.StatusServiceUnavailable, "unavailable"},
		{&pgconn.PgError{Code: "57014", Message: "secret"}, http.StatusServiceUnavailable, "timeout"},
		{&net.OpError{Op: "dial secret", Err: errors.New("refused")}, http.StatusServiceUnavailable, "unavailable"},
	} {
		buf, logger := newLog()
		c := failing(tc.cause)
		c.Logger = logger
		w := ask(newHandler(t, c), http.MethodGet, "/transactions/1/summary")
		p := requireProblem(t, w, tc.status, tc.problem)
		assert.NotContains(t, w.Body.String(), "secret")
		assert.NotContains(t, w.Body.String(), "SELECT")
		assert.Equal(t, tc.status == http.StatusServiceUnavailable, w.Header().Get("Retry-After") != "", tc.problem)
		if tc.status >= http.StatusInternalServerError {
			assert.Contains(t, buf.String(), "secret", "the log has the cause")
			assert.Equal(t, 2, strings.Count(buf.String(), p.RequestID), "and the request's id, as the access line has")
		}
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	c := withSummaries(func(ctx context.Context, _ int32) (summaries.Summary, error) {
		<-ctx.Done()
		return summaries.Summary{}, ctx.Err()
	})
	c.RequestTimeout = 10 * time.Millisecond
	w := ask(newHandler(t, c), http.MethodGet, "/transactions/1/summary")
	requireProblem(t, w, http.StatusServiceUnavailable, "timeout")
	assert.Equal(t, "2", w.Header().Get("Retry-After"))
}

func TestClientThatLeavesIsNoError(t *testing.T) {
	t.Parallel()
	buf, logger := newLog()
	ctx, cancel := context.WithCancel(t.Context())
	c := withSummaries(func(ctx context.Context, _ int32) (summaries.Summary, error) {
		cancel()
		return summaries.Summary{}, ctx.Err()
	})
	c.Logger = logger
	r := httptest.NewRequest(http.MethodGet, "/transactions/1/summary", nil).WithContext(ctx)
	newHandler(t, c).ServeHTTP(httptest.NewRecorder(), r)
	assert.NotContains(t, buf.String(), "request failed")
}

func TestPanicIsAProblem(t *testing.T) {
	t.Parallel()
	buf, logger := newLog()
	c := withSummaries(func(context.Context, int32) (summaries.Summary, error) { panic("secret state") })
	c.Logger = logger
	w := ask(newHandler(t, c), http.MethodGet, "/transactions/1/summary")
	p := requireProblem(t, w, http.StatusInternalServerError, "internal-error")
	assert.NotContains(t, w.Body.String(), "secret")
	assert.Contains(t, buf.String(), "secret state")
	assert.Contains(t, buf.String(), "problem_test.go", "the stack")
	assert.Contains(t, buf.String(), p.RequestID)
	assert.Contains(t, buf.String(), `"status":500`)
}

func TestPanicInTheMiddleCutsTheAnswerOff(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{Mounts: map[string]http.Handler{"/ui/": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half an ans")
		http.NewResponseController(w).Flush()
		panic("no more")
	})}})
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	answer, err := server.Client().Get(server.URL + "/ui/")
	require.NoError(t, err)
	defer answer.Body.Close()
	_, err = io.ReadAll(answer.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestRouterErrors(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{})
	for _, target := range []string{"/nowhere", "/transactions", "/transactions/1/summary/more", "/docs/nothing.js", "/problems/none", "/favicon.ico"} {
		requireProblem(t, ask(h, http.MethodGet, target), http.StatusNotFound, "not-found")
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions, http.MethodTrace, "BREW"} {
		for _, target := range []string{"/transactions/123/summary", "/runs/7", "/livez", "/docs", "/openapi.json"} {
			w := ask(h, method, target)
			requireProblem(t, w, http.StatusMethodNotAllowed, "method-not-allowed")
			assert.Equal(t, "GET, HEAD", w.Header().Get("Allow"))
		}
	}
	r := httptest.NewRequest(http.MethodOptions, "/", nil)
	r.RequestURI = "*"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	requireProblem(t, w, http.StatusBadRequest, "bad-request")
}

func TestAccept(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{})
	for _, accept := range []string{
		"*/*", "application/*", "application/json", "Application/JSON", "text/html, */*;q=0.1", "application/json; charset=utf-8",
		"application/problem+json, application/json;q=0.5", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "",
		"application/json;q=1, */*;q=0", "json, application/json;q=0.5",
	} {
		w := ask(h, http.MethodGet, "/transactions/123/summary", "Accept: "+accept)
		assert.Equal(t, http.StatusOK, w.Code, accept)
		assert.Equal(t, "application/json", w.Header().Get("Content-Type"), accept)
	}
	for _, accept := range []string{
		"text/html", "json", "application/xml", "application/json;q=0", "*/*, application/json;q=0.0", "application/*;q=0, */*",
		"application/problem+json", "application/cbor", "nonsense", ";", "application/json;q=zq7",
	} {
		requireProblem(t, ask(h, http.MethodGet, "/transactions/123/summary", "Accept: "+accept), http.StatusNotAcceptable, "not-acceptable")
	}
}

func TestQueryIsChecked(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{})
	for query, want := range map[string]ProblemError{
		"from=2024-01-01":     {"query", "contains an unknown parameter"},
		"Limit=1":             {"query", "contains an unknown parameter"},
		"limit=1&limit=2":     {"query.limit", "must be given once"},
		"limit=0":             {"query.limit", "must be an integer from 1 to 1000 in decimal digits"},
		"limit=1001":          {"query.limit", "must be an integer from 1 to 1000 in decimal digits"},
		"limit=ten":           {"query.limit", "must be an integer from 1 to 1000 in decimal digits"},
		"limit=4294967297":    {"query.limit", "must be an integer from 1 to 1000 in decimal digits"},
		"limit=":              {"query.limit", "must be an integer from 1 to 1000 in decimal digits"},
		"limit=%2B5":          {"query.limit", "must be an integer from 1 to 1000 in decimal digits"},
		"limit=05":            {"query.limit", "must be an integer from 1 to 1000 in decimal digits"},
		"limit=1;cursor=2":    {"query", "is not a list of name=value pairs"},
		"limit=%zz":           {"query", "is not a list of name=value pairs"},
		"cursor=AQ":           {"query.cursor", "must be the next_cursor of a page of the same list"},
		"cursor=%27%3B--":     {"query.cursor", "must be the next_cursor of a page of the same list"},
		"cursor=":             {"query.cursor", "must be the next_cursor of a page of the same list"},
		"cursor=" + long(300): {"query.cursor", "must be the next_cursor of a page of the same list"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/transactions/123", nil)
		r.URL.RawQuery = query
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		p := requireProblem(t, w, http.StatusUnprocessableEntity, "invalid-request")
		assert.Equal(t, []ProblemError{want}, p.Errors, query)
	}
}

func long(n int) string { return strings.Repeat("A", n) }

// TestProblemsRepeatNothing puts a mark into every part of a request.
func TestProblemsRepeatNothing(t *testing.T) {
	t.Parallel()
	const mark = "zQ7mark"
	h := newHandler(t, Config{
		Summaries: fakeSummaries{get: func(_ context.Context, _ int32) (summaries.Summary, error) {
			return summaries.Summary{}, errors.New(mark)
		}},
		Ready: func(context.Context) error { return errors.New(mark) },
		Runs:  fakeRuns{get: func(context.Context, int64) (ledger.Run, error) { panic(mark) }},
	})
	hostile := []string{mark, "<script>" + mark + "</script>", "'; DROP TABLE " + mark + "; --", "1 OR " + mark, mark + "\r\nX-Evil: 1", "../" + mark, "\x00" + mark, "%s" + mark + "%n", "${" + mark + "}"}
	var targets []string
	for _, text := range hostile {
		path, value := url.PathEscape(text), url.QueryEscape(text)
		targets = append(targets,
			"/transactions/"+path+"/summary", "/transactions/"+path, "/runs/"+path, "/runs/"+path+"/logs", "/"+path, "/docs/"+path, "/problems/"+path,
			"/transactions/1/summary?"+value+"=1", "/transactions/1?limit="+value, "/transactions/1?cursor="+value, "/runs?limit=1&limit="+value,
			"/runs/1/rejects?outcome="+value, "/runs/1?"+value, "/transactions/1?limit=%zz"+value)
	}
	targets = append(targets, "/transactions/1/summary", "/readyz", "/runs/1")
	for _, target := range targets {
		for _, method := range []string{http.MethodGet, http.MethodPost, mark} {
			w := ask(h, method, target, "X-Request-Id: "+mark, "X-Forwarded-Host: "+mark, "Host: "+mark, "Cookie: a="+mark)
			require.GreaterOrEqual(t, w.Code, 400, target)
			assert.Equal(t, "application/problem+json", w.Header().Get("Content-Type"), target)
			assert.NotContains(t, strings.ToLower(w.Body.String()+fmt.Sprint(w.Header())), strings.ToLower(mark), target)
		}
	}
	w := ask(h, http.MethodGet, "/livez", "Accept: application/"+mark)
	requireProblem(t, w, http.StatusNotAcceptable, "not-acceptable")
	assert.NotContains(t, w.Body.String()+fmt.Sprint(w.Header()), mark)
}

func TestAccessLogNamesTheRouteAndNobody(t *testing.T) {
	t.Parallel()
	buf, logger := newLog()
	h := newHandler(t, Config{Logger: logger})
	w := ask(h, http.MethodGet, "/transactions/123/summary")
	line := buf.String()
	assert.Contains(t, line, `"route":"/transactions/{user_id}/summary"`)
	assert.Contains(t, line, `"method":"GET"`)
	assert.Contains(t, line, `"status":200`)
	assert.Contains(t, line, fmt.Sprintf(`"bytes":%d`, len(contractBody)))
	assert.Contains(t, line, w.Header().Get("X-Request-Id"))
	assert.NotContains(t, line, "/123")

	ask(h, http.MethodGet, "/secret/path")
	assert.Contains(t, buf.String(), `"route":"none"`)
	assert.NotContains(t, buf.String(), "secret")

	before := buf.String()
	ask(h, http.MethodGet, "/livez")
	ask(h, http.MethodGet, "/readyz")
	assert.Equal(t, before, buf.String(), "probes are logged at debug level")
}

func TestMountsArePassedThrough(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{RequestTimeout: time.Minute, Mounts: map[string]http.Handler{
		"/riverui/": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, bounded := r.Context().Deadline()
			assert.False(t, bounded)
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, r.Method+" "+r.URL.Path)
		}),
	}})
	w := ask(h, http.MethodPost, "/riverui/api/jobs")
	assert.Equal(t, http.StatusTeapot, w.Code)
	assert.Equal(t, "text/plain", w.Header().Get("Content-Type"))
	assert.Equal(t, "POST /riverui/api/jobs", w.Body.String())
	assert.NotEmpty(t, w.Header().Get("X-Request-Id"))

	w = ask(h, http.MethodGet, "/riverui")
	assert.Equal(t, http.StatusTemporaryRedirect, w.Code)
	assert.Equal(t, "/riverui/", w.Header().Get("Location"))
}

func TestEachProblemHasItsPage(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{})
	index := ask(h, http.MethodGet, "/problems/")
	require.Equal(t, http.StatusOK, index.Code)
	names := map[string]bool{}
	for _, k := range kinds {
		assert.False(t, names[k.name], "%s comes twice", k.name)
		names[k.name] = true
		w := ask(h, http.MethodGet, k.uri())
		require.Equal(t, http.StatusOK, w.Code, k.name)
		assert.Contains(t, w.Body.String(), k.title)
		assert.Contains(t, index.Body.String(), `href="`+k.uri()+`"`)
	}
	assert.Len(t, names, len(kinds))
}

// TestHumasErrorsAreTranslated covers what huma can say and the guard lets
// through, bodies of later operations included.
func TestHumasErrorsAreTranslated(t *testing.T) {
	t.Parallel()
	op := &huma.Operation{Parameters: []*huma.Param{{Name: "limit", In: "query", Schema: &huma.Schema{Type: huma.TypeString}}}}
	p := translate(op, &huma.ErrorModel{Status: http.StatusUnprocessableEntity, Detail: "secret", Errors: []*huma.ErrorDetail{
		{Location: "query.secret", Message: "secret", Value: "secret"},
		{Location: "query.limit", Message: "secret", Value: "secret"},
		nil,
		{Location: "body.items[3].secret", Message: "secret"},
		{Location: "body.other", Message: "secret"},
		{Location: "secret"},
	}})
	const message = "does not match the API's description"
	assert.Equal(t, []ProblemError{{"query", message}, {"query.limit", message}, {"body", message}}, p.Errors)
	assert.NotContains(t, fmt.Sprint(*p), "secret")

	p = translate(op, &huma.ErrorModel{Status: http.StatusInternalServerError, Detail: "secret", Errors: []*huma.ErrorDetail{{Message: "secret"}}})
	assert.Equal(t, "/problems/internal-error", p.Type)
	assert.NotContains(t, fmt.Sprint(*p), "secret")

	p = translate(op, &huma.ErrorModel{Status: http.StatusRequestEntityTooLarge, Detail: "secret"})
	assert.Equal(t, "/problems/content-too-large", p.Type)
	p = translate(op, &huma.ErrorModel{Status: http.StatusTeapot, Detail: "secret"})
	assert.Equal(t, &Problem{Type: "about:blank", Title: "I'm a teapot", Status: 418, Detail: "The request was rejected."}, p)
}
