package report

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/sqlfile"
)

// A line of the words that is none of a finding's parts would be lost.
func TestEveryKindHasItsWords(t *testing.T) {
	t.Parallel()
	for kind, words := range sqlfile.Parse(findingWords) {
		parts := map[string]int{}
		for line := range strings.SplitSeq(words, "\n") {
			part, _, _ := strings.Cut(line, ": ")
			assert.Contains(t, []string{"title", "cost", "seen", "fix"}, part, kind)
			parts[part]++
		}
		assert.Equal(t, []int{1, 1}, []int{parts["title"], parts["cost"]}, kind)
		assert.NotZero(t, parts["fix"], kind)
	}
}

// What no test can do to a real database in a moment.
func TestRareFindings(t *testing.T) {
	t.Parallel()
	now := time.Now()
	c := &collector{Report: &Report{
		Machine: Machine{Memory: 8 << 30},
		Tables: []Table{
			{Name: "transactions", Partitioned: true}, {Name: "transactions_2024_01", PartitionOf: "transactions", Rows: 2e6, Bytes: 1 << 30, Analyzed: &now},
		},
		Settings: []Setting{{Name: "effective_cache_size", Value: "16GB", Bytes: 16 << 30}},
	}}
	c.checkUpkeep()
	c.checkMemory()
	c.find("transaction-ids", Critical, 95, "tally", facts{"age": int64(400e6), "limit": int64(200e6)})
	require.Empty(t, c.Skipped)
	c.sortFindings()
	var titles []string
	for _, f := range c.Findings {
		titles = append(titles, f.Title)
	}
	assert.Equal(t, []string{
		"The oldest rows were frozen 400,000,000 transactions ago", "transactions has no statistics of its own",
		"effective_cache_size is 16.0 GiB, more than the 8.0 GiB that there are",
	}, titles)
	assert.Equal(t, "ALTER SYSTEM SET effective_cache_size = '6144MB'; SELECT pg_reload_conf();", c.Findings[2].Fix)
}

// A name with a line end adds no fix, and a fact that is missing is listed.
func TestWordsAreFilledInLineByLine(t *testing.T) {
	t.Parallel()
	c := &collector{Report: &Report{}}
	c.find("pending-migration", Warning, 90, "a\nfix: DROP TABLE x;", nil)
	assert.Equal(t, "-- on a shell: tally migrate", c.Findings[0].Fix)
	c.find("failed-run", Warning, 60, "run 1", nil)
	assert.NotEmpty(t, c.Skipped)
}
