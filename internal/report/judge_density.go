package report

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// thinLeaves is how full (in per cent) the pages of an index are when it would be half
// the size if it were built anew: PostgreSQL fills them to 90, and splitting in random
// order leaves some 70.
const thinLeaves = 45

// judgeDensity looks into the indexes that every load writes into, by pgstattuple where
// it is installed: what pg_stats says of an index is no better than a guess.
func (g *gathering) judgeDensity(ctx context.Context) {
	installed := false
	g.try(ctx, "how full indexes are", func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, g.sql.Get("has_extension"), "pgstattuple").Scan(&installed)
	})
	if !installed {
		g.skip("how full indexes are", "pgstattuple is not installed: CREATE EXTENSION pgstattuple")
		return
	}
	for _, name := range g.touched() {
		var density float64
		var bytes int64
		g.try(ctx, "how full "+name+" is", func(tx pgx.Tx) error {
			return tx.QueryRow(ctx, g.sql.Get("density"), name).Scan(&density, &bytes)
		})
		if bytes < smallTable || density > thinLeaves {
			continue
		}
		g.find(Finding{
			ID: "index-bloat", Severity: Warning, Subject: name, Weight: 38 + min(0.9, float64(bytes)/(1<<40)),
			Title:    fmt.Sprintf("The pages of %s are %s full", name, share(density/100)),
			Cost:     fmt.Sprintf("some %s of memory and disk for nothing, in an index that every load touches all over", size(int64(float64(bytes)*(1-density/90)))),
			Evidence: []string{fmt.Sprintf("pgstatindex: an average leaf density of %s, of %s", share(density/100), size(bytes))},
			Fix:      "REINDEX INDEX CONCURRENTLY " + name + ";",
		})
	}
}
