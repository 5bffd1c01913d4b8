// Package logbuffer collects the lines of a log that come by the thousand, and writes
// them together.
//
// A line is written a tenth of a second after it was logged, at the latest: by itself,
// not when the next one comes. Lines of a handler made by [Writer.Prompt] are written
// at once, with all that came before them, so that the order stays. [Writer.Flush]
// writes what is left; without it, as when the process is killed, the lines of the last
// tenth of a second are lost.
package logbuffer

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	delay = 100 * time.Millisecond
	most  = 64 << 10 // bytes that wait
)

// Writer is a buffer in front of a log. It is safe for concurrent use.
type Writer struct {
	out   io.Writer
	mu    sync.Mutex
	lines []byte
	timer *time.Timer // writes them
}

// New makes a Writer. Flush it at the end.
func New(out io.Writer) *Writer {
	w := &Writer{out: out}
	w.timer = time.AfterFunc(delay, func() { _ = w.Flush() }) // there is no one to tell
	return w
}

// Write takes whole lines. It writes only where the buffer is full, and then reports
// the error: what could not be written is dropped, as by a log without a buffer.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.lines) == 0 {
		w.timer.Reset(delay)
	}
	w.lines = append(w.lines, p...)
	if len(w.lines) < most {
		return len(p), nil
	}
	return len(p), w.flush()
}

// Flush writes the lines that are waiting.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flush()
}

func (w *Writer) flush() error {
	if len(w.lines) == 0 {
		return nil
	}
	w.timer.Stop()
	_, err := w.out.Write(w.lines)
	w.lines = w.lines[:0]
	return err
}

// Prompt makes a handler whose lines are written at once, of one that writes to w.
func (w *Writer) Prompt(to slog.Handler) slog.Handler { return prompt{to, w} }

type prompt struct {
	slog.Handler
	writer *Writer
}

func (p prompt) Handle(ctx context.Context, r slog.Record) error {
	if err := p.Handler.Handle(ctx, r); err != nil {
		return err
	}
	return p.writer.Flush()
}

func (p prompt) WithAttrs(attrs []slog.Attr) slog.Handler {
	return prompt{p.Handler.WithAttrs(attrs), p.writer}
}

func (p prompt) WithGroup(name string) slog.Handler {
	return prompt{p.Handler.WithGroup(name), p.writer}
}
