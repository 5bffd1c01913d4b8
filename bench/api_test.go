package bench

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/uptrace/bun"

	"github.com/opentax/tally/api"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/logbuffer"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/summaries"
)

// roundRequests is the number of requests to each peer in a round. It is small, so that
// other load on the machine affects all peers alike.
const roundRequests = 5_000

// BenchmarkAPI compares look-ups of summaries over HTTP on 32 connections with minimal
// handlers. The peers alternate. An operation is a round.
func BenchmarkAPI(b *testing.B) {
	pool, runID := database(b)
	loadFile(b, pool, runID, dirtyFile(b, 10_000, 1, 1_000))
	store := summaries.NewStore(pool)
	answers := summaryAnswers(b, store, someUsers(b, pool))
	b.Run("cached", func(b *testing.B) {
		body, cached := answers[0].body, newCachedStore(b, pool, roundRequests/2)
		alternate(b, []peer{
			{"constant", listen(b, &http.Server{Handler: constant(body)}, plainListener, []answer{get("/", body)})},
			{"tally", listen(b, tally(b, cached, slog.LevelInfo), served, answers)},
			{"quiet", listen(b, tally(b, cached, slog.LevelWarn), served, answers)}, // without the access log
		})
	})
	b.Run("uncached", func(b *testing.B) {
		alternate(b, []peer{
			{"minimal", listen(b, &http.Server{Handler: minimal(pool)}, plainListener, answers)},
			{"tally", listen(b, tally(b, store, slog.LevelInfo), served, answers)},
			{"bun", listen(b, tally(b, bunStore{store, postgres.Bun(pool)}, slog.LevelInfo), served, answers)},
		})
	})
}

// peer is a server to compare. The first peer is the reference.
type peer struct {
	name string
	*listening
}

// alternate runs the peers alternately. It reports each peer's requests per second and
// their ratio to the reference, as medians of the rounds.
func alternate(b *testing.B, peers []peer) {
	b.Helper()
	for _, p := range peers {
		p.serve(b, roundRequests/5) // opens database connections, prepares statements, fills the cache
	}
	rates, shares := make([][]float64, len(peers)), make([][]float64, len(peers))
	b.ResetTimer()
	for range b.N {
		for i, p := range peers {
			rate := roundRequests / p.serve(b, roundRequests).Seconds()
			rates[i] = append(rates[i], rate)
			shares[i] = append(shares[i], rate/rates[0][len(rates[0])-1])
		}
	}
	for i, p := range peers {
		b.ReportMetric(median(rates[i]), p.name+"/s")
		if i > 0 {
			b.ReportMetric(median(shares[i]), p.name+"-of-"+peers[0].name)
		}
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// summaryAnswers returns the expected answers for these users.
func summaryAnswers(b *testing.B, store *summaries.Store, users []int32) []answer {
	b.Helper()
	var all []answer
	for _, user := range users {
		s, err := store.Get(b.Context(), user)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, get(fmt.Sprintf("/transactions/%d/summary", user), summaryJSON(user, s.Transactions, s.Total)))
	}
	return all
}

// summaryJSON formats a response body with minimal code. It is correct for amounts with
// at most two decimals, which generated files have.
func summaryJSON(user int32, n int64, total money.Sum) []byte {
	return fmt.Appendf(nil, "{\"user_id\":%d,\"total_transactions\":%d,\"total_amount\":%s,\"average_transaction_amount\":%s}\n",
		user, n, total.AppendJSON(nil), total.Average(n).AppendJSON(nil))
}

// tally returns the server that `tally serve` runs, with an access log at this level.
func tally(b *testing.B, s api.Summaries, level slog.Level) *http.Server {
	b.Helper()
	log, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = log.Close() })
	lines := logbuffer.New(log)
	handler, err := api.New(api.Config{Summaries: s, Runs: noRuns{}, Request: noRequests, Changes: noChanges{}, Proofs: noProofs{}, AccessLog: slog.New(slog.NewTextHandler(lines, &slog.HandlerOptions{Level: level}))})
	if err != nil {
		b.Fatal(err)
	}
	return api.NewServer("", handler)
}

type noProofs struct{ api.Proofs }

type noRuns struct{ api.RunReader }

type noChanges struct{ api.Changes }

func noRequests(context.Context, *civil.Date, string, string) (ledger.Run, error) {
	return ledger.Run{}, nil
}

// cachedStore is a store behind a cache.
type cachedStore struct {
	*summaries.Store
	cache *summaries.Cache
}

func (r cachedStore) Top(ctx context.Context, by summaries.Order, limit int) ([]summaries.Summary, error) {
	return r.cache.Top(ctx, by, limit)
}

func (r cachedStore) Get(ctx context.Context, user int32) (summaries.Summary, error) {
	return r.cache.Get(ctx, user)
}

// newCachedStore returns a store behind an active cache. The benchmark fails if the
// cache has fewer than minHits hits.
func newCachedStore(b *testing.B, pool *pgxpool.Pool, minHits int64) cachedStore {
	b.Helper()
	store := summaries.NewStore(pool)
	cache, err := summaries.NewCache(summaries.CacheConfig{Store: store, Connect: func(ctx context.Context) (*pgx.Conn, error) {
		return pgx.ConnectConfig(ctx, pool.Config().ConnConfig)
	}})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		cache.Listen(ctx)
	}()
	b.Cleanup(func() {
		cancel()
		<-done
		if hits := cache.Stats().Hits; hits < minHits {
			b.Errorf("only %d cache hits", hits)
		}
	})
	for began := time.Now(); !cache.Stats().Listening; time.Sleep(time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			b.Fatal("the cache is not active")
		}
	}
	return cachedStore{store, cache}
}

// bunStore looks up summaries through bun, on the same pool in exec mode.
type bunStore struct {
	*summaries.Store
	db *bun.DB
}

func (t bunStore) Get(ctx context.Context, user int32) (s summaries.Summary, err error) {
	s.UserID = user
	err = t.db.NewSelect().TableExpr("user_summary AS s").
		ColumnExpr("s.total_transactions, s.total_amount, s.version, s.file_id, s.updated_at").
		Where("s.user_id = ?", user).Scan(ctx, &s.Transactions, &s.Total, &s.Version, &s.FileID, &s.UpdatedAt)
	return s, err
}

func plainListener(l net.Listener) net.Listener { return l }

// constant is a handler that only writes a constant body.
func constant(body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})
}

// minimal is a handler that only runs one prepared look-up.
func minimal(pool *pgxpool.Pool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/transactions/"), "/summary")
		user, err := strconv.ParseInt(id, 10, 32)
		if err != nil {
			http.Error(w, "invalid id", http.StatusUnprocessableEntity)
			return
		}
		var n int64
		var total money.Sum
		err = pool.QueryRow(r.Context(), "SELECT total_transactions, total_amount FROM user_summary WHERE user_id = $1",
			pgx.QueryExecModeCacheStatement, int32(user)).Scan(&n, &total)
		if err != nil {
			http.Error(w, "no summary", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(summaryJSON(int32(user), n, total))
	})
}
