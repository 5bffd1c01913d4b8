package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/jobs/ledger"
)

const (
	logBatch        = 100                    // lines written at once
	logDelay        = 200 * time.Millisecond // and how long fewer of them wait
	logRetry        = time.Second            // pause after a write that failed
	logWriteTimeout = 10 * time.Second
	// logBuffer bounds the lines kept while the database is away.
	logBuffer = 10_000
)

// logKey is the attempt that a line belongs to.
type logKey struct {
	runID   int64
	attempt int
}

// logSink writes log lines to etl_logs from a goroutine of its own, on
// connections of their own: outside the load's transaction, so that another
// connection sees them while the load goes on, and so that they stay when it is
// rolled back or killed. A line is there some 200 ms after it was logged.
//
// While the database is away the lines wait, up to logBuffer of them; what
// comes after is counted, and the count takes its place in the log. A line can be
// there twice after the acknowledgement of a commit was lost.
type logSink struct {
	ledger *ledger.Store
	own    *slog.Logger // for trouble with the sink itself

	mu      sync.Mutex
	lines   []ledger.LogLine
	dropped map[logKey]int
	added   int           // lines ever taken
	settled int           // of these, written or given up
	moved   chan struct{} // closed and replaced when settled moves
	running bool          // the goroutine lives while there are lines
	closed  bool
	hurry   chan struct{}
}

func newLogSink(to *ledger.Store, own *slog.Logger) *logSink {
	return &logSink{
		ledger: to, own: own,
		dropped: map[logKey]int{}, moved: make(chan struct{}), hurry: make(chan struct{}, 1),
	}
}

func (s *logSink) add(l ledger.LogLine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if len(s.lines) >= logBuffer {
		s.dropped[logKey{l.RunID, l.Attempt}]++
		return
	}
	s.lines = append(s.lines, l)
	s.added++
	if !s.running {
		s.running = true
		go s.write()
	}
	if len(s.lines) >= logBatch {
		s.wake()
	}
}

// wake ends the goroutine's pause.
func (s *logSink) wake() {
	select {
	case s.hurry <- struct{}{}:
	default: // it is being woken already
	}
}

// write ends when there is nothing left to write.
func (s *logSink) write() {
	pause := logDelay
	for {
		select {
		case <-s.hurry:
		case <-time.After(pause):
		}
		pause = logDelay
		for {
			batch := s.next()
			if len(batch) == 0 {
				if s.rest() {
					return
				}
				continue
			}
			if !s.writeBatch(batch) {
				pause = logRetry
				break
			}
			if len(batch) < logBatch {
				break
			}
		}
		if s.rest() {
			return
		}
	}
}

// next is the oldest batch, which stays in the buffer until it is settled. Lines
// that found no room are told of once there is room.
func (s *logSink) next() []ledger.LogLine {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.lines) < logBuffer {
		for key, n := range s.dropped {
			s.lines = append(s.lines, ledger.LogLine{
				RunID: key.runID, Attempt: key.attempt, At: time.Now(), Level: slog.LevelWarn.String(),
				Message: "log lines dropped while the database was unavailable", Attrs: fmt.Appendf(nil, `{"count":%d}`, n),
			})
			s.added++
			delete(s.dropped, key)
		}
	}
	return s.lines[:min(logBatch, len(s.lines))]
}

// rest ends the goroutine if there is nothing to do for it.
func (s *logSink) rest() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.lines) > 0 && !s.closed {
		return false
	}
	s.running = false
	return true
}

// writeBatch tells whether to go on: false means that the same lines are to be
// tried again later.
func (s *logSink) writeBatch(batch []ledger.LogLine) bool {
	ctx, cancel := context.WithTimeout(context.Background(), logWriteTimeout)
	defer cancel()
	err := s.ledger.AddLogs(ctx, batch)
	if err != nil && postgres.Retryable(err) {
		return false
	}
	if err != nil {
		s.own.Error("log lines could not be written to the database and are given up", "lines", len(batch), "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines[:0:0], s.lines[len(batch):]...)
	s.settled += len(batch)
	close(s.moved)
	s.moved = make(chan struct{})
	return true
}

// Flush waits until every line logged so far is in the database, or ctx is done.
func (s *logSink) Flush(ctx context.Context) error {
	s.mu.Lock()
	target := s.added
	for s.settled < target {
		moved, waiting := s.moved, target-s.settled
		s.mu.Unlock()
		s.wake()
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d log lines are not in the database yet: %w", waiting, ctx.Err())
		case <-moved:
		}
		s.mu.Lock()
	}
	s.mu.Unlock()
	return nil
}

// Close is a last Flush; lines that come after it are not kept.
func (s *logSink) Close(ctx context.Context) error {
	err := s.Flush(ctx)
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.wake()
	return err
}

// attemptLogger logs to the service's logger and to the ledger.
func (s *Service) attemptLogger(a *attempt) *slog.Logger {
	own := s.logger.With(slog.Int64("run", a.runID), slog.Int("attempt", a.number))
	return slog.New(slog.NewMultiHandler(own.Handler(), s.logs.handler(logKey{a.runID, a.number})))
}

// logHandler hands an attempt's lines of level INFO and above to the sink.
type logHandler struct {
	sink *logSink
	key  logKey
	json slog.Handler // renders the attributes, into out
	out  *jsonBuffer
}

type jsonBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (s *logSink) handler(key logKey) slog.Handler {
	out := &jsonBuffer{}
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

// Handle never blocks on the database.
func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	at := r.Time
	if at.IsZero() {
		at = time.Now()
	}
	r.Time = time.Time{} // has a column of its own
	attrs, err := h.render(ctx, r)
	if err != nil {
		return fmt.Errorf("log to the ledger: %w", err)
	}
	h.sink.add(ledger.LogLine{RunID: h.key.runID, Attempt: h.key.attempt, At: at, Level: r.Level.String(), Message: postgres.Text(r.Message), Attrs: attrs})
	return nil
}

func (h logHandler) render(ctx context.Context, r slog.Record) (json.RawMessage, error) {
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	h.out.Reset()
	if err := h.json.Handle(ctx, r); err != nil {
		return nil, err
	}
	return postgres.JSON(bytes.TrimSpace(h.out.Bytes())), nil
}

// WithAttrs keeps the attributes for every line.
func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.json = h.json.WithAttrs(attrs)
	return h
}

// WithGroup nests what comes after.
func (h logHandler) WithGroup(name string) slog.Handler {
	h.json = h.json.WithGroup(name)
	return h
}
