package report

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A plan that uses its index and reads all of it is found by what it reads, not by a
// moment in which the machine was busy.
func TestSlowQueries(t *testing.T) {
	t.Parallel()
	c := &collector{Report: &Report{Queries: []Query{
		{Name: "busy", Executed: true, Execution: 900, Buffers: 40},
		{Name: "short", Executed: true, Execution: 40, Buffers: 492_006},
		{Name: "planned", Buffers: 492_006},
		{Name: "slow", Executed: true, Execution: 2617, Buffers: 492_006},
	}}}
	c.checkQueries()
	require.Len(t, c.Findings, 1)
	assert.Equal(t, "slow-query", c.Findings[0].ID)
	assert.Equal(t, "slow", c.Findings[0].Subject)
	assert.Contains(t, c.Findings[0].Cost, "492,006 pages")
}
