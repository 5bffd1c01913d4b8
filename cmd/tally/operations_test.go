package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
)

// client sends requests with a token.
type client struct {
	t            *testing.T
	base, secret string
}

// send returns the answer, as JSON; a problem's name is in its type.
func (c client) send(method, path, body string) (status int, answer map[string]any) {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	require.NoError(c.t, err)
	request.Header.Set("Authorization", "Bearer "+c.secret)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	require.NoError(c.t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	require.NoError(c.t, err)
	require.NoError(c.t, json.Unmarshal(content, &answer), string(content))
	return response.StatusCode, answer
}

// require compares the status, and for a problem its type; the answer is returned.
func (c client) require(status int, problem, method, path, body string) map[string]any {
	c.t.Helper()
	got, answer := c.send(method, path, body)
	require.Equal(c.t, status, got, "%s %s: %v", method, path, answer)
	if problem != "" {
		assert.Equal(c.t, "/problems/"+problem, answer["type"], path)
	}
	return answer
}

// serveBoth has a program with workers, and an operator and a reader of it.
func serveBoth(t *testing.T, p *program) (operator, reader client) {
	t.Helper()
	operator.secret, reader.secret = p.addToken("otto", "operator"), p.addToken("rita", "reader")
	address := freeAddress(t)
	p.start("up", "--listen", address)
	operator.base, reader.base, operator.t, reader.t = "http://"+address, "http://"+address, t, t
	status, body := get(t, operator.base+"/readyz")
	require.Equal(t, http.StatusOK, status, body)
	return operator, reader
}

// printed is the JSON of a command.
func (p *program) printed(args ...string) (answer map[string]any) {
	p.t.Helper()
	code, out, stderr := p.run(append(args, "--json")...)
	require.Equal(p.t, exitDone, code, stderr)
	require.NoError(p.t, json.Unmarshal([]byte(out), &answer))
	return answer
}

// What operators do on the command line they can do over the API, with the same answers.
func TestOperationsOfCommands(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	for _, rows := range []string{months, "transaction_id,user_id,amount,transaction_date\nE,4,9,2024-04-01\n"} {
		require.Equal(t, exitDone, first(p.run("run", p.write("a.csv", rows))))
	}
	operator, reader := serveBoth(t, p)

	listed := reader.require(http.StatusOK, "", http.MethodGet, "/partitions", "")
	assert.Equal(t, p.printed("partitions", "list"), listed)

	receipt := reader.require(http.StatusOK, "", http.MethodGet, "/prove/1", "")
	code, out, stderr := p.run("prove", "1")
	require.Equal(t, exitDone, code, stderr)
	var proven map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &proven))
	assert.Equal(t, proven, receipt)
	reader.require(http.StatusNotFound, "no-transactions", http.MethodGet, "/prove/99", "")

	verified, want := reader.require(http.StatusOK, "", http.MethodGet, "/audit/verify", ""), p.printed("audit", "verify")
	delete(verified, "verified_at")
	assert.NotEmpty(t, want["verified_at"])
	delete(want, "verified_at")
	assert.Equal(t, want, verified)
	p.exec("BEGIN; ALTER TABLE audit_chain DISABLE TRIGGER ALL; UPDATE audit_chain SET entry = entry || ' ' WHERE number = 2; ALTER TABLE audit_chain ENABLE TRIGGER ALL; COMMIT")
	assert.Nil(t, reader.require(http.StatusOK, "", http.MethodGet, "/audit/verify", "")["broken"], "it is served until the next entry")
	noted := reader.require(http.StatusOK, "", http.MethodGet, "/audit/verify?head=2:"+strings.Repeat("0f", 32), "")
	assert.Contains(t, noted["broken"].(map[string]any)["reason"], "its text or its place was changed")
	p.exec("BEGIN; ALTER TABLE audit_chain DISABLE TRIGGER ALL; UPDATE audit_chain SET entry = rtrim(entry) WHERE number = 2; ALTER TABLE audit_chain ENABLE TRIGGER ALL; COMMIT")

	reader.require(http.StatusForbidden, "forbidden", http.MethodPost, "/runs/2/revert", "")
	operator.require(http.StatusNotFound, "run-not-found", http.MethodPost, "/runs/99/revert", "")
	operator.require(http.StatusUnprocessableEntity, "invalid-request", http.MethodPost, "/runs/2/revert", `{"dry":true}`)
	preview := operator.require(http.StatusOK, "", http.MethodPost, "/runs/2/revert", `{"dry_run":true}`)
	assert.Equal(t, [2]any{1.0, 9.0}, [2]any{preview["rows"], preview["total_amount"]})
	assert.Equal(t, "5", p.query("SELECT count(*) FROM transactions"), "a preview changes nothing")
	reverted := operator.require(http.StatusOK, "", http.MethodPost, "/runs/2/revert", `{"reason":"test"}`)
	assert.Equal(t, preview, reverted)
	operator.require(http.StatusConflict, "not-open", http.MethodPost, "/runs/2/revert", "")
	assert.Equal(t, "4", p.query("SELECT count(*) FROM transactions"))

	const retire = `{"before":"2024-02","totals":"keep","drop":true,"reason":"law"}`
	reader.require(http.StatusForbidden, "forbidden", http.MethodPost, "/partitions/retire", retire)
	operator.require(http.StatusUnprocessableEntity, "invalid-request", http.MethodPost, "/partitions/retire", `{"before":"2024-02","totals":"keep","export":true}`)
	operator.require(http.StatusUnprocessableEntity, "invalid-request", http.MethodPost, "/partitions/retire", `{"before":"9999-01","totals":"keep","drop":true}`)
	reader.require(http.StatusNotFound, "retirement-not-found", http.MethodGet, "/partitions/retirements/99", "")
	queued := operator.require(http.StatusAccepted, "", http.MethodPost, "/partitions/retire", retire)
	var retired map[string]any
	require.Eventually(t, func() bool {
		retired = reader.require(http.StatusOK, "", http.MethodGet, fmt.Sprint("/partitions/retirements/", queued["id"]), "")
		return retired["finished_at"] != nil
	}, testdb.Patience, 20*time.Millisecond)
	assert.Equal(t, map[string]any{"months": []any{map[string]any{"month": "2024-01", "rows": 2.0, "total_amount": 11.5}}, "rows": 2.0, "total_amount": 11.5}, retired["result"])
	assert.Equal(t, "kept", reader.require(http.StatusOK, "", http.MethodGet, "/history/A", "")["retired"].(map[string]any)["totals"])
	reader.require(http.StatusConflict, "no-receipt", http.MethodGet, "/prove/1", "")
	assert.Equal(t, "token:otto law", p.query("SELECT string_agg((entry::json->>'actor') || ' ' || (entry::json->>'reason'), ',') FROM audit_chain WHERE kind = 'retire'"))
	assert.Equal(t, "token:otto", p.query("SELECT string_agg(actor, ',') FROM audit_events WHERE action = 'partitions.retire_requested'"))
	assert.Equal(t, "token:otto test", p.query("SELECT string_agg((entry::json->>'actor') || ' ' || (entry::json->>'reason'), ',') FROM audit_chain WHERE kind = 'revert'"))
}

// Every command has its operations in the API, or that it has none, in the table of the
// documentation: a new command cannot be forgotten.
func TestCommandsAndOperations(t *testing.T) {
	t.Parallel()
	parser, err := kong.New(&cli{})
	require.NoError(t, err)
	var commands []string
	for _, leaf := range parser.Model.Leaves(true) {
		commands = append(commands, "tally "+leaf.Path())
	}
	content, err := os.ReadFile("../../api/openapi.yaml")
	require.NoError(t, err)
	var document struct {
		Paths map[string]map[string]any `yaml:"paths"`
	}
	require.NoError(t, yaml.Unmarshal(content, &document))

	content, err = os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(content), "## Commands and operations")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n## ")
	var listed []string
	operation := regexp.MustCompile("`(GET|POST) ([^`]+)`")
	for _, row := range regexp.MustCompile("(?m)^\\| `(tally [a-z ]+)` \\| (.+) \\|$").FindAllStringSubmatch(table, -1) {
		listed = append(listed, row[1])
		for _, named := range operation.FindAllStringSubmatch(row[2], -1) {
			assert.Contains(t, document.Paths[named[2]], strings.ToLower(named[1]), "%s: %s", row[1], named[0])
		}
	}
	assert.ElementsMatch(t, commands, listed)
}
