package main

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRulesOnTheCommandLine(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	path := p.write("a.csv", "transaction_id;user_id;amount;transaction_date\nT1;7;1.234;05/02/2024\n")
	code, _, _ := p.run("run", path, "--decimal", "comma", "--slash", "dmy")
	assert.Equal(t, exitDone, code)
	assert.Equal(t, "1234 2024-02-05", p.query("SELECT amount || ' ' || transaction_date FROM transactions"))
	code, out, _ := p.run("check", path)
	assert.Equal(t, exitFailed, code, "nothing says what the row means")
	assert.Contains(t, out, "ambiguous_amount")
	assert.Contains(t, out, "slash: mdy")
}

// Each setting of a source is a flag of run and check.
func TestEverySettingIsAFlag(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	path := p.write("a.txt", "#K\xfcrzel#~7~12,50~S~24.12.99 23:30:00+00:00\nB~8~1.250~H~05/01/00\n")
	flags := []string{
		path, "--delimiter", "~", "--quote", "#", "--encoding", "windows-1252", "--header", "none",
		"--columns", "transaction_id=1;user_id=2;amount=3;amount.sign=4;amount.negative=S;transaction_date=5",
		"--decimal", "comma", "--slash", "mdy", "--dash", "dmy", "--dot", "dmy", "--two-digit-years", "1970", "--time-zone", "Europe/Berlin",
		"--currency", "EUR", "--from", "1990-01-01", "--to", "2010-01-01", "--max-amount", "1250", "--new-months", "2", "--reject-limit", "0", "--corrections", "replace",
	}
	code, out, stderr := p.run(append([]string{"check", "--json"}, flags...)...)
	require.Equal(t, exitDone, code, out+stderr)
	code, out, stderr = p.run(append([]string{"run"}, flags...)...)
	require.Equal(t, exitDone, code, out+stderr)
	assert.Equal(t, "B 8 1250 2000-05-01, Kürzel 7 -12.5 1999-12-25",
		p.query("SELECT string_agg(concat_ws(' ', transaction_id, user_id, amount, transaction_date), ', ' ORDER BY user_id DESC) FROM transactions"))
	var rules map[string]any
	require.NoError(t, json.Unmarshal([]byte(p.query("SELECT rules FROM etl_files")), &rules))
	assert.Len(t, rules, 18, "each of them is in the ledger: %v", rules)

	code, out, _ = p.run("check", "--json", path)
	assert.Equal(t, exitFailed, code)
	var refused map[string]string
	require.NoError(t, json.Unmarshal([]byte(out), &refused))
	assert.Equal(t, "missing_column", refused["error_code"])

	code, _, stderr = p.run("run", path, "--columns", "amonut=x")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, `no column "amonut"`)
}

// A path that a source covers is read by that source's settings, whatever the flags do not
// say, and belongs to it.
func TestPathsOfSources(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	bank, shop := filepath.Join(p.dir, "bank"), filepath.Join(p.dir, "shop")
	p.write("tally.yaml", "currency: EUR\nsources:\n  - {name: bank, path: \""+bank+"\", slash: dmy}\n"+
		"  - {name: shop, path: \""+shop+"/*-{date}.csv\", slash: mdy, decimal: comma}\n  - {name: both, path: \""+bank+"/x*.csv\"}\n")
	content := "transaction_id;user_id;amount;transaction_date\n"
	covered := p.write("bank/a.csv", content+"A;1;2;03/04/2024\n")
	dated := p.write("shop/q-2024-03-04.csv", content+"B;1;1.250;03/04/2024\n")
	other := p.write("c.csv", content+"C;1;2;03/04/2024\n")
	twice := p.write("bank/x1.csv", content+"D;1;2;03/04/2024\n")
	code, out, _ := p.run("run", covered, dated, other)
	assert.Equal(t, exitFailed, code, out)
	assert.Equal(t, "A 2 2024-04-03, B 1250 2024-03-04", p.query("SELECT string_agg(concat_ws(' ', transaction_id, amount, transaction_date), ', ' ORDER BY transaction_id) FROM transactions"))
	assert.Equal(t, "bank loaded, shop loaded, manual failed", p.query("SELECT string_agg(concat_ws(' ', source, status), ', ' ORDER BY id) FROM etl_files"))
	code, _, stderr := p.run("run", twice)
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "bank and both")
	code, out, _ = p.run("run", "--source", "bank", "--reject-limit", "0", twice)
	assert.Equal(t, exitDone, code, out)
	code, out, _ = p.run("check", covered)
	assert.Equal(t, exitDone, code, out)
	assert.Contains(t, out, "2024-04-03")
}

// Files that a folder or glob stands for belong to the sources that cover them.
func TestFoldersOfSources(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.write("tally.yaml", "sources:\n  - {name: shop, path: \""+filepath.Join(p.dir, "in", "shop*.csv")+"\", columns: {amount: {value: amount, sign: side, negative: [S]}}}\n")
	p.write("in/shop1.csv", "transaction_id;user_id;amount;side;transaction_date\nA;1;5,50;S;2024-01-02\n")
	p.write("in/other.csv", "transaction_id;user_id;amount;transaction_date\nB;1;5,50;2024-01-02\n")
	code, out, _ := p.run("run", filepath.Join(p.dir, "in"))
	assert.Equal(t, exitDone, code, out)
	assert.Equal(t, "A -5.5, B 5.5", p.query("SELECT string_agg(concat_ws(' ', transaction_id, amount), ', ' ORDER BY transaction_id) FROM transactions"))
	assert.Equal(t, "manual, shop", p.query("SELECT string_agg(source, ', ' ORDER BY source) FROM etl_files"))
}

// Sources are shown with their settings, and with what their files have proven.
func TestSourcesCommand(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.write("tally.yaml", "sources:\n  - {name: bank, path: \""+filepath.Join(p.dir, "bank")+"\", decimal: comma}\n")
	path := p.write("bank/a.csv", "transaction_id;user_id;amount;transaction_date\nA;1;€ 2;2024-04-03\nB;1;3,5;24/04/2024\n")
	require.Equal(t, exitDone, first(p.run("run", path)))
	code, out, _ := p.run("sources")
	assert.Equal(t, exitDone, code)
	assert.Contains(t, out, "slash: dmy, proven by line 3 of "+path)
	assert.Contains(t, out, "currency: €, proven by line 2 of "+path)
	code, out, _ = p.run("sources", "--json")
	assert.Equal(t, exitDone, code)
	var printed struct {
		Sources []struct {
			Name        string
			Settings    map[string]any
			Conventions []struct {
				Convention, Value, Path string
				Line                    int
			}
		}
	}
	require.NoError(t, json.Unmarshal([]byte(out), &printed))
	require.Len(t, printed.Sources, 1)
	assert.Equal(t, map[string]any{"decimal": "comma"}, printed.Sources[0].Settings)
	assert.Len(t, printed.Sources[0].Conventions, 3)

	p.write("bank/b.csv", "transaction_id;user_id;amount;transaction_date\nC;1;2;04/24/2024\n")
	require.Equal(t, exitDone, first(p.run("run", filepath.Join(p.dir, "bank", "b.csv"))))
	_, out, _ = p.run("sources")
	assert.Contains(t, out, "slash: the files contradict each other")
}

// What check proposes reads the file as it is meant.
func TestProposedSettings(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"names":       "Transaction ID,User ID,Amount (EUR),Date\nA,5,12.50,2024-11-24\nB,5,-3,2024-11-25\nC,6,8,2024-11-26\n",
		"contents":    "x;y;z;w;v\nfoo;A;5;12,50;24.11.2024\nbar;B;5;-3;25.11.2024\nbar;C;6;8,00;26.11.2024\n",
		"sides":       "Kontoauszug\n\nRef;Kunde;Soll;Haben;Buchung\nA;5;;12,50;24.11.2024\nB;5;3,00;;25.11.2024\nC;6;;8,00;26.11.2024\n",
		"no header":   "A,5,12.50,2024-11-24\nB,5,-3,2024-11-25\nC,6,8,2024-11-26\n",
		"encoding":    "transaction_id,user_id,amount,transaction_date\nA,5,12.50,2024-11-24\nB,5,-3,2024-11-25\nC,6,8,2024-11-26\nM\xfcller,6,1,2024-11-27\n",
		"as they are": "transaction_id,user_id,amount,transaction_date\nA,5,12.50,2024-11-24\nB,5,-3,2024-11-25\nC,6,8,2024-11-26\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProgram(t)
			path := p.write("a.csv", content)
			code, settings, stderr := p.run("check", "--settings", path)
			require.Equal(t, exitDone, code, stderr)
			p.write("tally.yaml", settings)
			code, out, stderr := p.run("run", path)
			require.Equal(t, exitDone, code, out+stderr+settings)
			assert.Equal(t, "A 5 12.5 2024-11-24, B 5 -3 2024-11-25, C 6 8 2024-11-26", p.query(`SELECT string_agg(concat_ws(' ', transaction_id, user_id, amount, transaction_date), ', '
				ORDER BY transaction_id) FROM transactions WHERE transaction_id < 'D'`), settings)
			assert.Equal(t, "0", p.query("SELECT rejected FROM etl_files"))
		})
	}
}
