package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func (p *program) addToken(name, role string) (secret string) {
	p.t.Helper()
	code, out, stderr := p.run("token", "add", name, "--role", role)
	require.Equal(p.t, exitDone, code, stderr)
	require.Regexp(p.t, `^tally_[A-Za-z0-9_-]{43}\n$`, out, "the secret and nothing else")
	return strings.TrimSpace(out)
}

func TestTokenCommands(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	secret := p.addToken("ann", "operator")
	p.addToken("bob", "reader")
	code, out, stderr := p.run("token", "add", "ann", "--role", "reader")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, stderr, "a token of this name already exists")
	assert.Empty(t, out)
	for _, wrong := range [][]string{
		{"token", "add", "eve", "--role", "admin"}, {"token", "add", "eve"}, {"token", "add", "a b", "--role", "reader"}, {"token", "add"}, {"token", "revoke"}, {"token"},
	} {
		code, out, _ := p.run(wrong...)
		assert.Equal(t, exitUsage, code, wrong)
		assert.Empty(t, out, wrong)
	}
	code, out, _ = p.run("token", "revoke", "bob")
	assert.Equal(t, exitDone, code)
	assert.Equal(t, "bob is revoked\n", out)
	code, _, stderr = p.run("token", "revoke", "bob")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, stderr, "no token of this name exists")

	code, out, _ = p.run("token", "list")
	assert.Equal(t, exitDone, code)
	assert.Regexp(t, `(?m)^ann +operator +\d{4}-`, out)
	assert.Regexp(t, `(?m)^bob +reader +\S+ \S+ +\S+ +\d{4}-\d\d-\d\d \S+ +cli`, out)
	code, out, _ = p.run("token", "list", "--json")
	assert.Equal(t, exitDone, code)
	var list struct{ Tokens []map[string]any }
	require.NoError(t, json.Unmarshal([]byte(out), &list))
	require.Len(t, list.Tokens, 2)
	assert.NotContains(t, list.Tokens[0], "revoked_at")
	assert.Contains(t, list.Tokens[1], "revoked_at")
	assert.NotContains(t, out, secret)

	assert.Equal(t, "token.added ann,token.added bob,token.revoked bob",
		p.query("SELECT string_agg(action || ' ' || subject, ',' ORDER BY id) FROM audit_events"))
	assert.Equal(t, "3", p.query("SELECT count(*) FROM audit_events WHERE actor LIKE 'cli%' AND origin ~ ':[0-9]+$'"))
}
