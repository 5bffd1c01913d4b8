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

	"github.com/opentax/tally/summaries"
)

const (
	httpClients = 8                    // concurrent clients
	pause       = 5 * time.Millisecond // of each client, between an answer and the next request
	idle        = time.Second          // duration of the measurement without a load
)

// BenchmarkBesideLoad measures look-ups over HTTP without other work, and while the same
// process, like `tally up`, appends a file of -rows rows to as many stored rows. Every
// answer must be 200 with one of the user's two summaries, before or after the commit.
func BenchmarkBesideLoad(b *testing.B) {
	n := *maxRows
	s := newServer(b)
	pool, runID := s.tally(b)
	loadFile(b, pool, runID, dirtyFile(b, n, 1, n/10))
	store, users := summaries.NewStore(pool), someUsers(b, pool)
	server := listen(b, tally(b, newCachedStore(b, pool, 1), slog.LevelInfo), served, nil)
	var idleTimes, loadTimes []float64
	for i := range b.N {
		dirty := dirtyFile(b, n, uint64(2+i), n/10)
		settle(b, pool)
		before := summaryAnswers(b, store, users)
		l := startHTTPLookups(server.address, users)
		time.Sleep(idle)
		idleTimes = append(idleTimes, l.stop(b, before, before)...)

		l = startHTTPLookups(server.address, users)
		loadFile(b, pool, runID, dirty)
		after := summaryAnswers(b, store, users)
		loadTimes = append(loadTimes, l.stop(b, before, after)...)
		if slices.EqualFunc(before, after, func(a, b answer) bool { return string(a.body) == string(b.body) }) {
			b.Fatal("the load changed none of the users")
		}
	}
	slices.Sort(idleTimes)
	slices.Sort(loadTimes)
	b.ReportMetric(quantile(idleTimes, 50), "idle-p50-µs")
	b.ReportMetric(quantile(idleTimes, 99), "idle-p99-µs")
	b.ReportMetric(quantile(loadTimes, 50), "load-p50-µs")
	b.ReportMetric(quantile(loadTimes, 99), "load-p99-µs")
	b.ReportMetric(quantile(loadTimes, 99)/quantile(idleTimes, 99), "p99-of-idle")
	b.ReportMetric(float64(len(loadTimes))/float64(b.N), "answers/load")
}

func quantile(sorted []float64, percent int) float64 { return sorted[(len(sorted)-1)*percent/100] }

// httpLookups are clients that look up summaries until they are stopped.
type httpLookups struct {
	done    chan struct{}
	clients sync.WaitGroup

	mu     sync.Mutex
	took   []float64                   // microseconds, from the request to the complete answer
	bodies map[int]map[string]struct{} // by index of the user
	failed []error
}

func startHTTPLookups(address string, users []int32) *httpLookups {
	l := &httpLookups{done: make(chan struct{}), bodies: map[int]map[string]struct{}{}}
	for first := range httpClients {
		l.clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}
			defer client.CloseIdleConnections()
			for k := first; ; k += httpClients {
				user := k % len(users)
				body, took, err := httpGet(client, fmt.Sprintf("http://%s/transactions/%d/summary", address, users[user]))
				l.record(user, body, took, err)
				select {
				case <-l.done:
					return
				case <-time.After(pause):
				}
			}
		})
	}
	return l
}

func httpGet(client *http.Client, url string) (body string, took time.Duration, err error) {
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

func (l *httpLookups) record(user int, body string, took time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed = append(l.failed, err)
		return
	}
	l.took = append(l.took, float64(took.Nanoseconds())/1000)
	if l.bodies[user] == nil {
		l.bodies[user] = map[string]struct{}{}
	}
	l.bodies[user][body] = struct{}{}
}

// stop stops the clients and checks that each answer is the user's summary before or
// after the load. It returns the response times in microseconds.
func (l *httpLookups) stop(b *testing.B, before, after []answer) (took []float64) {
	b.Helper()
	close(l.done)
	l.clients.Wait()
	for _, err := range l.failed {
		b.Error(err)
	}
	if len(l.took) == 0 {
		b.Fatal("no request succeeded")
	}
	for user, bodies := range l.bodies {
		for body := range bodies {
			if body != string(before[user].body) && body != string(after[user].body) {
				b.Errorf("inconsistent: %s is neither %s nor %s", body, before[user].body, after[user].body)
			}
		}
	}
	return l.took
}
