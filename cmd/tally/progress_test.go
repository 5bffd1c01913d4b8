package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/opentax/tally/pipeline"
)

func TestProgressShowsRowsRateAndTimeLeft(t *testing.T) {
	t.Parallel()
	half := pipeline.Progress{Path: "a.csv", Stage: pipeline.StageWrite, Rows: 1_000_000, Share: 0.75, Seconds: 3}
	assert.Equal(t, "writing, 1000000 rows, 333333 rows/s, 1s left", describe(half))
	assert.Equal(t, "reading, 0 rows, 0 rows/s", describe(pipeline.Progress{Stage: pipeline.StageRead}), "nobody can tell yet")
	for _, stage := range []string{pipeline.StageRead, pipeline.StageKeys, pipeline.StageWrite, pipeline.StageCommit, pipeline.StageExport, pipeline.StageVerify} {
		assert.NotEqual(t, byte(','), describe(pipeline.Progress{Stage: stage})[0], stage)
	}
	var out bytes.Buffer
	p := newProgress(&out)
	p.report(half)
	p.finish()
	assert.Empty(t, out.String(), "what is no terminal gets no bar")
}
