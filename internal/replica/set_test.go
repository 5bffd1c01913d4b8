package replica

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fixed is a set whose servers are never looked at.
func fixed(bound time.Duration, servers map[string]status) *Set {
	s := &Set{Config: Config{Bound: bound, Primary: &Server{Name: "database"}, Logger: slog.New(slog.DiscardHandler)}}
	for name, known := range servers {
		server := &Server{Name: name, wake: make(chan struct{}, 1)}
		server.status.Store(&known)
		s.servers = append(s.servers, server)
	}
	return s
}

func names(servers []*Server) (list []string) {
	for _, s := range servers {
		list = append(list, s.Name)
	}
	return list
}

func TestCandidates(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := fixed(10*time.Second, map[string]status{
		"fresh":    {epoch: 7, replica: true, asOf: now},
		"lagging":  {epoch: 6, replica: true, asOf: now},
		"old":      {epoch: 7, replica: true, asOf: now.Add(-11 * time.Second)},
		"unknown":  {epoch: 7, replica: true},
		"lost":     {err: io.EOF, epoch: 7, asOf: now},
		"primary":  {epoch: 7, asOf: now},
		"a former": {epoch: 6, asOf: now},
	})
	assert.Equal(t, []string{"fresh", "primary"}, names(s.candidates(ReplicasFirst, 7)))
	assert.Equal(t, []string{"primary", "fresh"}, names(s.candidates(PrimaryFirst, 7)))
	assert.ElementsMatch(t, []string{"fresh", "lagging", "primary"}, names(s.candidates(ReplicasFirst, 6)))
}

// A former primary that was not demoted does not answer while the primary fails; a server that was
// promoted does, and one on which the database was restored does after the bound.
func TestFormerPrimary(t *testing.T) {
	t.Parallel()
	lost := status{err: io.EOF, began: time.Now(), timeline: 2, epoch: 7}
	gone := lost
	gone.began = gone.began.Add(-11 * time.Second)
	for name, c := range map[string]struct {
		primary, other status
		answers        bool
	}{
		"fewer commits":             {lost, status{timeline: 2, epoch: 6}, false},
		"an earlier timeline":       {lost, status{timeline: 1, epoch: 8}, false},
		"promoted":                  {lost, status{timeline: 3, epoch: 7}, true},
		"promoted, lacks commits":   {lost, status{timeline: 3, epoch: 6}, true},
		"all commits":               {lost, status{timeline: 2, epoch: 7}, true},
		"restored, after the bound": {gone, status{timeline: 1, epoch: 6}, true},
		"the primary does not fail": {status{timeline: 2, epoch: 7}, status{timeline: 2, epoch: 6}, false},
	} {
		s := fixed(10*time.Second, map[string]status{"primary": c.primary, "other": c.other})
		assert.Equal(t, c.answers, slices.Contains(names(s.candidates(PrimaryFirst, 0)), "other"), name)
	}
}

// A replica that refuses the connections of requests, and not that of the looks, is logged once with
// its error, and once when it has refused none for a while.
func TestRefusalsAreLoggedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := fixed(time.Minute, map[string]status{"replica": {replica: true, asOf: time.Now()}, "primary": {}})
		var log bytes.Buffer
		s.Logger = slog.New(slog.NewTextHandler(&log, nil))
		refuses := true
		for range 100 {
			require.NoError(t, s.Answer(t.Context(), ReplicasFirst, func(_ context.Context, server *Server) (int64, error) {
				if refuses && server.Name == "replica" {
					return 0, &pgconn.PgError{Code: pgerrcode.TooManyConnections}
				}
				return 1, nil
			}))
			time.Sleep(lookEvery)
			for _, server := range s.servers {
				last, now := server.status.Load(), *server.status.Load()
				now.err = nil
				server.status.Store(&now)
				s.report(t.Context(), server, last, now)
			}
			refuses = refuses && s.Counts().PassedReplica < 50
		}
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		require.Len(t, lines, 2)
		assert.Contains(t, lines[0], "unavailable for reads")
		assert.Contains(t, lines[0], pgerrcode.TooManyConnections)
		assert.Contains(t, lines[1], "is available for reads")
	})
}

// A failing look keeps what was known.
func TestFailingLook(t *testing.T) {
	t.Parallel()
	s := fixed(time.Minute, map[string]status{"primary": {epoch: 7, timeline: 2, began: time.Now()}})
	pool, err := pgxpool.New(t.Context(), "host=127.0.0.1 port=1")
	require.NoError(t, err)
	defer pool.Close()
	server := s.servers[0]
	server.Pool = pool
	before := *server.status.Load()
	s.observe(t.Context(), server)
	after := *server.status.Load()
	require.Error(t, after.err)
	after.err = nil
	assert.Equal(t, before, after)
}

// A replica is as fresh as the last look at the primary whose position it has replayed.
func TestAsOf(t *testing.T) {
	t.Parallel()
	s := fixed(time.Minute, nil)
	began := time.Now()
	at := func(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }
	for i, position := range []int64{100, 200, 200, 300} {
		s.raise(t.Context(), status{began: at(i), position: position}, 0)
	}
	for position, want := range map[int64]time.Time{99: {}, 100: at(0), 199: at(0), 200: at(2), 299: at(2), 300: at(3), 301: at(3)} {
		assert.Equal(t, want, s.asOf(status{replica: true, position: position}), position)
	}
	s.raise(t.Context(), status{began: at(4), position: 250}, 0) // of a new timeline
	assert.Equal(t, time.Time{}, s.asOf(status{replica: true, position: 249}))
	assert.Equal(t, at(4), s.asOf(status{replica: true, position: 300}))
	s.raise(t.Context(), status{began: at(1000), position: 900}, 0)
	s.raise(t.Context(), status{began: at(2000), position: 901}, 0)
	assert.Equal(t, time.Time{}, s.asOf(status{replica: true, position: 300}), "longer ago than is kept")
}

// What was announced is the minimum that an answer has, until a new primary shows that it lacks it.
func TestFloor(t *testing.T) {
	t.Parallel()
	s := fixed(time.Minute, nil)
	s.raise(t.Context(), status{epoch: 5}, 0)
	s.Announced(8)
	s.raise(t.Context(), status{epoch: 7}, 5) // a look that began before
	assert.EqualValues(t, 8, s.minimum())
	s.raise(t.Context(), status{epoch: 7}, 8)
	assert.EqualValues(t, 7, s.minimum())
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	now := time.Now()
	servers := map[string]status{"replica": {epoch: 7, replica: true, asOf: now}, "primary": {epoch: 7, asOf: now}}
	none := errors.New("there is none")
	for name, c := range map[string]struct {
		replica, primary error
		epoch            int64 // of the replica's answer
		want             Source
		err              error
	}{
		"by the replica":             {epoch: 7, want: Source{7, true}},
		"newer than the last look":   {epoch: 9, want: Source{9, true}},
		"too old":                    {epoch: 6, want: Source{7, false}},
		"a replica that was lost":    {replica: io.ErrUnexpectedEOF, epoch: 7, want: Source{7, false}},
		"there is nothing":           {replica: none, epoch: 7, want: Source{7, true}, err: none},
		"there was nothing, too old": {replica: none, epoch: 6, want: Source{7, false}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := fixed(time.Minute, servers)
			s.Announced(7)
			r := &Request{MinEpoch: 7}
			err := s.Answer(With(t.Context(), r), ReplicasFirst, func(_ context.Context, server *Server) (int64, error) {
				if server.Name == "replica" {
					return c.epoch, c.replica
				}
				return 7, c.primary
			})
			require.ErrorIs(t, err, c.err)
			got, ok := r.Source()
			assert.True(t, ok)
			assert.Equal(t, c.want, got)
		})
	}
}

// A server that does not answer leaves time for another one.
func TestSlowServer(t *testing.T) {
	t.Parallel()
	s := fixed(time.Minute, map[string]status{"replica": {replica: true, asOf: time.Now()}, "primary": {}})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.NoError(t, s.Answer(ctx, ReplicasFirst, func(ctx context.Context, server *Server) (int64, error) {
		if server.Name == "replica" {
			<-ctx.Done()
			return 0, ctx.Err()
		}
		return 1, nil
	}))
}

// The primary is lost, and the bound has passed since the last look at it.
func TestStale(t *testing.T) {
	t.Parallel()
	s := fixed(time.Second, map[string]status{"replica": {epoch: 7, replica: true, asOf: time.Now().Add(-2 * time.Second)}, "primary": {err: io.EOF}})
	r := &Request{}
	err := s.Answer(With(t.Context(), r), ReplicasFirst, func(context.Context, *Server) (int64, error) { return 7, nil })
	var stale *StaleError
	require.ErrorAs(t, err, &stale)
	_, ok := r.Source()
	assert.False(t, ok)
	assert.EqualValues(t, 1, s.Counts().Refused)
}
