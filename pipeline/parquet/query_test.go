package parquet_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/opentax/tally/internal/explain"
	tally "github.com/opentax/tally/pipeline/parquet"
)

// The statements of an export have to read whole tables and months: a report on a live database
// neither runs them nor reports them as slow.
func TestQueriesAreMeantToReadAll(t *testing.T) {
	t.Parallel()
	for _, q := range tally.Queries(explain.Sample{}) {
		assert.True(t, q.Expect.WholeTable, q.Name)
	}
}
