package pipeline

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"
)

const (
	blockBytes = 256 << 10 // of the file that are cleaned at once
	maxWorkers = 16        // that clean, whatever the cores
)

// block is a part of a file that starts and ends with whole records.
type block[R any] struct {
	data    []byte
	lines   int64 // physical lines before it
	counted bool  // its line ends and empty lines were counted when it was cut
	cleaned bool  // result is there already: of a record whose quoting is malformed
	result  R
	done    chan R
}

// gatherer is what rows are gathered in, block by block. add is called with the
// reader that has the row's cells.
type gatherer interface {
	reset()
	add(reader *Reader, row *Row)
}

// cleaner cleans a file on all cores, and gives what was gathered in the file's
// order, so that it does not show how many there are.
type cleaner[R gatherer] struct {
	reader *Reader // cuts the blocks; its evidence and counts are those of all in the end
	row    Row
	held   *block[R] // that comes next
	data   sync.Pool // of *[]byte
	result sync.Pool // of R
	mutex  sync.Mutex
}

func newCleaner[R gatherer](reader *Reader, gather func() R) *cleaner[R] {
	c := &cleaner[R]{reader: reader}
	c.data.New = func() any { return new([]byte) }
	c.result.New = func() any { return gather() }
	return c
}

// clean cleans the rest of the reader's file. Each result is valid during its call
// of take alone.
func (c *cleaner[R]) clean(ctx context.Context, take func(R) error) error {
	workers := min(runtime.GOMAXPROCS(0), maxWorkers)
	group, ctx := errgroup.WithContext(ctx)
	work := make(chan *block[R], workers)
	ordered := make(chan *block[R], 2*workers)
	group.Go(func() error {
		defer close(work)
		defer close(ordered)
		return c.cut(ctx, work, ordered)
	})
	for range workers {
		group.Go(func() error {
			worker := c.worker()
			for b := range work {
				b.done <- worker.clean(c, b)
			}
			c.mutex.Lock()
			defer c.mutex.Unlock()
			c.reader.addSeen(&worker.Reader)
			return nil
		})
	}
	group.Go(func() error {
		for b := range ordered {
			if !b.cleaned {
				select {
				case b.result = <-b.done:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			if err := take(b.result); err != nil {
				return err
			}
			c.result.Put(b.result)
		}
		return nil
	})
	return group.Wait()
}

// cut reads the file and hands out its blocks.
func (c *cleaner[R]) cut(ctx context.Context, work, ordered chan<- *block[R]) error {
	for {
		b, err := c.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		// First to be cleaned: whoever waits for a block must find it in work.
		if !b.cleaned {
			select {
			case work <- b:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		select {
		case ordered <- b:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// next is the next block.
func (c *cleaner[R]) next() (*block[R], error) {
	if b := c.held; b != nil {
		c.held = nil
		return b, nil
	}
	s := c.reader.scan
	for more := true; more && s.end-s.pos < blockBytes; {
		more = s.fill()
	}
	rest := s.at(s.pos, s.end)
	rest = rest[:min(len(rest), blockBytes)]
	whole := bytes.LastIndexByte(rest, '\n') + 1
	if s.err != nil && s.end-s.pos <= blockBytes {
		if !errors.Is(s.err, io.EOF) {
			return nil, s.err
		}
		whole = len(rest)
		if whole == 0 {
			return nil, io.EOF
		}
	}
	if whole == 0 || s.quoted(s.pos, s.pos+int64(whole)) {
		return c.scan()
	}
	b := c.newBlock(s.lines)
	b.data = append(b.data, rest[:whole]...)
	s.lines += int64(bytes.Count(b.data, []byte{'\n'}))
	if b.data[whole-1] != '\n' {
		s.lines++
	}
	s.pos += int64(whole)
	return b, nil
}

func (c *cleaner[R]) newBlock(lines int64) *block[R] {
	data, _ := c.data.Get().(*[]byte)
	return &block[R]{data: (*data)[:0], lines: lines, done: make(chan R, 1)}
}

// scan makes a block of records one by one, since a line end may be quoted. What
// does not fit into it, because an empty line came between or because it was
// cleaned here, becomes the block after it.
func (c *cleaner[R]) scan() (*block[R], error) {
	s, record := c.reader.scan, &c.reader.record
	b := c.newBlock(s.lines)
	b.counted = true
	for len(b.data) < blockBytes {
		expected := s.lines + 1
		if err := s.next(record); err != nil {
			if len(b.data) > 0 {
				return b, nil // the error comes again
			}
			return nil, err
		}
		var own *block[R]
		switch {
		case record.fault != 0 && record.fault != FaultNulByte && record.fault != FaultInvalidUTF8:
			// What is wrong with its quotes shows in what comes after it.
			own = c.cleanHere(record)
		case record.line != expected:
			own = c.newBlock(record.line - 1)
			own.counted = true
			own.append(record)
		default:
			b.append(record)
			continue
		}
		if len(b.data) == 0 {
			return own, nil
		}
		c.held = own
		return b, nil
	}
	return b, nil
}

// append adds a record. Its own line end may be missing, and a CR before it is
// part of the record if there are two.
func (b *block[R]) append(record *record) {
	b.data = append(append(b.data, record.raw...), "\r\n"...)
}

func (c *cleaner[R]) cleanHere(record *record) *block[R] {
	b := &block[R]{cleaned: true, result: c.take()}
	c.reader.cleanRecord(record, &c.row)
	b.result.add(c.reader, &c.row)
	return b
}

func (c *cleaner[R]) take() R {
	r, _ := c.result.Get().(R)
	r.reset()
	return r
}

// worker cleans blocks.
type worker[R gatherer] struct {
	Reader
	row Row
}

func (c *cleaner[R]) worker() *worker[R] {
	r := c.reader
	return &worker[R]{Reader: Reader{
		scan: &scanner{err: io.EOF, comma: r.scan.comma, keep: r.scan.keep}, clean: r.clean, names: r.names, place: r.place,
	}}
}

func (w *worker[R]) clean(c *cleaner[R], b *block[R]) R {
	s := w.scan
	before := s.counts
	s.base, s.pos, s.end, s.lines = 0, 0, 0, b.lines
	s.noQuote, s.oddFrom, s.oddTo, s.unclosed = 0, 0, 0, memory{}
	s.note(b.data)
	s.buf, s.end = b.data, int64(len(b.data))
	r := c.take()
	for s.next(&w.record) == nil { // there is no error but the end
		w.cleanRecord(&w.record, &w.row)
		r.add(&w.Reader, &w.row)
	}
	if b.counted {
		s.counts = before
	}
	c.data.Put(&b.data)
	return r
}

// addSeen adds what another reader has seen of the file's dates and line ends.
func (r *Reader) addSeen(o *Reader) {
	for _, sep := range []byte(dateSeparators) {
		mine, others := r.evidence(sep), o.evidence(sep)
		mine.month += others.month
		mine.day += others.day
		mine.alike += others.alike
		mine.byRule += others.byRule
	}
	r.scan.blanks += o.scan.blanks
	r.scan.crlf += o.scan.crlf
	r.scan.lf += o.scan.lf
}
