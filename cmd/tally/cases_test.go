package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// caseOfFiles is a case of expected.json: files with one trait each, and what is stored
// when they have been loaded one after the other.
type caseOfFiles struct {
	Name     string         `json:"case"`
	Files    []string       `json:"files"`
	Settings map[string]any `json:"settings"` // of the source
	Database map[string]any `json:"database"` // of the settings file
	Rows     []storedRow    `json:"rows"`
	Optional []storedRow    `json:"optional"`
	Failed   *bool          `json:"failed"`
	Counts   map[string]any `json:"counts"`
	Mentions []string       `json:"mentions"`
}

// storedRow is id, user, amount and date.
type storedRow [4]any

func (r storedRow) String() string {
	user, _ := r[1].(float64)
	id, _ := r[0].(string)
	amount, _ := r[2].(string)
	date, _ := r[3].(string)
	return strings.Join([]string{id, strconv.Itoa(int(user)), amount, date}, " ")
}

// Files with a trait that broke somebody's import are read as they are meant, or rejected
// with the setting that decides.
func TestCases(t *testing.T) {
	t.Parallel()
	folder := filepath.Join("..", "..", "..", "shared", "data", "cases")
	content, err := os.ReadFile(filepath.Join(folder, "expected.json"))
	if err != nil {
		t.Skip("the cases are no part of the project: ", err)
	}
	var cases []caseOfFiles
	require.NoError(t, json.Unmarshal(content, &cases))
	require.NotEmpty(t, cases)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			c.test(t, newProgram(t), folder)
		})
	}
}

func (c *caseOfFiles) test(t *testing.T, p *program, folder string) {
	t.Helper()
	source := map[string]any{"name": "case", "path": filepath.Join(p.dir, "case")}
	maps.Copy(source, c.Settings)
	settings := map[string]any{"sources": []any{source}}
	maps.Copy(settings, c.Database)
	text, err := yaml.Marshal(settings)
	require.NoError(t, err)
	p.write("tally.yaml", string(text))

	var code int
	var out, stderr string
	for i, name := range c.Files {
		content, err := os.ReadFile(filepath.Join(folder, name))
		require.NoError(t, err)
		p.write(filepath.Join("case", strconv.Itoa(i+1)+filepath.Ext(name)), string(content))
		code, out, stderr = p.run("run", "--json")
	}
	var result struct{ Files []map[string]any }
	require.NoError(t, json.Unmarshal([]byte(out), &result), stderr)
	require.NotEmpty(t, result.Files)
	last := result.Files[len(result.Files)-1]
	if c.Failed != nil {
		assert.Equal(t, *c.Failed, last["status"] == "failed", out)
		assert.Equal(t, *c.Failed, code == exitFailed)
	}
	for key, want := range c.Counts {
		assert.Equal(t, want, last[key], key)
	}
	if len(c.Mentions) > 0 {
		said := strings.ToLower(out + stderr)
		assert.True(t, slices.ContainsFunc(c.Mentions, func(word string) bool { return strings.Contains(said, strings.ToLower(word)) }),
			"none of %q in %s", c.Mentions, said)
	}
	c.compare(t, p, out)
}

func (c *caseOfFiles) compare(t *testing.T, p *program, out string) {
	t.Helper()
	stored := strings.Split(p.query(`SELECT coalesce(string_agg(concat_ws(' ', transaction_id, user_id, amount, transaction_date), E'\n'), '') FROM transactions`), "\n")
	stored = slices.DeleteFunc(stored, func(row string) bool { return row == "" })
	want := []string{}
	for _, row := range c.Rows {
		want = append(want, row.String())
	}
	for _, row := range c.Optional {
		if slices.Contains(stored, row.String()) {
			want = append(want, row.String())
		}
	}
	assert.ElementsMatch(t, want, stored, out)
}
