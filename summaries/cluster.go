package summaries

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Exclusion keeps loads from writing. The zero value keeps none.
type Exclusion struct{ tx pgx.Tx }

// ExcludeLoads waits for the load that writes and excludes others until the end, if the rows are
// distributed over a cluster: its nodes commit one after the other, and a statement that reads from
// several has no snapshot in common. It must come before the transaction that reads. It holds a
// connection of its own, in a transaction, which a pooler keeps together. On a single server it does
// nothing.
func ExcludeLoads(ctx context.Context, pool *pgxpool.Pool) (e Exclusion, err error) {
	const query = "SELECT CASE WHEN tally_distributed() THEN pg_advisory_xact_lock_shared($1) IS NOT NULL ELSE false END"
	tx, err := pool.Begin(ctx)
	if err != nil {
		return e, err
	}
	var excluded bool
	if _, err = tx.Exec(ctx, "SET LOCAL idle_in_transaction_session_timeout = 0"); err == nil {
		err = tx.QueryRow(ctx, query, LoadLock).Scan(&excluded)
	}
	if err != nil || !excluded {
		Exclusion{tx}.End(ctx)
		return e, err
	}
	return Exclusion{tx}, nil
}

// Check returns an error if a load may have written since.
func (e Exclusion) Check(ctx context.Context) error {
	if e.tx == nil {
		return nil
	}
	if _, err := e.tx.Exec(ctx, "SELECT 1"); err != nil {
		return fmt.Errorf("the exclusion of loads is lost: %w", err)
	}
	return nil
}

// End lets loads write.
func (e Exclusion) End(ctx context.Context) {
	if e.tx == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_ = e.tx.Rollback(ctx) // nothing was written; the pool drops a broken connection
}
