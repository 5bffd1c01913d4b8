package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// noTimeouts resets the timeouts that a role, a database or the server's configuration sets for every
// session: a load is idle in its transaction while it reads the file, and each of them would end
// every long load at the same place. Values from the connection URL stay. It is a statement, since
// poolers refuse startup parameters that they do not know.
const noTimeouts = `SELECT set_config(name, '0', false) FROM pg_settings
WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout')
  AND setting <> '0' AND source <> 'client'`

func resetTimeouts(ctx context.Context, conn *pgconn.PgConn) error {
	if _, err := conn.Exec(ctx, noTimeouts).ReadAll(); err != nil {
		return fmt.Errorf("reset the timeouts of the session: %w", err)
	}
	return nil
}
