package load_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/transform"
)

// Timeouts that a role, a database or the server sets for every session would end each
// long load: while the file is read, its connections are idle.
func TestTimeoutsOfTheDatabaseDoNotEndALoad(t *testing.T) {
	t.Parallel()
	testdb.SkipOnCluster(t, "the settings of the nodes are not overruled")
	f := newFixture(t)
	url := f.pool.Config().ConnString()
	for row, where := range map[string]string{"T1": "DATABASE %s", "T2": "ROLE CURRENT_USER IN DATABASE %s"} {
		for _, name := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout", "transaction_timeout"} {
			if one[bool](f, "SELECT EXISTS (SELECT FROM pg_settings WHERE name = $1)", name) { // PostgreSQL 17 has the last one
				f.exec(fmt.Sprintf("ALTER "+where+" SET %s = '700ms'", pgx.Identifier{f.pool.Config().ConnConfig.Database}.Sanitize(), name))
			}
		}
		pool, err := postgres.Open(t.Context(), postgres.Config{URL: url})
		require.NoError(t, err)
		f.loader = load.New(pool, nil)
		f.loadLogged(header+row+",7,10.00,2024-05-05\n", func(string) { time.Sleep(800 * time.Millisecond) })
		pool.Close()
	}
	f.verify()
}

// What administrators do by hand while files are loaded: no load fails or hangs.
func TestLoadsBesideMaintenance(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{
		"VACUUM ANALYZE transactions",
		"VACUUM FULL transactions_2024_01",
		"CREATE INDEX CONCURRENTLY by_hand ON transactions_2024_01 (file_id); DROP INDEX CONCURRENTLY by_hand",
		"ALTER TABLE transactions ALTER COLUMN line SET NOT NULL",
		"CREATE TABLE old PARTITION OF transactions FOR VALUES FROM ('1990-01-01') TO ('1990-02-01'); DROP TABLE old",
		"REINDEX TABLE transaction_keys",
	} {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			if strings.HasPrefix(sql, "REINDEX") {
				testdb.SkipOnCluster(t, "it has no moment between the locks of the shards")
			}
			f := newFixture(t)
			f.load("before.csv", header+"T1,7,10.00,2024-01-05\n")
			loadBeside(t, f, func(ctx context.Context) (err error) {
				for one := range strings.SplitSeq(sql, "; ") {
					if _, e := f.pool.Exec(ctx, one); e != nil {
						err = fmt.Errorf("%s: %w", one, e)
					}
				}
				return err
			})
		})
	}
	t.Run("migrate", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		loadBeside(t, f, func(ctx context.Context) error {
			_, err := migrations.Up(ctx, f.pool)
			return err
		})
	})
}

// loadBeside loads files, with new months and replaced rows, while something else is done
// again and again.
func loadBeside(t *testing.T, f *fixture, do func(context.Context) error) {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var working sync.WaitGroup
	working.Go(func() {
		for ctx.Err() == nil {
			assert.NoError(t, do(context.WithoutCancel(ctx)))
			time.Sleep(5 * time.Millisecond)
		}
	})
	defer working.Wait()
	defer stop()
	f.rules.Corrections = transform.CorrectionsReplace
	for i := range 6 {
		content := header
		for row := range 300 {
			content += fmt.Sprintf("T%d,%d,%d,2024-%02d-05\n", row*(i%3+1), row%17+1, row+i, (row+i)%(2*i+1)+1)
		}
		f.loadLogged(content, nil)
	}
	f.verify()
}
