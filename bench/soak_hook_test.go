//go:build unix

package bench

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"
)

// hook receives messages about alerts.
type hook struct {
	server *httptest.Server

	mu   sync.Mutex
	got  map[string]bool // ids of messages: one that is sent again counts once
	list []message
}

type message struct {
	Type string `json:"type"`
	Data struct {
		ID       int64     `json:"id"`
		State    string    `json:"state"`
		Subject  string    `json:"subject"`
		What     string    `json:"what"`
		OpenedAt time.Time `json:"opened_at"`
	} `json:"data"`
}

func newHook(t *testing.T) *hook {
	t.Helper()
	h := &hook{got: map[string]bool{}}
	h.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m message
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Errorf("a message that cannot be read: %v", err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if id := r.Header.Get("webhook-id"); !h.got[id] {
			h.got[id] = true
			h.list = append(h.list, m)
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(h.server.Close)
	return h
}

// checkMessages demands that each file that failed was told once, and once that this is over,
// and nothing else, except while the disk was full.
func (s *soak) checkMessages() {
	s.t.Helper()
	s.hook.mu.Lock()
	defer s.hook.mu.Unlock()
	open, over := map[string]int{}, map[string]int{}
	for _, m := range s.hook.list {
		if m.Data.State == "open" {
			open[m.Data.Subject]++
		} else {
			over[m.Data.Subject]++
		}
		full := slices.ContainsFunc(s.calamity, func(at time.Time) bool {
			return m.Data.OpenedAt.After(at) && m.Data.OpenedAt.Before(at.Add(2*time.Minute))
		})
		if expected := m.Type == "file.failed" && s.troubled[m.Data.Subject]; !expected {
			s.t.Logf("%s %s: %s %s", m.Type, m.Data.State, m.Data.Subject, m.Data.What)
			if !full {
				s.t.Errorf("nothing was wrong with %s", m.Data.Subject)
			}
		}
	}
	for subject, n := range open {
		if n != 1 || over[subject] != 1 {
			s.t.Errorf("%s: told %d times that it began, and %d times that it is over", subject, n, over[subject])
		}
	}
	for path := range s.troubled {
		if open[path] == 0 {
			s.t.Errorf("not told: %s", path)
		}
	}
	s.t.Logf("%d messages about %d files that failed, and %d other subjects", len(s.hook.list), len(s.troubled), len(open)-len(s.troubled))
}
