package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs/ledger"
)

const head = "transaction_id,user_id,amount,transaction_date\n"

// settings writes the settings file, with the inbox as the source shop.
func (p *program) settings(rules string) {
	p.t.Helper()
	p.write("tally.yaml", fmt.Sprintf("sources:\n  - name: shop\n    path: %s/inbox\n    reject_limit: 100%%\n%s", p.dir, rules))
}

// must is a run of the program that succeeds.
func (p *program) must(args ...string) string {
	p.t.Helper()
	code, out, stderr := p.run(args...)
	require.Equal(p.t, exitDone, code, "%v: %s%s", args, out, stderr)
	return out
}

// rejects are those that the program lists as JSON.
func (p *program) rejects(args ...string) []ledger.ListedReject {
	p.t.Helper()
	var page rejectPage
	require.NoError(p.t, json.Unmarshal([]byte(p.must(append([]string{"rejects", "--json"}, args...)...)), &page))
	return page.Rejects
}

// at makes %a and %b in a text the ids of the files with these names.
func (p *program) at(text string) string {
	p.t.Helper()
	for _, name := range []string{"a", "b", "c"} {
		if strings.Contains(text, "%"+name) {
			text = strings.ReplaceAll(text, "%"+name, p.query("SELECT max(id) FROM etl_files WHERE path LIKE '%"+name+".csv'"))
		}
	}
	return text
}

func (p *program) stored() string {
	p.t.Helper()
	return p.query("SELECT coalesce(string_agg(concat_ws(' ', transaction_id, user_id, amount, transaction_date), ', ' ORDER BY transaction_id), '') FROM transactions")
}

// A row's life: rejected as ambiguous, replayed under a setting, in conflict with a row of
// another file, settled, reverted, and loaded again. Its history tells it, and a receipt proves
// what is stored.
func TestLifeOfARow(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.settings("")
	a := p.write("inbox/a.csv", head+"A,1,5.00,03/04/2024\nB,1,,2024-01-01\n")
	p.must("run", a)
	b := p.write("inbox/b.csv", head+"A,1,6.00,2024-04-03\n")
	p.must("run", b)

	list := p.rejects()
	require.Len(t, list, 2)
	assert.Equal(t, p.at("%a:2"), list[0].ID)
	assert.Equal(t, &ledger.FaultyCell{Column: "transaction_date", Text: "03/04/2024"}, list[0].Cell)
	assert.Contains(t, list[0].Hints[0], "slash")
	out := p.must("rejects")
	for _, part := range []string{p.at("file %a: ") + a, p.at("%a:2  rejected: ambiguous_date"), "A,1,5.00,03/04/2024", `transaction_date: "03/04/2024"`, "hint: slash"} {
		assert.Contains(t, out, part)
	}

	p.settings("    slash: dmy\n")
	assert.JSONEq(t, `{"read":2,"loaded":0,"duplicate":0,"conflict":1,"rejected":1,"warnings":[]}`, p.must("replay", "--dry-run", "--json"))
	assert.Empty(t, p.rejects("--outcome", "conflict"), "a preview changes nothing")
	assert.Equal(t, "read 2: loaded 0, duplicate 0, conflict 1, rejected 1\n", p.must("replay"))
	list = p.rejects("--outcome", "conflict")
	require.Len(t, list, 1)
	assert.Equal(t, "5", list[0].Values.Amount.String())
	assert.Equal(t, "6 "+b, list[0].Stored.Amount.String()+" "+list[0].Stored.Path)
	out = p.must("rejects", "--outcome", "conflict")
	assert.Contains(t, out, "stored: user 1, 6 on 2024-04-03, of line 2 of "+b+p.at(" (file %b)"))
	assert.Contains(t, out, "this:   user 1, 5 on 2024-04-03")

	out = p.must("settle", p.at("%a:2"), "take", "--json")
	assert.Contains(t, out, `"state": "settled"`)
	assert.Contains(t, out, `"outcome": "loaded"`)
	assert.Equal(t, "A 1 5 2024-04-03", p.stored())
	p.must("fix", p.at("%a:3"), "--amount=-7.25", "--reason", "asked the shop")
	assert.Equal(t, "A 1 5 2024-04-03, B 1 -7.25 2024-01-01", p.stored())
	assert.Equal(t, []string{}, idsOf(p.rejects()))
	assert.Equal(t, []string{p.at("%a:2")}, idsOf(p.rejects("--state", "settled")))
	assert.Equal(t, []string{p.at("%a:3")}, idsOf(p.rejects("--state", "fixed")))

	assert.JSONEq(t, `{"rows":2,"restored":1,"replayed":0,"users":1,"total_amount":-2.25,"change":8.25,"warnings":[]}`, p.must("revert", p.at("%a"), "--dry-run", "--json"))
	p.must("revert", "--run", "1")
	assert.Equal(t, "A 1 6 2024-04-03", p.stored())
	assert.Empty(t, p.rejects("--state", "fixed"), "of a reverted file nothing is listed")
	told := p.at("6.00 load %b:2, 5.00 settle %a:2, 6.00 revert %b:2")
	p.must("run", a)
	assert.Equal(t, []string{p.at("%a:2"), p.at("%a:3")}, idsOf(p.rejects()))
	p.must("discard", p.at("%a:3"), "--reason", "an empty row")
	p.must("settle", p.at("%a:2"), "keep")
	assert.Empty(t, p.rejects())
	assert.Equal(t, told, p.history("A"))
	receipt := filepath.Join(p.dir, "receipt.json")
	p.must("prove", "1", "--out", receipt)
	assert.Contains(t, p.must("prove", "--check", receipt, b), "holds: user 1, 1 transactions, total 6\n")
	p.write("inbox/b.csv", head+"A,1,7.00,2024-04-03\n")
	code, _, stderr := p.run("prove", "--check", receipt, b)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, stderr, "does not hold")

	assert.Contains(t, p.must("verify"), "clean")
	assert.Contains(t, p.must("audit", "verify"), "clean")
	assert.Equal(t, "load load replay settle fix revert load discard settle", p.query("SELECT string_agg(kind, ' ' ORDER BY number) FROM audit_chain"))
	assert.Equal(t, requestedBy()+" asked the shop", p.query("SELECT concat_ws(' ', entry::json->>'actor', entry::json->>'reason') FROM audit_chain WHERE kind = 'fix'"))
}

// history are the states of a transaction: amount, cause, file and line.
func (p *program) history(id string) string {
	p.t.Helper()
	var h struct {
		Versions []struct {
			Amount json.Number
			Cause  string
			FileID int64 `json:"file_id"`
			Line   int64
		}
	}
	require.NoError(p.t, json.Unmarshal([]byte(p.must("history", id, "--json")), &h))
	var states []string
	for _, v := range h.Versions {
		states = append(states, fmt.Sprintf("%s %s %d:%d", v.Amount, v.Cause, v.FileID, v.Line))
	}
	return strings.Join(states, ", ")
}

func idsOf(list []ledger.ListedReject) []string {
	all := []string{}
	for _, r := range list {
		all = append(all, r.ID)
	}
	return all
}

// Each filter leaves out what it should, and pages continue where the one before ended.
func TestRejectsAreFilteredAndPaged(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.settings("")
	p.must("run", p.write("inbox/a.csv", head+"A,1,,2024-01-01\nB,1,5,2024-01-01\nB,1,6,2024-01-01\nB,1,5,2024-01-01\nC,x,,2024-01-01\n"), "--date", "2024-01-02")
	p.must("run", "--source", "shop", p.write("b.csv", head+"D,1,,2024-01-01\n"), "--date", "2024-01-03")
	p.must("run", p.write("c.csv", head+"E,1,,2024-01-01\nF,1,2,2024-01-01\n"), "--date", "2024-01-03")
	for args, want := range map[string]string{
		"": "1:2 1:4 1:6 2:2 3:2", "--file 1": "1:2 1:4 1:6", "--fault missing_amount": "1:2 1:6 2:2 3:2", "--fault invalid_user_id": "1:6",
		"--source shop": "1:2 1:4 1:6 2:2", "--source manual": "3:2", "--date 2024-01-03": "2:2 3:2", "--outcome conflict": "1:4", "--outcome duplicate": "1:5",
		"--outcome rejected --source shop --date 2024-01-03": "2:2", "--state replayed": "", "--after 1:4": "1:6 2:2 3:2", "--outcome duplicate --after 1:5": "",
	} {
		assert.Equal(t, want, strings.Join(idsOf(p.rejects(strings.Fields(args)...)), " "), args)
	}
	var page rejectPage
	after := []string{}
	for seen := []string{}; ; after = []string{"--after", page.Next} {
		page = rejectPage{}
		require.NoError(t, json.Unmarshal([]byte(p.must(append([]string{"rejects", "--json", "--limit", "2"}, after...)...)), &page))
		seen = append(seen, idsOf(page.Rejects)...)
		if page.Next == "" {
			assert.Equal(t, "1:2 1:4 1:6 2:2 3:2", strings.Join(seen, " "))
			break
		}
	}
	assert.Contains(t, p.must("rejects", "--limit", "1"), "There are more: --after 1:2")
	assert.Equal(t, "none\n", p.must("rejects", "--file", "9"))
}

// A spreadsheet opens the list, and nothing in it is a formula.
func TestRejectsAsCSV(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.settings("")
	rows := []string{"=1+1,1,,2024-01-01", "@SUM(A1),1,,2024-01-01", `+cmd,1,,"2024-01-01"`, "-2,1,,2024-01-01", "\tT,1,,2024-01-01", "É;=1,1,,2024-01-01", "X,1,5,2024-01-01"}
	p.must("run", p.write("inbox/=a.csv", head+strings.Join(rows, "\n")+"\nX,1,-5,2024-01-01\n"))
	out := p.must("rejects", "--csv")
	require.True(t, strings.HasPrefix(out, "\uFEFF"), "Excel reads it as UTF-8")
	table, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(out, "\uFEFF"))).ReadAll()
	require.NoError(t, err)
	require.Len(t, table, 8)
	column := map[string]int{}
	for i, name := range table[0] {
		column[name] = i
	}
	for i, row := range table[1:] {
		for _, cell := range row {
			assert.NotContains(t, "=+-@\t\r", (cell + "x")[:1])
		}
		if i < 6 {
			assert.Equal(t, rows[i], strings.TrimPrefix(row[column["raw"]], "'"))
		}
	}
	assert.Equal(t, "'=1+1,1,,2024-01-01", table[1][column["raw"]])
	assert.Equal(t, rows[5], table[6][column["raw"]])
	conflict := table[7]
	assert.Equal(t, "conflict '-5 5", conflict[column["outcome"]]+" "+conflict[column["amount"]]+" "+conflict[column["stored_amount"]])
}

// What is named wrong is a usage error; what was dealt with is a failure that says so.
func TestChangesAreRefused(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.settings("")
	p.must("run", p.write("inbox/a.csv", head+"A,1,,2024-01-01\nB,1,5,2024-01-01\nB,1,6,2024-01-01\nB,1,5,2024-01-01\n"))
	p.run("run", p.write("inbox/b.csv", "a,b\n"))
	p.must("discard", "1:2", "--reason", "x")
	p.must("replay")
	for _, c := range []struct {
		args string
		code int
		why  string
	}{
		{"fix 1:2x --amount 1 --reason x", exitUsage, "want FILE:LINE"},
		{"fix 7:2 --amount 1 --reason x", exitUsage, "reject 7:2: no such reject"},
		{"fix 1:4 --reason x", exitUsage, "give a corrected value"},
		{"fix 1:4 --amount 1,5 --reason x", exitUsage, "amount"},
		{"fix 1:4 --amount 1", exitUsage, "--reason"},
		{"discard 1:4 --reason=", exitUsage, "--reason"},
		{"settle 1:4 drop", exitUsage, "keep"},
		{"revert", exitUsage, "name a file"},
		{"revert 9", exitUsage, "file 9: no such file"},
		{"revert --run 9", exitUsage, "no such run"},
		{"replay 7:2", exitUsage, "no such reject"},
		{"replay 1:4 --fault x", exitUsage, "or select them"},
		{"rejects --after x", exitUsage, "--after"},
		{"fix 1:2 --amount 1 --reason x", exitFailed, "reject 1:2 is not open: it was discarded"},
		{"settle 1:2 keep", exitFailed, "discarded"},
		{"discard 1:2 --reason x", exitFailed, "discarded"},
		{"replay 1:2", exitFailed, "discarded"},
		{"replay 1:4", exitFailed, "is a conflict: tally settle decides it"},
		{"fix 1:5 --amount 1 --reason x", exitFailed, "is a duplicate"},
		{"revert %b", exitFailed, "was not loaded"},
	} {
		code, out, stderr := p.run(strings.Fields(p.at(c.args))...)
		assert.Equal(t, c.code, code, "%s: %s%s", c.args, out, stderr)
		assert.Contains(t, stderr, c.why, c.args)
	}
	p.must("revert", "1")
	code, _, stderr := p.run("revert", "1")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, stderr, "was reverted already")
	code, _, stderr = p.run("revert", "--run", "1")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, stderr, "no loaded file")
	code, _, stderr = p.run("settle", "1:4", "keep")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, stderr, "reverted")
}

// Rows are read again by the rules of their file where the settings have no such source.
func TestReplayOfAFileGivenByHand(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.must("run", "--columns", "amount=Betrag", "--reject-limit", "100%", p.write("a.csv", "transaction_id,user_id,Betrag,transaction_date\nA,1,1,03/04/2024\n"))
	assert.Equal(t, "read 1: loaded 0, duplicate 0, conflict 0, rejected 1\n", p.must("replay"))
	p.must("fix", p.at("%a:2"), "--date", "2024-04-03", "--reason", "x")
	assert.Equal(t, "A 1 1 2024-04-03", p.stored())
}

// ambiguous is a file of rows whose dates are ambiguous.
func ambiguous(rows int) string {
	var b strings.Builder
	b.WriteString(head)
	for i := range rows {
		fmt.Fprintf(&b, "T%d,%d,1.25,03/04/2024\n", i, 1+i%100)
	}
	return b.String()
}

// Two processes replay the same rejects at once: each row is loaded once.
func TestReplaysOfTwoProcesses(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.settings("")
	p.must("run", p.write("inbox/a.csv", ambiguous(6_000)))
	p.settings("    slash: dmy\n")
	first, _ := p.start("replay", "--json")
	second, _ := p.start("replay", "--json")
	require.NoError(t, first.Wait())
	require.NoError(t, second.Wait())
	var a, b reject.ReplayResult
	require.NoError(t, json.Unmarshal([]byte(stdout(first)), &a))
	require.NoError(t, json.Unmarshal([]byte(stdout(second)), &b))
	assert.Equal(t, int64(6_000), a.Loaded+b.Loaded)
	assert.Equal(t, "6000", p.query("SELECT count(*) FROM transactions"))
	assert.Equal(t, "0", p.query("SELECT count(*) FROM etl_open_rejects"))
	assert.Contains(t, p.must("verify"), "clean")
	assert.Contains(t, p.must("audit", "verify"), "clean")
}

// A replay and a revert that are killed in the middle leave nothing behind.
func TestKilledInTheMiddleOfAChange(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.settings("")
	p.must("run", p.write("inbox/a.csv", ambiguous(50_000)))
	p.settings("    slash: dmy\n")
	state := func() string {
		return p.query(`SELECT concat_ws(' ', (SELECT count(*) FROM transactions), (SELECT count(*) FROM transaction_keys), (SELECT sum(total_transactions) FROM user_summary),
			(SELECT count(*) FROM etl_reject_states), (SELECT count(*) FROM etl_open_rejects), (SELECT count(*) FROM audit_chain), (SELECT count(*) FROM etl_reverts))`)
	}
	kill := func(release func(), query string, args ...string) {
		t.Helper()
		process, stderr := p.start(args...)
		began := time.Now()
		for p.query("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE '"+query+"' AND state = 'active' AND pid <> pg_backend_pid()") == "0" {
			if time.Since(began) > time.Minute {
				_ = process.Process.Kill()
				_ = process.Wait() // killed
				require.Fail(t, "the statement never ran", "%s%s", stdout(process), stderr)
			}
		}
		require.NoError(t, process.Process.Kill())
		_ = process.Wait() // killed
		release()          // what the statement may wait for
		require.Eventually(t, func() bool {
			return p.query(others) == "0"
		}, testdb.Patience, 10*time.Millisecond, "its transaction is rolled back")
	}
	before := state()
	kill(func() {}, "copy%", "replay")
	assert.Equal(t, before, state())
	assert.Equal(t, "read 50000: loaded 50000, duplicate 0, conflict 0, rejected 0\n", p.must("replay"))
	before = state()
	holder, err := pgx.Connect(t.Context(), p.url)
	require.NoError(t, err)
	defer holder.Close(context.WithoutCancel(t.Context()))
	_, err = holder.Exec(t.Context(), "BEGIN; SELECT FROM transactions WHERE user_id = 1 FOR UPDATE")
	require.NoError(t, err)
	kill(func() { require.NoError(t, holder.Close(t.Context())) }, "delete from transaction%", "revert", p.at("%a"))
	assert.Equal(t, before, state())
	p.must("revert", p.at("%a"))
	assert.Empty(t, p.stored())
	assert.Contains(t, p.must("verify"), "clean")
	assert.Contains(t, p.must("audit", "verify"), "clean")
}
