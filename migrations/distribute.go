package migrations

import (
	"context"
	_ "embed" // for distribute.sql
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed cluster/distribute.sql
var distributeSQL string

// clusterQuery counts the nodes that can have rows, and those that cannot prepare a transaction,
// which a commit on several nodes needs.
const clusterQuery = `
SELECT count(*), count(*) FILTER (WHERE NOT success OR result = '0')
FROM pg_dist_node n
JOIN run_command_on_all_nodes('SHOW max_prepared_transactions') r USING (nodeid)
WHERE n.isactive AND n.shouldhaveshards AND n.noderole = 'primary'`

// Distribute distributes the migrated database of a Citus cluster's coordinator over its nodes,
// and reports whether it has done so now. While it copies rows, their tables are locked.
func Distribute(ctx context.Context, pool *pgxpool.Pool) (done bool, err error) {
	unlock, err := lock(ctx, pool)
	if err != nil {
		return false, fmt.Errorf("distribute: %w", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		done, err = distribute(ctx, tx)
		return err
	}); err != nil {
		return false, fmt.Errorf("distribute: %w", err)
	}
	return done, nil
}

func distribute(ctx context.Context, tx pgx.Tx) (done bool, err error) {
	var extension, distributed bool
	const query = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus'), tally_distributed()"
	if err := tx.QueryRow(ctx, query).Scan(&extension, &distributed); err != nil || distributed {
		return false, err
	}
	if !extension {
		return false, errors.New("the database has no extension citus: CREATE EXTENSION citus in it on every node, and name the nodes on the coordinator (citus_add_node)")
	}
	var nodes, unprepared int
	if err := tx.QueryRow(ctx, clusterQuery).Scan(&nodes, &unprepared); err != nil {
		return false, fmt.Errorf("look up the nodes: %w", err)
	}
	switch {
	case nodes == 0:
		return false, errors.New("the cluster has no node for rows: connect to the coordinator, and add workers with citus_add_node")
	case unprepared > 0:
		return false, fmt.Errorf("%d of %d nodes cannot be reached or have max_prepared_transactions = 0, which a commit on several nodes needs", unprepared, nodes)
	}
	_, err = tx.Exec(ctx, distributeSQL, pgx.QueryExecModeSimpleProtocol)
	return err == nil, err
}

// Distribute distributes the schema of a test's database over its cluster.
func (Schema) Distribute(ctx context.Context, pool *pgxpool.Pool) error {
	_, err := Distribute(ctx, pool)
	return err
}
