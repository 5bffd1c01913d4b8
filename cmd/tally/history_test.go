package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A correction is told by history, and the total is proven without a database.
func TestHistoryAndProof(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.write("tally.yaml", "sources:\n  - {name: bank, path: \""+filepath.Join(p.dir, "bank")+"\", corrections: replace}\n")
	const header = "transaction_id,user_id,amount,transaction_date\n"
	first := p.write("bank/a.csv", header+"A,1,5,2024-01-02\nB,1,2.50,2024-01-03\n")
	second := p.write("bank/b.csv", header+"A,1,6,2024-01-02\n")
	for _, path := range []string{first, second} {
		code, _, log := p.run("run", path)
		require.Equal(t, exitDone, code, log)
	}
	code, out, _ := p.run("history", "A", "--json")
	require.Equal(t, exitDone, code)
	var printed struct {
		Versions []map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(out), &printed))
	require.Len(t, printed.Versions, 2)
	assert.Equal(t, []any{5.0, "load", 2.0, first}, []any{printed.Versions[0]["amount"], printed.Versions[0]["cause"], printed.Versions[0]["line"], printed.Versions[0]["path"]})
	assert.Equal(t, []any{6.0, "correction", nil, printed.Versions[0]["to"]}, []any{printed.Versions[1]["amount"], printed.Versions[1]["cause"], printed.Versions[1]["to"], printed.Versions[1]["from"]})
	_, out, _ = p.run("history", "A")
	assert.Regexp(t, "correction +1 +6 ", out)
	code, _, log := p.run("history", "Z")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, log, "history Z: no such transaction")

	receipt := filepath.Join(p.dir, "receipt.json")
	code, _, log = p.run("prove", "1", "--out", receipt)
	require.Equal(t, exitDone, code, log)
	_, head, _ := p.run("audit", "head")
	head = strings.TrimSpace(head)
	code, out, log = p.run("prove", "--check", receipt, first, second, "--head", head)
	require.Equal(t, exitDone, code, log)
	assert.Equal(t, "holds: user 1, 2 transactions, total 8.5\nhead "+head+": compare it with one that was noted elsewhere\n", out)
	code, _, log = p.run("prove", "--check", receipt, first)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, log, "none of the files given has its content")
	text, err := os.ReadFile(receipt)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(receipt, []byte(strings.Replace(string(text), `"amount": 2.50`, `"amount": 3.50`, 1)), 0o600))
	code, _, log = p.run("prove", "--check", receipt, first, second)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, log, "the receipt says 2 and 8.5")
	for _, args := range [][]string{{"prove"}, {"prove", "x"}, {"prove", "1", "--head", head}, {"prove", "--check", receipt, first, "--head", "x"}, {"prove", "--check", "missing"}} {
		code, _, _ = p.run(args...)
		assert.Equal(t, exitUsage, code, args)
	}
}
