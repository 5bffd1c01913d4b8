package jobs

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/jobs/ledger"
)

const (
	logBatch        = 100                    // lines of one insert
	logDelay        = 200 * time.Millisecond // for which lines are collected
	logRetry        = time.Second
	logWriteTimeout = 10 * time.Second
	logBuffer       = 10_000 // lines kept while the database is unavailable
)

// logKey is the attempt that a line belongs to.
type logKey struct {
	runID   int64
	attempt int
}

// logSink writes log lines to etl_logs on connections of its own: outside the load's
// transaction, so that others see them while the load goes on and a rollback or a crash
// leaves them. Logging never waits for the database.
//
// While the database is unavailable up to logBuffer lines wait; further ones are counted,
// and the count is logged. A line can be there twice after the acknowledgement of a
// commit was lost.
type logSink struct {
	ledger  *ledger.Store
	logger  *slog.Logger  // for errors of the sink itself
	writing chan struct{} // holds an element while a batch is written

	mu        sync.Mutex
	lines     []ledger.LogLine
	dropped   map[logKey]int
	scheduled bool // a flush follows
	closed    bool
}

func newLogSink(to *ledger.Store, logger *slog.Logger) *logSink {
	return &logSink{ledger: to, logger: logger, writing: make(chan struct{}, 1), dropped: map[logKey]int{}}
}

func (s *logSink) add(l ledger.LogLine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return
	case len(s.lines) >= logBuffer:
		s.dropped[logKey{l.RunID, l.Attempt}]++
		return
	}
	s.lines = append(s.lines, l)
	if !s.scheduled {
		s.scheduled = true
		time.AfterFunc(logDelay, func() { _ = s.Flush(context.Background()) }) // ends when nothing is left or the sink is closed
	}
}

// Flush writes every line logged so far, unless ctx ends before.
func (s *logSink) Flush(ctx context.Context) error {
	for {
		select {
		case s.writing <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("log lines are not in the database yet: %w", ctx.Err())
		}
		n, err := s.writeBatch(ctx)
		<-s.writing
		if err == nil && n == 0 {
			return nil
		}
		if err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("log lines are not in the database yet: %w", errors.Join(ctx.Err(), err))
		case <-time.After(logRetry):
		}
	}
}

// writeBatch writes the oldest lines. Those of which an error is returned stay in the
// buffer, to be retried.
func (s *logSink) writeBatch(ctx context.Context) (int, error) {
	batch := s.next()
	if len(batch) == 0 {
		return 0, nil
	}
	writing, cancel := context.WithTimeout(ctx, logWriteTimeout)
	defer cancel()
	err := s.ledger.AddLogs(writing, batch)
	if err != nil && (postgres.Retryable(err) || writing.Err() != nil) {
		return 0, err
	}
	if err != nil {
		s.logger.ErrorContext(ctx, "log lines discarded: they cannot be written to the database", "lines", len(batch), "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = s.lines[len(batch):]
	return len(batch), nil
}

// next is the oldest batch, which stays in the buffer. The counts of dropped lines follow
// once there is room.
func (s *logSink) next() []ledger.LogLine {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, n := range s.dropped {
		if len(s.lines) >= logBuffer {
			break
		}
		s.lines = append(s.lines, ledger.LogLine{
			RunID: key.runID, Attempt: key.attempt, At: time.Now(), Level: slog.LevelWarn.String(),
			Message: "log lines dropped while the database was unavailable", Attrs: fmt.Appendf(nil, `{"count":%d}`, n),
		})
		delete(s.dropped, key)
	}
	if len(s.lines) == 0 || s.closed {
		s.lines, s.scheduled = nil, false
	}
	return s.lines[:min(logBatch, len(s.lines))]
}

// Close is a last Flush; later lines are discarded.
func (s *logSink) Close(ctx context.Context) error {
	err := s.Flush(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return err
}

// logHandler passes an attempt's lines of level INFO and above to the sink.
type logHandler struct {
	sink *logSink
	key  logKey
	json slog.Handler // renders the attributes, into out
	out  *lockedBuffer
}

type lockedBuffer struct {
	sync.Mutex
	bytes.Buffer
}

func (s *logSink) handler(key logKey) slog.Handler {
	out := &lockedBuffer{}
	attrsOnly := func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
			return slog.Attr{} // these have columns of their own
		}
		return a
	}
	return logHandler{sink: s, key: key, out: out, json: slog.NewJSONHandler(out, &slog.HandlerOptions{ReplaceAttr: attrsOnly})}
}

// Enabled leaves DEBUG out of the ledger.
func (h logHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	line := ledger.LogLine{
		RunID: h.key.runID, Attempt: h.key.attempt, At: cmp.Or(r.Time, time.Now()), Level: r.Level.String(), Message: postgres.Text(r.Message),
	}
	r.Time = time.Time{} // has a column of its own
	h.out.Lock()
	defer h.out.Unlock()
	h.out.Reset()
	if err := h.json.Handle(ctx, r); err != nil {
		return fmt.Errorf("log to the ledger: %w", err)
	}
	line.Attrs = postgres.JSON(bytes.TrimSpace(h.out.Bytes()))
	h.sink.add(line)
	return nil
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.json = h.json.WithAttrs(attrs)
	return h
}

func (h logHandler) WithGroup(name string) slog.Handler {
	h.json = h.json.WithGroup(name)
	return h
}
