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

// asked is how many requests a round puts to each peer: few, since what else the
// machine does is to be the same for all of them.
const asked = 5_000

// BenchmarkAPI looks summaries up over HTTP on 32 connections, in the ways that there
// are and beside the least that there can be, in turns. An operation is a round.
func BenchmarkAPI(b *testing.B) {
	pool, runID := database(b)
	loadFile(b, pool, runID, dirtyFile(b, 10_000, 1, 1_000))
	store := summaries.NewStore(pool)
	answers := summaryAnswers(b, store, someUsers(b, pool))
	b.Run("cached", func(b *testing.B) {
		body, kept := answers[0].body, listener(b, pool, asked/2)
		inTurns(b, []peer{
			{"constant", listen(b, &http.Server{Handler: constant(body)}, bare, []answer{get("/", body)})},
			{"tally", listen(b, tally(b, kept, slog.LevelInfo), api.Listener, answers)},
			{"quiet", listen(b, tally(b, kept, slog.LevelWarn), api.Listener, answers)}, // without the access log
		})
	})
	b.Run("uncached", func(b *testing.B) {
		inTurns(b, []peer{
			{"minimal", listen(b, &http.Server{Handler: minimal(pool)}, bare, answers)},
			{"tally", listen(b, tally(b, store, slog.LevelInfo), api.Listener, answers)},
			{"bun", listen(b, tally(b, throughBun{store, postgres.Bun(pool)}, slog.LevelInfo), api.Listener, answers)},
		})
	})
}

// peer is one of those that are measured against one another; the first is the one
// that the others are measured by.
type peer struct {
	name string
	*listening
}

// inTurns reports requests a second of each peer, and their share of the first one's,
// as the medians of the rounds.
func inTurns(b *testing.B, peers []peer) {
	b.Helper()
	for _, p := range peers {
		p.serve(b, asked/5) // connections to the database, statements, summaries in memory
	}
	rates, shares := make([][]float64, len(peers)), make([][]float64, len(peers))
	b.ResetTimer()
	for range b.N {
		for i, p := range peers {
			rate := asked / p.serve(b, asked).Seconds()
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

// summaryAnswers are what the contract says about these users.
func summaryAnswers(b *testing.B, store *summaries.Store, users []int32) []answer {
	b.Helper()
	var all []answer
	for _, user := range users {
		s, err := store.Get(b.Context(), user)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, get(fmt.Sprintf("/transactions/%d/summary", user), written(user, s.Transactions, s.Total)))
	}
	return all
}

// written is the body as the least code writes it, right for amounts of at most two
// decimals, as generated ones are.
func written(user int32, n int64, total money.Sum) []byte {
	return fmt.Appendf(nil, "{\"user_id\":%d,\"total_transactions\":%d,\"total_amount\":%s,\"average_transaction_amount\":%s}\n",
		user, n, total.AppendJSON(nil), total.Average(n).AppendJSON(nil))
}

// tally is the server as `tally serve` runs it, with its access log from level info down.
func tally(b *testing.B, s api.Summaries, level slog.Level) *http.Server {
	b.Helper()
	log, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = log.Close() })
	lines := logbuffer.New(log)
	handler, err := api.New(api.Config{Summaries: s, Runs: noRuns{}, Request: noRequests, AccessLog: slog.New(slog.NewTextHandler(lines, &slog.HandlerOptions{Level: level}))})
	if err != nil {
		b.Fatal(err)
	}
	return api.NewServer("", handler)
}

type noRuns struct{ api.RunReader }

func noRequests(context.Context, *civil.Date, string, string) (ledger.Run, error) {
	return ledger.Run{}, nil
}

// remembered is a store with a cache in front.
type remembered struct {
	*summaries.Store
	cache *summaries.Cache
}

func (r remembered) Get(ctx context.Context, user int32) (summaries.Summary, error) {
	return r.cache.Get(ctx, user)
}

// listener insists on so many answers from memory.
func listener(b *testing.B, pool *pgxpool.Pool, least int64) remembered {
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
		if hits := cache.Stats().Hits; hits < least {
			b.Errorf("only %d answers came from memory", hits)
		}
	})
	for began := time.Now(); !cache.Stats().Listening; time.Sleep(time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			b.Fatal("the cache does not listen")
		}
	}
	return remembered{store, cache}
}

// throughBun looks up through bun, on the same pool in exec mode.
type throughBun struct {
	*summaries.Store
	db *bun.DB
}

func (t throughBun) Get(ctx context.Context, user int32) (s summaries.Summary, err error) {
	s.UserID = user
	err = t.db.NewSelect().TableExpr("user_summary AS s").
		ColumnExpr("s.total_transactions, s.total_amount, s.version, s.file_id, s.updated_at").
		Where("s.user_id = ?", user).Scan(ctx, &s.Transactions, &s.Total, &s.Version, &s.FileID, &s.UpdatedAt)
	return s, err
}

func bare(l net.Listener) net.Listener { return l }

// constant is the least that a handler can do.
func constant(body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})
}

// minimal is the least that a handler with one prepared look-up can do.
func minimal(pool *pgxpool.Pool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/transactions/"), "/summary")
		user, err := strconv.ParseInt(id, 10, 32)
		if err != nil {
			http.Error(w, "no id", http.StatusUnprocessableEntity)
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
		_, _ = w.Write(written(int32(user), n, total))
	})
}
