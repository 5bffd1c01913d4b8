package api

import (
	"context"
	"net/http"
	"strconv"

	"sync"
	"time"
)

// fastPath answers the look-up of a summary before huma, which costs more than all the rest of a
// cached look-up; see docs/performance.md. It takes only simple requests, and gives the response
// that huma would give.
type fastPath struct {
	*http.ServeMux
	service *service
}

func (m fastPath) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	if pattern == http.MethodGet+" "+summaryPath {
		handler = m.service.fastSummary(handler)
	}
	m.ServeMux.HandleFunc(pattern, handler)
}

func (s *service) fastSummary(slow http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("user_id")
		user, err := strconv.ParseInt(id, 10, 32)
		conditions := conditionsOf(r.Header)
		if err != nil || user < 1 || !canonical(id) || r.URL.RawQuery != "" || !conditions.bounded() || !acceptsJSON(r.Header.Get("Accept")) {
			slow(w, r)
			return
		}
		ctx := &deadlineContext{Context: r.Context(), at: time.Now().Add(s.RequestTimeout)}
		defer ctx.end()
		sum, err := s.Summaries.Get(ctx, int32(user))
		answer, err := answerSummary(sum, err, conditions)
		if err != nil {
			s.problemOf(ctx, err).withRequestID(requestID(ctx)).write(w)
			return
		}
		answer.write(w)
	}
}

// deadlineContext is a context with a deadline whose timer starts with the first wait for it: a
// cached look-up does not wait.
type deadlineContext struct {
	context.Context
	at     time.Time
	mu     sync.Mutex
	timed  context.Context
	cancel context.CancelFunc
	ended  bool
}

func (c *deadlineContext) Deadline() (time.Time, bool) {
	if at, ok := c.Context.Deadline(); ok && at.Before(c.at) {
		return at, true
	}
	return c.at, true
}

func (c *deadlineContext) Done() <-chan struct{} { return c.start().Done() }

func (c *deadlineContext) Err() error { return c.start().Err() }

// Value also finds the context with the timer, once there is one: otherwise each query would
// cost a goroutine that waits for Done.
func (c *deadlineContext) Value(key any) any {
	c.mu.Lock()
	timed := c.timed
	c.mu.Unlock()
	if timed != nil {
		return timed.Value(key)
	}
	return c.Context.Value(key)
}

func (c *deadlineContext) start() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed == nil {
		c.timed, c.cancel = context.WithDeadline(c.Context, c.at)
		if c.ended {
			c.cancel()
		}
	}
	return c.timed
}

func (c *deadlineContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.cancel != nil {
		c.cancel()
	}
}
