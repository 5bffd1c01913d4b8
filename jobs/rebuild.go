package jobs

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/summaries"
)

// Rebuild makes tables of rollups, or the keys, anew (none named: all), and records it in the audit
// trail, in the same commit; see [summaries.Rebuild].
func (s *Service) Rebuild(ctx context.Context, tables []string, by string) (summaries.Rebuilt, error) {
	return summaries.Rebuild(ctx, s.pool, summaries.RebuildOptions{Tables: tables, Record: func(ctx context.Context, tx pgx.Tx, r summaries.Rebuilt) error {
		return ledger.Record(ctx, tx, ledger.Event{
			Actor: by, Action: ledger.ActionRebuilt, Subject: "rollups", Origin: s.config.Worker,
			Detail: map[string]any{"tables": r.Tables, "second_rows": r.SecondRows, "code_version": s.config.CodeVersion},
		})
	}})
}
