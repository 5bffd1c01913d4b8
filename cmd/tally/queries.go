package main

import (
	"slices"

	"github.com/opentax/tally/api"
	"github.com/opentax/tally/internal/explain"
	"github.com/opentax/tally/internal/report"
	"github.com/opentax/tally/jobs"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/parquet"
	"github.com/opentax/tally/pipeline/prove"
	"github.com/opentax/tally/pipeline/seal"
	"github.com/opentax/tally/summaries"
)

// queries are all statements that Tally names, with arguments from s.
func queries(s explain.Sample) []explain.Query {
	return slices.Concat(summaries.Queries(s), load.Queries(s), seal.Queries(s), prove.Queries(s), parquet.Queries(s), jobs.Queries(s), api.Queries(s))
}

// rollups are those of the registry, as the report takes them.
func rollups() (list []report.Rollup) {
	for _, r := range summaries.Rollups() {
		list = append(list, report.Rollup{Table: r.Table, Keys: r.KeyColumns(), PerUser: r.PerUser()})
	}
	return list
}
