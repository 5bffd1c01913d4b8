package summaries

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// ExcludeLoads waits for the load that writes and keeps others from writing until release, if the rows
// are distributed over a cluster: its nodes commit one after the other, and a statement that reads from
// several has no snapshot in common. It must come before the transaction. On a single server it does
// nothing.
func ExcludeLoads(ctx context.Context, conn *pgxpool.Conn) (release func(), err error) {
	var locked bool
	const query = "SELECT CASE WHEN tally_distributed() THEN pg_advisory_lock_shared($1) IS NOT NULL ELSE false END"
	if err := conn.QueryRow(ctx, query, LoadLock).Scan(&locked); err != nil {
		return nil, fmt.Errorf("exclude loads: %w", err)
	}
	return func() {
		if !locked {
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		// Where it fails, the connection is lost, and the lock with it.
		if _, err := conn.Exec(ctx, "SELECT pg_advisory_unlock_shared($1)", LoadLock); err != nil {
			_ = conn.Conn().Close(ctx)
		}
	}, nil
}
