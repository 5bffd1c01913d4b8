package parquet_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/opentax/tally/internal/explain"
	tally "github.com/opentax/tally/pipeline/parquet"
)

// An export reads tables and months from end to end, which is no fault of theirs: a report
// on a live database neither carries them out nor calls them slow.
func TestQueriesAreMeantToReadAll(t *testing.T) {
	t.Parallel()
	for _, q := range tally.Queries(explain.Sample{}) {
		assert.True(t, q.Expect.WholeTable, q.Name)
	}
}
