package api

import "github.com/opentax/tally/internal/explain"

const (
	insertToken = `INSERT INTO api_tokens (name, role, secret_sha256, created_by) VALUES ($1, $2, $3, $4)`
	revokeToken = `UPDATE api_tokens SET revoked_at = now(), revoked_by = $2 WHERE name = $1 AND revoked_at IS NULL`
	listTokens  = `SELECT id, name, role, created_at, created_by, revoked_at, revoked_by FROM api_tokens ORDER BY id`
	loadTokens  = `SELECT id, name, role, secret_sha256, revoked_at FROM api_tokens`
)

// Queries are the statements that the API runs itself: those about tokens, of which
// there are few. All others are those of summaries and jobs.
func Queries(explain.Sample) []explain.Query {
	whole := explain.Expectation{WholeTable: true}
	const name, by = "nobody", "cli"
	return []explain.Query{
		{Name: "api/load_tokens", Purpose: "once a second at most, while somebody asks", SQL: loadTokens, Expect: whole},
		{Name: "api/list_tokens", Purpose: "each tally token list", SQL: listTokens, Expect: whole},
		{Name: "api/insert_token", Purpose: "each tally token add", SQL: insertToken, Args: []any{name, string(RoleReader), make([]byte, 32), by}, Writes: true},
		{Name: "api/revoke_token", Purpose: "each tally token revoke", SQL: revokeToken, Args: []any{name, by}, Writes: true},
	}
}
