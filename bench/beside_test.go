package bench

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opentax/tally/api"
	"github.com/opentax/tally/summaries"
)

const (
	visitors = 8                    // who ask at the same time
	pause    = 5 * time.Millisecond // of each, between an answer and the next request
	idle     = time.Second          // in which they are alone
)

// BenchmarkBesideLoad looks summaries up over HTTP while nothing else happens, and
// while a file of -rows rows is loaded onto as many by the same process, as `tally up`
// does it. Every answer has to be 200 and one of the two that a user has, from before
// and from after the commit.
func BenchmarkBesideLoad(b *testing.B) {
	n := *mostRows
	s := newServer(b)
	pool, runID := s.tally(b)
	loadFile(b, pool, runID, dirtyFile(b, n, 1, n/10))
	store, users := summaries.NewStore(pool), someUsers(b, pool)
	server := listen(b, tally(b, listener(b, pool, 1), slog.LevelInfo), api.Listener, nil)
	var alone, beside []float64
	for i := range b.N {
		dirty := dirtyFile(b, n, uint64(2+i), n/10)
		settle(b, pool)
		before := summaryAnswers(b, store, users)
		v := visit(server.address, users)
		time.Sleep(idle)
		alone = append(alone, v.leave(b, before, before)...)

		v = visit(server.address, users)
		loadFile(b, pool, runID, dirty)
		after := summaryAnswers(b, store, users)
		beside = append(beside, v.leave(b, before, after)...)
		if slices.EqualFunc(before, after, func(a, b answer) bool { return string(a.body) == string(b.body) }) {
			b.Fatal("the load changed nobody who was asked about")
		}
	}
	slices.Sort(alone)
	slices.Sort(beside)
	b.ReportMetric(quantile(alone, 50), "idle-p50-µs")
	b.ReportMetric(quantile(alone, 99), "idle-p99-µs")
	b.ReportMetric(quantile(beside, 50), "load-p50-µs")
	b.ReportMetric(quantile(beside, 99), "load-p99-µs")
	b.ReportMetric(quantile(beside, 99)/quantile(alone, 99), "p99-of-idle")
	b.ReportMetric(float64(len(beside))/float64(b.N), "answers/load")
}

func quantile(sorted []float64, percent int) float64 { return sorted[(len(sorted)-1)*percent/100] }

// visits is what came of asking about users again and again.
type visits struct {
	done   chan struct{}
	asking sync.WaitGroup

	mu     sync.Mutex
	took   []float64                   // microseconds, from the request to the whole answer
	bodies map[int]map[string]struct{} // by the user's place in the list
	failed []error
}

// visit asks until it is told to leave.
func visit(address string, users []int32) *visits {
	v := &visits{done: make(chan struct{}), bodies: map[int]map[string]struct{}{}}
	for first := range visitors {
		v.asking.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}
			defer client.CloseIdleConnections()
			for k := first; ; k += visitors {
				user := k % len(users)
				body, took, err := look(client, fmt.Sprintf("http://%s/transactions/%d/summary", address, users[user]))
				v.note(user, body, took, err)
				select {
				case <-v.done:
					return
				case <-time.After(pause):
				}
			}
		})
	}
	return v
}

func look(client *http.Client, url string) (body string, took time.Duration, err error) {
	began := time.Now()
	answer, err := client.Get(url)
	if err != nil {
		return "", 0, err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	took = time.Since(began)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered with %s: %s", url, answer.Status, content)
	}
	return string(content), took, err
}

func (v *visits) note(user int, body string, took time.Duration, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil {
		v.failed = append(v.failed, err)
		return
	}
	v.took = append(v.took, float64(took.Nanoseconds())/1000)
	if v.bodies[user] == nil {
		v.bodies[user] = map[string]struct{}{}
	}
	v.bodies[user][body] = struct{}{}
}

// leave ends the visits, and insists that each answer was one of those that the user
// has had.
func (v *visits) leave(b *testing.B, before, after []answer) (took []float64) {
	b.Helper()
	close(v.done)
	v.asking.Wait()
	for _, err := range v.failed {
		b.Error(err)
	}
	if len(v.took) == 0 {
		b.Fatal("nobody was answered")
	}
	for user, bodies := range v.bodies {
		for body := range bodies {
			if body != string(before[user].body) && body != string(after[user].body) {
				b.Errorf("torn: %s is neither %s nor %s", body, before[user].body, after[user].body)
			}
		}
	}
	return v.took
}
