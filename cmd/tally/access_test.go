package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// send asks a running program, with a token where there is one.
func send(t *testing.T, method, url, secret string, headers ...string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(`{"ids":["1"]}`))
	require.NoError(t, err)
	if secret != "" {
		request.SetBasicAuth("anybody", secret)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(content)
}

// On a non-loopback address every client is authenticated.
func TestNonLoopbackAddressNeedsAToken(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	for _, command := range []string{"up", "serve"} {
		for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0"} {
			code, _, stderr := p.run(command, "--listen", address)
			assert.Equal(t, exitUsage, code, stderr)
			assert.Contains(t, stderr, "tally token add")
		}
	}
	code, _, stderr := p.run("up", "--sample", "--listen", "0.0.0.0:0")
	assert.Equal(t, exitUsage, code, stderr)
	assert.Equal(t, "0", p.query("SELECT count(*) FROM etl_runs"), "nothing was done before")

	p.addToken("ann", "reader")
	p.run("token", "revoke", "ann")
	code, _, stderr = p.run("serve", "--listen", "0.0.0.0:0")
	assert.Equal(t, exitUsage, code, stderr)
}

func beyond(address string) string { return strings.Replace(address, "127.0.0.1", "0.0.0.0", 1) }

func TestServeOnNonLoopbackAddress(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	operator, reader := p.addToken("otto", "operator"), p.addToken("rita", "reader")
	address := freeAddress(t)
	up, stderr := p.start("serve", "--listen", beyond(address))
	base := "http://" + address
	status, body := get(t, base+"/readyz")
	require.Equal(t, http.StatusOK, status, body)

	status, body = send(t, http.MethodGet, base+"/runs", "")
	assert.Equal(t, http.StatusUnauthorized, status)
	assert.Contains(t, body, "/problems/unauthorized")
	status, _ = send(t, http.MethodGet, base+"/riverui/", reader)
	assert.Equal(t, http.StatusOK, status)

	// A job that is there to be cancelled.
	yesterday := time.Now().UTC().AddDate(0, 0, -1).Format(time.DateOnly)
	code, _, _ := p.run("backfill", "--from", yesterday, "--to", yesterday)
	require.Equal(t, exitDone, code)
	p.query("SELECT count(*) FROM river_job")
	const retry = "/riverui/api/jobs/retry"
	status, body = send(t, http.MethodPost, base+retry, reader)
	assert.Equal(t, http.StatusForbidden, status)
	assert.Contains(t, body, "/problems/forbidden")
	status, body = send(t, http.MethodPost, base+retry, operator, "Origin: https://evil.example")
	assert.Equal(t, http.StatusForbidden, status)
	assert.Contains(t, body, "/problems/cross-origin")
	assert.Equal(t, "0", p.query("SELECT count(*) FROM audit_events WHERE action = 'queue.change'"))
	status, body = send(t, http.MethodPost, base+retry, operator, "Origin: "+base)
	assert.Equal(t, http.StatusOK, status, body)
	assert.Equal(t, "token:otto POST "+retry, p.query("SELECT actor || ' ' || subject FROM audit_events WHERE action = 'queue.change'"))

	p.run("token", "revoke", "rita")
	time.Sleep(time.Second) // what docs/operations.md promises
	status, _ = send(t, http.MethodGet, base+"/runs", reader)
	assert.Equal(t, http.StatusUnauthorized, status)
	assert.Equal(t, "anonymous GET /runs,token:rita POST "+retry+",token:otto POST "+retry+",token:rita GET /runs",
		p.query("SELECT string_agg(actor || ' ' || subject, ',' ORDER BY id) FROM audit_events WHERE action = 'access.denied'"))

	for range 30 {
		send(t, http.MethodGet, base+"/runs", "")
	}
	require.NoError(t, up.Process.Signal(syscall.SIGTERM))
	require.NoError(t, up.Wait(), stderr.String())
	assert.Equal(t, "anonymous 21", p.query("SELECT string_agg(actor || ' ' || (detail ->> 'suppressed'), ',') FROM audit_events WHERE action = 'access.suppressed'"),
		"31 denials of one address, ten of them one by one; those of tokens are bounded apart")
}

// As in a container whose port is published to the host only.
func TestServeOpenOnNonLoopbackAddress(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	address := freeAddress(t)
	up, stderr := p.start("serve", "--open", "--listen", beyond(address))
	base := "http://" + address
	status, body := get(t, base+"/runs")
	assert.Equal(t, http.StatusOK, status, body)
	secret := p.addToken("ann", "reader")
	time.Sleep(time.Second)
	status, _ = send(t, http.MethodGet, base+"/runs", "")
	assert.Equal(t, http.StatusUnauthorized, status)
	status, _ = send(t, http.MethodGet, base+"/runs", secret)
	assert.Equal(t, http.StatusOK, status)
	require.NoError(t, up.Process.Signal(syscall.SIGTERM))
	require.NoError(t, up.Wait())
	assert.Contains(t, stderr.String(), "the API is unauthenticated on a non-loopback address")
}

func TestRateLimitInTheSettings(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	for settings, says := range map[string]string{
		"rate_limit: {per_second: -1}":           "rate_limit: per_second is negative",
		"rate_limit: {burst: 5}":                 "rate_limit: per_second is missing",
		"rate_limit: {per_second: 1, burst: -5}": "rate_limit: burst is negative",
		"rate_limit: {per_minute: 1}":            "per_minute",
	} {
		p.write("tally.yaml", settings)
		code, _, stderr := p.run("serve", "--listen", "127.0.0.1:0")
		assert.Equal(t, exitUsage, code, settings)
		assert.Contains(t, stderr, says)
	}
	p.write("tally.yaml", "rate_limit:\n  per_second: 0.01\n  burst: 3\n")
	secret := p.addToken("ann", "reader")
	address := freeAddress(t)
	p.start("serve", "--listen", address)
	get(t, "http://"+address+"/livez")
	var statuses []string
	for range 4 {
		status, _ := send(t, http.MethodGet, "http://"+address+"/runs", secret)
		statuses = append(statuses, fmt.Sprint(status))
	}
	assert.Equal(t, []string{"200", "200", "200", "429"}, statuses)
}
