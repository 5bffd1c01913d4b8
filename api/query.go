package api

import (
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/opentax/tally/internal/explain"
)

// The changes bind their arguments, past Bun: they share a transaction of pgx with
// their audit events.
const (
	insertToken = `INSERT INTO api_tokens (name, role, secret_sha256, created_by) VALUES ($1, $2, $3, $4)`
	revokeToken = `UPDATE api_tokens SET revoked_at = now(), revoked_by = $2 WHERE name = $1 AND revoked_at IS NULL`
)

func selectTokens(db *bun.DB) *bun.SelectQuery {
	return db.NewSelect().Model((*Token)(nil)).OrderExpr("id")
}

// Queries are the statements that the API runs itself: those about tokens, of which
// there are few. All others are those of summaries and jobs.
func Queries(explain.Sample) []explain.Query {
	whole := explain.Expectation{WholeTable: true}
	const name, by = "nobody", "cli"
	return []explain.Query{
		{
			Name: "api/list_tokens", Purpose: "at most once a second while requests arrive, and each tally token list",
			SQL: selectTokens(bun.NewDB(nil, pgdialect.New())).String(), Expect: whole,
		},
		{Name: "api/insert_token", Purpose: "each tally token add", SQL: insertToken, Args: []any{name, string(RoleReader), make([]byte, 32), by}, Writes: true},
		{Name: "api/revoke_token", Purpose: "each tally token revoke", SQL: revokeToken, Args: []any{name, by}, Writes: true},
	}
}
