package api

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/migrations"
)

// guarded is a service with access control on a database of its own, with a
// mounted handler that says who asked.
type guarded struct {
	http.Handler
	access *Access
	tokens *Tokens
	pool   *pgxpool.Pool
	log    *logBuffer
}

func newGuarded(t *testing.T, required bool, limit RateLimit) *guarded {
	t.Helper()
	tokens, pool := newTokens(t)
	buf, logger := newLog()
	access := NewAccess(AccessConfig{Tokens: tokens, Required: required, RateLimit: limit, Logger: logger})
	t.Cleanup(access.Close)
	h := newHandler(t, Config{Access: access, Logger: logger, Mounts: map[string]http.Handler{
		"/ui/": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, Actor(r.Context())) }),
	}})
	return &guarded{Handler: h, access: access, tokens: tokens, pool: pool, log: buf}
}

func bearer(secret string) string { return "Authorization: Bearer " + secret }

func basic(user, password string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// local asks as somebody on this machine does.
func local(h http.Handler, method, target string, headers ...string) *httptest.ResponseRecorder {
	return askAt(h, method, "127.0.0.1:8080", target, headers...)
}

func askAt(h http.Handler, method, host, target string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.Host = host
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const summaryTarget = "/transactions/123/summary"

func TestATokenIsNeeded(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, true, RateLimit{})
	for _, target := range []string{summaryTarget, "/runs", "/docs", "/openapi.json", "/ui/", "/nowhere", "/", "/livez/", "/readyz/x", "//livez"} {
		w := ask(g, http.MethodGet, target)
		requireProblem(t, w, http.StatusUnauthorized, "unauthorized")
		assert.Equal(t, []string{`Bearer realm="tally"`, `Basic realm="tally", charset="UTF-8"`}, w.Header().Values("WWW-Authenticate"))
	}
	assert.Equal(t, http.StatusOK, ask(g, http.MethodGet, "/livez").Code)
	assert.Equal(t, http.StatusOK, ask(g, http.MethodGet, "/readyz").Code)

	secret := add(t, g.tokens, "ann", RoleReader)
	for _, header := range []string{bearer(secret), "Authorization: bearer " + secret, basic("anybody", secret), basic("", secret)} {
		assert.Equal(t, http.StatusOK, ask(g, http.MethodGet, summaryTarget, header).Code, header)
		assert.Equal(t, "token:ann", ask(g, http.MethodGet, "/ui/", header).Body.String())
	}
	assert.Contains(t, g.log.String(), `"actor":"token:ann"`)
	assert.NotContains(t, g.log.String(), secret)
	other := newSecret()
	for _, header := range []string{
		bearer(other), basic("ann", other), basic(secret, ""), bearer(secret[:len(secret)-1]), bearer(secret + "x"), bearer(""), bearer(strings.ToUpper(secret)),
		"Authorization: " + secret, "Authorization: Digest " + secret, "Authorization: Basic !!!", "X-Api-Key: " + secret, "Cookie: token=" + secret,
	} {
		w := ask(g, http.MethodGet, summaryTarget, header)
		requireProblem(t, w, http.StatusUnauthorized, "unauthorized")
		assert.NotContains(t, w.Body.String(), strings.TrimPrefix(secret, "tally_")[:10])
		assert.Equal(t, strings.HasPrefix(header, "Authorization"), strings.Contains(w.Header().Get("WWW-Authenticate"), "invalid_token"), header)
	}
	requireProblem(t, ask(g, http.MethodGet, summaryTarget, bearer(secret), bearer(secret)), http.StatusUnauthorized, "unauthorized")
	requireProblem(t, ask(g, http.MethodGet, summaryTarget+"?access_token="+secret), http.StatusUnauthorized, "unauthorized")
}

func TestARevokedTokenIsRefused(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, false, RateLimit{})
	secret := add(t, g.tokens, "ann", RoleOperator)
	require.Equal(t, http.StatusOK, ask(g, http.MethodGet, summaryTarget, bearer(secret)).Code)
	require.NoError(t, g.tokens.Revoke(t.Context(), "ann", ann))
	requireProblem(t, ask(g, http.MethodGet, summaryTarget, bearer(secret)), http.StatusUnauthorized, "unauthorized")
	requireProblem(t, ask(g, http.MethodGet, summaryTarget, basic("x", secret)), http.StatusUnauthorized, "unauthorized")
	requireProblem(t, local(g, http.MethodGet, summaryTarget), http.StatusUnauthorized, "unauthorized")
	require.NotEmpty(t, events(t, g.pool, ledger.ActionDenied))
	assert.Contains(t, events(t, g.pool, ledger.ActionDenied)[0], "token:ann GET "+summaryTarget, "whose token it was is known")

	// The command line is another process: a second at most, by the clock.
	again := add(t, g.tokens, "ann", RoleOperator)
	require.Equal(t, http.StatusOK, ask(g, http.MethodGet, summaryTarget, bearer(again)).Code)
	require.NoError(t, NewTokens(g.pool).Revoke(t.Context(), "ann", ann))
	revoked := time.Now()
	for time.Since(revoked) <= staleAfter {
		ask(g, http.MethodGet, summaryTarget, bearer(again)) // using it does not keep it
		time.Sleep(10 * time.Millisecond)
	}
	requireProblem(t, ask(g, http.MethodGet, summaryTarget, bearer(again)), http.StatusUnauthorized, "unauthorized")
}

// A script adds a token and uses it right away, in another process.
func TestANewTokenWorksAtOnce(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, true, RateLimit{})
	requireProblem(t, ask(g, http.MethodGet, summaryTarget, bearer(newSecret())), http.StatusUnauthorized, "unauthorized")
	secret := add(t, NewTokens(g.pool), "ann", RoleReader)
	assert.Equal(t, http.StatusOK, ask(g, http.MethodGet, summaryTarget, bearer(secret)).Code)
}

func TestRoles(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, true, RateLimit{})
	reader, operator := bearer(add(t, g.tokens, "rita", RoleReader)), bearer(add(t, g.tokens, "otto", RoleOperator))
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, "BREW"} {
		for _, target := range []string{"/ui/api/jobs/retry", summaryTarget} {
			requireProblem(t, ask(g, method, target, reader), http.StatusForbidden, "forbidden")
		}
		assert.Equal(t, "token:otto", ask(g, method, "/ui/api/jobs/retry", operator).Body.String())
		requireProblem(t, ask(g, method, "/ui/api/jobs/retry"), http.StatusUnauthorized, "unauthorized")
	}
	assert.Equal(t, http.StatusOK, ask(g, http.MethodGet, "/ui/", reader).Code)
	assert.Equal(t, http.StatusOK, ask(g, http.MethodHead, summaryTarget, reader).Code)
	assert.Contains(t, events(t, g.pool, ledger.ActionDenied)[0], "token:rita POST /ui/api/jobs/retry 192.0.2.1:1234")
}

func TestChangesAreOfTheSameOrigin(t *testing.T) {
	t.Parallel()
	for name, required := range map[string]bool{"with tokens": true, "open": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGuarded(t, required, RateLimit{})
			header := "X-None: 1"
			if required {
				header = basic("", add(t, g.tokens, "otto", RoleOperator)) // which a browser sends along by itself
			}
			for _, foreign := range []string{
				"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Origin: https://evil.example", "Origin: null", "Origin: http://127.0.0.1:9090",
			} {
				requireProblem(t, local(g, http.MethodPost, "/ui/api/jobs/retry", header, foreign), http.StatusForbidden, "cross-origin")
				assert.Equal(t, http.StatusOK, local(g, http.MethodGet, "/ui/", header, foreign).Code)
			}
			for _, own := range []string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none", "Origin: http://127.0.0.1:8080", "X-None: 2"} {
				assert.Equal(t, http.StatusOK, local(g, http.MethodPost, "/ui/api/jobs/retry", header, own).Code, own)
			}
			assert.Len(t, events(t, g.pool, ledger.ActionDenied), 5)
		})
	}
}

func TestOpenOnThisMachineUntilThereIsAToken(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, false, RateLimit{})
	assert.Equal(t, http.StatusOK, local(g, http.MethodGet, summaryTarget).Code)
	assert.Equal(t, "anonymous", local(g, http.MethodPost, "/ui/").Body.String())
	secret := add(t, g.tokens, "ann", RoleReader)
	requireProblem(t, local(g, http.MethodGet, summaryTarget), http.StatusUnauthorized, "unauthorized")
	assert.Equal(t, http.StatusOK, local(g, http.MethodGet, summaryTarget, bearer(secret)).Code)
	require.NoError(t, g.tokens.Revoke(t.Context(), "ann", ann))
	requireProblem(t, local(g, http.MethodGet, summaryTarget), http.StatusUnauthorized, "unauthorized")
}

// A page whose name resolves to this machine is of the same origin for a browser.
func TestOpenToItsOwnNamesAlone(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, false, RateLimit{})
	for _, host := range []string{"127.0.0.1:8080", "127.0.0.1", "[::1]:8080", "[::1]", "localhost:8080", "LOCALHOST", "a.localhost:1", "localhost.", "tally:8080", "192.168.1.5:8080", ""} {
		assert.Equal(t, http.StatusOK, askAt(g, http.MethodGet, host, summaryTarget).Code, host)
	}
	for _, host := range []string{"evil.example:8080", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8080"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			requireProblem(t, askAt(g, method, host, "/ui/", "Origin: http://"+host), http.StatusForbidden, "foreign-host")
		}
	}
	secret := add(t, g.tokens, "ann", RoleReader)
	assert.Equal(t, http.StatusOK, askAt(g, http.MethodGet, "tally.example.com", summaryTarget, bearer(secret)).Code, "with tokens any name will do")
}

func TestTooManyRequests(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, true, RateLimit{PerSecond: 0.4, Burst: 2})
	now := time.Unix(1000, 0)
	g.access.limiter.now = func() time.Time { return now }
	a, b := bearer(add(t, g.tokens, "a", RoleReader)), bearer(add(t, g.tokens, "b", RoleReader))
	for range 2 {
		assert.Equal(t, http.StatusOK, ask(g, http.MethodGet, summaryTarget, a).Code)
	}
	w := ask(g, http.MethodGet, summaryTarget, a)
	requireProblem(t, w, http.StatusTooManyRequests, "too-many-requests")
	assert.Equal(t, "3", w.Header().Get("Retry-After"), "2.5 s, rounded up")
	assert.Equal(t, http.StatusOK, ask(g, http.MethodGet, summaryTarget, b).Code, "each token has its own")

	requireProblem(t, ask(g, http.MethodGet, summaryTarget), http.StatusUnauthorized, "unauthorized")
	assert.Equal(t, http.StatusOK, ask(g, http.MethodGet, "/readyz").Code)
	for _, target := range []string{summaryTarget, "/readyz"} {
		requireProblem(t, ask(g, http.MethodGet, target), http.StatusTooManyRequests, "too-many-requests")
	}
	requireProblem(t, ask(g, http.MethodGet, summaryTarget, bearer(newSecret())), http.StatusTooManyRequests, "too-many-requests")
	assert.Equal(t, http.StatusOK, ask(g, http.MethodGet, "/livez").Code)
	assert.Equal(t, http.StatusOK, ask(g, http.MethodGet, summaryTarget, b).Code, "nor does its address take a token's share")
	now = now.Add(2500 * time.Millisecond)
	assert.Equal(t, http.StatusOK, ask(g, http.MethodGet, summaryTarget, a).Code)
	assert.Contains(t, strings.Join(events(t, g.pool, ledger.ActionDenied), "\n"), `"problem": "too-many-requests"`)
}

func TestRateLimitWithoutTokens(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, false, RateLimit{PerSecond: 0.1, Burst: 1})
	from := func(remote string) int {
		r := httptest.NewRequest(http.MethodGet, summaryTarget, nil)
		r.Host, r.RemoteAddr = "localhost", remote
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		return w.Code
	}
	for range 5 {
		assert.Equal(t, http.StatusOK, from("127.0.0.1:1"), "who is on this machine is not held up")
	}
	assert.Equal(t, http.StatusOK, from("192.0.2.9:1"))
	assert.Equal(t, http.StatusTooManyRequests, from("192.0.2.9:2"))
	assert.Equal(t, http.StatusOK, from("192.0.2.10:1"))
}

// An attacker fills neither the disk nor the log of who did what.
func TestDenialsInTheAuditTrail(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, true, RateLimit{})
	for range 200 {
		ask(g, http.MethodGet, "/secret/path")
	}
	require.Len(t, events(t, g.pool, ledger.ActionDenied), maxDenialsPerClient)
	assert.Regexp(t, `^anonymous GET /secret/path 192\.0\.2\.1:1234 \{"status": 401, "problem": "unauthorized", "request_id": "[A-Z2-7]{26}"\}$`, events(t, g.pool, ledger.ActionDenied)[0])
	assert.Empty(t, events(t, g.pool, ledger.ActionSuppressed))
	g.access.Close()
	require.Len(t, events(t, g.pool, ledger.ActionSuppressed), 1)
	assert.Contains(t, events(t, g.pool, ledger.ActionSuppressed)[0], `"suppressed": 190`)
}

// Anonymous requests hide no denial of a token, neither by coming from many networks
// first nor by a path that PostgreSQL cannot store.
func TestAnonymousDenialsHideNothing(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, true, RateLimit{})
	reader := bearer(add(t, g.tokens, "rita", RoleReader))
	for i := range 2 * maxDenials {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = fmt.Sprintf("10.0.0.%d:1", i)
		r.URL.Path = "/\x00\x1b[2J"
		g.ServeHTTP(httptest.NewRecorder(), r)
	}
	requireProblem(t, ask(g, http.MethodPost, "/ui/api/jobs/retry", reader), http.StatusForbidden, "forbidden")
	list := events(t, g.pool, ledger.ActionDenied)
	require.Len(t, list, maxDenials+1)
	assert.Contains(t, list[0], "anonymous GET /%00%1B%5B2J 10.0.0.0:1 ")
	assert.Contains(t, list[maxDenials], "token:rita POST /ui/api/jobs/retry 192.0.2.1:1234")
}

func TestNoAccessWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	for _, required := range []bool{true, false} {
		g := newGuarded(t, required, RateLimit{})
		g.pool.Close()
		requireProblem(t, local(g, http.MethodGet, summaryTarget), http.StatusServiceUnavailable, "unavailable")
		requireProblem(t, local(g, http.MethodGet, summaryTarget, bearer(newSecret())), http.StatusServiceUnavailable, "unavailable")
		assert.Equal(t, http.StatusOK, local(g, http.MethodGet, "/livez").Code)
		assert.Equal(t, http.StatusOK, local(g, http.MethodGet, "/readyz").Code, "which asks the database itself")
	}
}

// A refusal stands whether or not it can be written down.
func TestADenialStandsWithoutItsAudit(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, true, RateLimit{})
	g.access.anonymous.record = func(context.Context, ledger.Event) error { return errors.New("no room") }
	requireProblem(t, ask(g, http.MethodGet, summaryTarget), http.StatusUnauthorized, "unauthorized")
	assert.Contains(t, g.log.String(), "no room")
}

func BenchmarkAccess(b *testing.B) {
	pool := testdb.New(b, migrations.Schema{})
	tokens := NewTokens(pool)
	secret, err := tokens.Add(b.Context(), "ann", RoleReader, ann)
	require.NoError(b, err)
	access := NewAccess(AccessConfig{Tokens: tokens, RateLimit: RateLimit{PerSecond: 1e9, Burst: 1e9}})
	r := httptest.NewRequest(http.MethodGet, summaryTarget, nil)
	r.Header.Set("Authorization", "Bearer "+secret)
	b.ReportAllocs()
	for b.Loop() {
		if actor, _, p := access.admit(r); p != nil || actor != "token:ann" {
			b.Fatal(actor, p)
		}
	}
}
