package jobs

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/jobs/notify"
	"github.com/opentax/tally/pipeline"
)

const hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// receiver answers with the test's statuses, the last one for ever, and keeps what it got.
type receiver struct {
	mu       sync.Mutex
	statuses []int
	ids      []string
	bodies   []string
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, _ := io.ReadAll(request.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids, r.bodies = append(r.ids, request.Header.Get("webhook-id")), append(r.bodies, string(body))
	status := r.statuses[0]
	r.statuses = r.statuses[min(1, len(r.statuses)-1):]
	w.WriteHeader(status)
}

func (r *receiver) got() (ids, bodies []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ids, r.bodies
}

// hooked is a service that tells handler of alerts.
func hooked(t *testing.T, pool *pgxpool.Pool, handler http.Handler, c Config) *Service {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c.Notify = notify.Config{Webhook: notify.Webhook{URL: notify.Secret(server.URL), Secret: hookSecret}}
	s := newService(t, pool, c)
	s.alertQuiet = 0
	return s
}

// late makes the schedule late, or not.
func late(t *testing.T, pool *pgxpool.Pool, is bool) {
	t.Helper()
	execute(t, pool, "INSERT INTO etl_schedule (last_date, time_zone) VALUES ('2024-05-10', 'UTC') ON CONFLICT DO NOTHING")
	execute(t, pool, "UPDATE etl_schedule SET last_date = CASE WHEN $1 THEN date '2024-05-09' ELSE '2024-05-10' END", is)
}

// deliver works on a message as River's worker does.
func deliver(s *Service, id string) error {
	return (&notifyWorker{service: s}).Work(context.Background(), &river.Job[notifyArgs]{JobRow: &rivertype.JobRow{}, Args: notifyArgs{id}})
}

const messageOf = "SELECT id FROM alert_messages WHERE state = $1"

func TestMessageIsRetriedUnderOneID(t *testing.T) {
	t.Parallel()
	pool, r := newPool(t), &receiver{statuses: []int{500, 500, 204}}
	s := hooked(t, pool, r, Config{})
	late(t, pool, true)
	ticks(t, s)
	open := text(t, pool, messageOf, stateOpen)
	require.Error(t, deliver(s, open))
	late(t, pool, false)
	ticks(t, s)
	over := text(t, pool, messageOf, stateOver)
	require.ErrorAs(t, deliver(s, over), new(*rivertype.JobSnoozeError), "the message that it is over waits")
	require.Error(t, deliver(s, open))
	require.NoError(t, deliver(s, open))
	require.NoError(t, deliver(s, open), "delivered already")
	require.NoError(t, deliver(s, over))
	ids, bodies := r.got()
	assert.Equal(t, []string{open, open, open, over}, ids)
	assert.Equal(t, bodies[0], bodies[2], "also after the alert has closed")
	var body struct {
		Type string
		Data struct {
			State string
			ledger.Alert
		}
	}
	require.NoError(t, json.Unmarshal([]byte(bodies[3]), &body))
	assert.Equal(t, []any{"schedule.late", "over", "schedule", "2024-05-10"},
		[]any{body.Type, body.Data.State, body.Data.Subject, body.Data.LogicalDate.String()})
	assert.False(t, body.Data.ClosedAt.IsZero())
}

// A receiver that wants no more, or that fails for a day, gets no more of the message.
func TestMessageFails(t *testing.T) {
	t.Parallel()
	for status, age := range map[int]string{410: "0", 500: "25 hours"} {
		pool := newPool(t)
		s := hooked(t, pool, &receiver{statuses: []int{status}}, Config{})
		late(t, pool, true)
		ticks(t, s)
		execute(t, pool, "UPDATE alert_messages SET created_at = now() - $1::interval", age)
		require.ErrorAs(t, deliver(s, text(t, pool, messageOf, stateOpen)), new(*river.JobCancelError))
		stats, err := s.Ledger().Stats(t.Context())
		require.NoError(t, err)
		assert.Equal(t, int64(1), stats.Undelivered)
		assert.Equal(t, []ledger.AlertCount{{Cause: "schedule.late", Alerts: 1}}, stats.Alerts)
		ticks(t, s)
		assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM river_job"), "it is not queued again")
	}
}

// A channel that no process has any more is like a receiver that fails.
func TestMessageToARemovedChannelFails(t *testing.T) {
	t.Parallel()
	pool := newPool(t)
	late(t, pool, true)
	ticks(t, hooked(t, pool, &receiver{statuses: []int{204}}, Config{}))
	without, id := newService(t, pool, Config{}), text(t, pool, messageOf, stateOpen)
	err := deliver(without, id)
	require.EqualError(t, err, "channel webhook is not configured", "another process may have it")
	execute(t, pool, "UPDATE alert_messages SET created_at = now() - interval '25 hours'")
	require.ErrorAs(t, deliver(without, id), new(*river.JobCancelError))
	assert.Equal(t, "channel webhook is not configured", text(t, pool, "SELECT error FROM alert_messages WHERE failed_at IS NOT NULL"))
}

// The job of a killed worker stays running; the next tick after two minutes queues the
// message again, under its id.
func TestMessageOfKilledWorker(t *testing.T) {
	t.Parallel()
	pool, r := newPool(t), &receiver{statuses: []int{204}}
	s := hooked(t, pool, r, Config{})
	late(t, pool, true)
	ticks(t, s)
	killed := func(since string) {
		execute(t, pool, "UPDATE river_job SET state = 'running', attempt = 1, attempted_by = '{w}', attempted_at = now() - $1::interval", since)
		ticks(t, s)
	}
	killed("1 minute")
	assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM river_job"))
	killed("3 minutes")
	assert.Equal(t, 2, count(t, pool, "SELECT count(*) FROM river_job"))
	assert.Equal(t, 1, count(t, pool, "SELECT count(DISTINCT args) FROM river_job"))
	execute(t, pool, "DELETE FROM river_job")
	ticks(t, s)
	assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM river_job"), "nor is a deleted job the end")
}

// River delivers; the receiver's 500 is retried.
func TestMessageIsDelivered(t *testing.T) {
	t.Parallel()
	pool, r := newPool(t), &receiver{statuses: []int{500, 204}}
	s := hooked(t, pool, r, Config{Sources: []pipeline.Source{newSource(t, "no header")}})
	run := dueRun(t, s, "2024-05-10")
	require.NoError(t, s.Start(context.Background()))
	awaitStatus(t, s, run.ID, ledger.StatusFailed)
	awaitAlert(t, s)
	require.Eventually(t, func() bool {
		return count(t, pool, "SELECT count(*) FROM alert_messages WHERE delivered_at IS NOT NULL") == 1
	}, 2*testdb.Patience, 50*time.Millisecond)
	ids, bodies := r.got()
	require.Len(t, ids, 2)
	assert.Equal(t, ids[0], ids[1])
	assert.Contains(t, bodies[1], `"type":"file.failed"`)
}

// awaitAlert updates the alerts until there is one: a tick may be at it.
func awaitAlert(t *testing.T, s *Service) {
	t.Helper()
	require.Eventually(t, func() bool {
		require.NoError(t, s.UpdateAlerts(context.Background(), time.Now()))
		return count(t, s.pool, "SELECT count(*) FROM alerts") > 0
	}, testdb.Patience, 10*time.Millisecond)
}

// A receiver that does not answer holds up neither a tick nor a load.
func TestHangingReceiver(t *testing.T) {
	t.Parallel()
	pool, called, release := newPool(t), make(chan struct{}), make(chan struct{})
	var once sync.Once
	var timedOut atomic.Bool
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		once.Do(func() { close(called) })
		select {
		case <-release:
		case <-r.Context().Done():
			timedOut.Store(true)
		}
	})
	defer close(release)
	s := hooked(t, pool, handler, Config{Sources: []pipeline.Source{newSource(t, rows(3), "no header")}})
	first := dueRun(t, s, "2024-05-10")
	require.NoError(t, s.Start(context.Background()))
	awaitStatus(t, s, first.ID, ledger.StatusFailed)
	awaitAlert(t, s)
	await(t, called)
	second := dueRun(t, s, "2024-05-11")
	_, err := s.tick(context.Background(), time.Now())
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		got := status(t, s, second.ID)
		return got == ledger.StatusFailed || got == ledger.StatusSucceeded
	}, testdb.Patience, 20*time.Millisecond)
	assert.False(t, timedOut.Load(), "nothing waited for the receiver's timeout")
}
