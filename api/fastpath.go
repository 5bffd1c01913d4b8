package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// fastPath puts the look-up of a summary in front of huma's, which costs more than
// all the rest of a look-up in memory; see docs/performance.md. Only a request whose
// meaning is plain goes that way, and gets the answer that huma would have given.
type fastPath struct {
	*http.ServeMux
	service *service
}

// HandleFunc is how huma adds its handlers.
func (m fastPath) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	if pattern == http.MethodGet+" "+summaryPath {
		handler = m.service.fastSummary(handler)
	}
	m.ServeMux.HandleFunc(pattern, handler)
}

func (s *service) fastSummary(slow http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, ok := parseUserID(r.PathValue("user_id"))
		conditions := conditionsOf(r.Header)
		if !ok || r.URL.RawQuery != "" || !conditions.bounded() || !acceptsJSON(first(r.Header["Accept"])) {
			slow(w, r)
			return
		}
		ctx := &deadlineContext{Context: r.Context(), at: time.Now().Add(s.timeout)}
		defer ctx.end()
		answer, err := summaryAnswerOf(ctx, s.summaries.Get, user, conditions)
		if err != nil {
			s.problemOf(ctx, err).withRequestID(requestID(ctx)).write(w)
			return
		}
		answer.write(w)
	}
}

// parseUserID reads a user's id that is beyond doubt.
func parseUserID(text string) (int32, bool) {
	if text == "" || text[0] < '1' || text[0] > '9' { // ParseInt takes signs and zeros
		return 0, false
	}
	id, err := strconv.ParseInt(text, 10, 32)
	return int32(id), err == nil
}

func first(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return lines[0]
}

// conditionsOf reads the headers as huma and Resolve do.
func conditionsOf(header http.Header) Conditions {
	c := Conditions{
		IfMatch: first(header["If-Match"]), IfNoneMatch: first(header["If-None-Match"]),
		IfModifiedSince: first(header["If-Modified-Since"]), IfUnmodifiedSince: first(header["If-Unmodified-Since"]),
	}
	if c.IfMatch != "" || c.IfNoneMatch != "" {
		c.IfMatch, c.IfNoneMatch = strings.Join(header["If-Match"], ","), strings.Join(header["If-None-Match"], ",")
	}
	return c
}

// deadlineContext is a context with a deadline whose timer starts when somebody waits
// for it: an answer from memory does not.
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

// Value finds the context with the timer as well, once there is one: without that, each
// query costs a goroutine that waits for Done.
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

// end cancels the context.
func (c *deadlineContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.cancel != nil {
		c.cancel()
	}
}
