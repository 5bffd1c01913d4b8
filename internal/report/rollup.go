package report

import (
	"fmt"
	"strings"
)

// Rollup is a table of counts and sums of transactions, as its registry declares it.
type Rollup struct {
	Table   string
	Keys    []string // the columns of its primary key
	PerUser bool     // it grows with the users, and every load writes all over it
}

func (r Rollup) primaryKey() wantedIndex {
	name := r.Table + "_pkey"
	return wantedIndex{r.Table, name, fmt.Sprintf("CREATE UNIQUE INDEX %s ON public.%s USING btree (%s)", name, r.Table, strings.Join(r.Keys, ", "))}
}

// perUser are the rollups that have rows for each user.
func (g *gathering) perUser() (tables []string) {
	for _, r := range g.config.Rollups {
		if r.PerUser {
			tables = append(tables, r.Table)
		}
	}
	return tables
}

// ownTables are those without which the database is not migrated.
func (g *gathering) ownTables() []string {
	tables := []string{"transactions"}
	for _, r := range g.config.Rollups {
		tables = append(tables, r.Table)
	}
	return tables
}

// rollupTotals is the statement of what each rollup counts.
func (g *gathering) rollupTotals() string {
	parts := make([]string, len(g.config.Rollups))
	for i, r := range g.config.Rollups {
		parts[i] = strings.TrimSuffix(g.sql.Get("totals", "rollup", r.Table), ";")
	}
	return strings.Join(parts, " UNION ALL ")
}
