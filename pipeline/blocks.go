package pipeline

import (
	"bytes"
	"context"
	"encoding/binary"
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
type block struct {
	data  []byte
	lines int64 // physical lines before it
	rows  *rows // where it was cleaned already: of a record whose quoting is malformed
	done  chan *rows
}

// rows is what came of a block.
type rows struct {
	read   int64
	faults [faultEnd]int64 // rejected rows by their first fault; valid ones at 0
	valid  []byte          // packed, each after its length in two bytes
	reject []byte          // encoded by the cleaner's keep
}

func (r *rows) reset() {
	*r = rows{valid: r.valid[:0], reject: r.reject[:0]}
}

// keepReject encodes a rejected row.
type keepReject func(b []byte, r *Row) []byte

// cleaner cleans a file on all cores, and gives what came of it in the file's
// order, so that it does not show how many there are.
type cleaner struct {
	reader *Reader // cuts the blocks; its evidence is that of all in the end
	keep   keepReject
	row    Row

	held  *block    // that comes next
	data  sync.Pool // of *[]byte
	rows  sync.Pool // of *rows
	mutex sync.Mutex
}

func newCleaner(reader *Reader, keep keepReject) *cleaner {
	c := &cleaner{reader: reader, keep: keep}
	c.data.New = func() any { return new([]byte) }
	c.rows.New = func() any { return new(rows) }
	return c
}

// clean cleans the rest of the reader's file. Each result is valid during its call
// of take alone.
func (c *cleaner) clean(ctx context.Context, take func(*rows) error) error {
	workers := min(runtime.GOMAXPROCS(0), maxWorkers)
	group, ctx := errgroup.WithContext(ctx)
	work := make(chan *block, workers)
	ordered := make(chan *block, 2*workers)
	group.Go(func() error {
		defer close(work)
		defer close(ordered)
		return c.cut(ctx, work, ordered)
	})
	for range workers {
		group.Go(func() error {
			worker := c.worker()
			for b := range work {
				b.done <- worker.cleanBlock(c, b)
			}
			c.mutex.Lock()
			defer c.mutex.Unlock()
			c.reader.addEvidence(&worker.Reader)
			return nil
		})
	}
	group.Go(func() error {
		for b := range ordered {
			r := b.rows
			if r == nil {
				select {
				case r = <-b.done:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			if err := take(r); err != nil {
				return err
			}
			c.rows.Put(r)
		}
		return nil
	})
	return group.Wait()
}

// cut reads the file and hands out its blocks.
func (c *cleaner) cut(ctx context.Context, work, ordered chan<- *block) error {
	for {
		b, err := c.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		// First to be cleaned: whoever waits for a block must find it in work.
		if b.rows == nil {
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
func (c *cleaner) next() (*block, error) {
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

func (c *cleaner) newBlock(lines int64) *block {
	data, _ := c.data.Get().(*[]byte)
	return &block{data: (*data)[:0], lines: lines, done: make(chan *rows, 1)}
}

// scan makes a block of records one by one, since a line end may be quoted. What
// does not fit into it, because an empty line came between or because it was
// cleaned here, becomes the block after it.
func (c *cleaner) scan() (*block, error) {
	s, record := c.reader.scan, &c.reader.record
	b := c.newBlock(s.lines)
	for len(b.data) < blockBytes {
		expected := s.lines + 1
		if err := s.next(record); err != nil {
			if len(b.data) > 0 {
				return b, nil // the error comes again
			}
			return nil, err
		}
		var own *block
		switch {
		case record.fault != 0 && record.fault != FaultNulByte && record.fault != FaultInvalidUTF8:
			// What is wrong with its quotes shows in what comes after it.
			own = c.cleanHere(record)
		case record.line != expected:
			own = c.newBlock(record.line - 1)
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
func (b *block) append(record *record) {
	b.data = append(append(b.data, record.raw...), "\r\n"...)
}

func (c *cleaner) cleanHere(record *record) *block {
	r, _ := c.rows.Get().(*rows)
	r.reset()
	c.reader.cleanRecord(record, &c.row)
	r.add(&c.row, c.keep)
	return &block{rows: r}
}

// worker cleans blocks.
type worker struct {
	Reader
	row Row
}

func (c *cleaner) worker() *worker {
	r := c.reader
	return &worker{Reader: Reader{
		scan: &scanner{err: io.EOF, comma: r.scan.comma, keep: r.scan.keep}, clean: r.clean, names: r.names, place: r.place,
	}}
}

func (w *worker) cleanBlock(c *cleaner, b *block) *rows {
	s := w.scan
	s.base, s.pos, s.end, s.lines = 0, 0, 0, b.lines
	s.noQuote, s.oddFrom, s.oddTo, s.unclosed = 0, 0, 0, memory{}
	s.note(b.data)
	s.buf, s.end = b.data, int64(len(b.data))
	r, _ := c.rows.Get().(*rows)
	r.reset()
	for s.next(&w.record) == nil { // there is no error but the end
		w.cleanRecord(&w.record, &w.row)
		r.add(&w.row, c.keep)
	}
	c.data.Put(&b.data)
	return r
}

func (r *rows) add(row *Row, keep keepReject) {
	r.read++
	r.faults[row.Faults.First()]++
	if row.Faults != 0 {
		r.reject = keep(r.reject, row)
		return
	}
	from := len(r.valid)
	r.valid = appendPacked(append(r.valid, 0, 0), row)
	binary.LittleEndian.PutUint16(r.valid[from:], uint16(len(r.valid)-from-2))
}

// each gives the valid rows.
func (r *rows) each(yield func(packed) error) error {
	for b := r.valid; len(b) > 0; {
		n := 2 + int(binary.LittleEndian.Uint16(b))
		if err := yield(packed(b[2:n])); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// addEvidence adds what another reader has seen of the file's dates.
func (r *Reader) addEvidence(o *Reader) {
	for _, sep := range []byte(dateSeparators) {
		mine, others := r.evidence(sep), o.evidence(sep)
		mine.month += others.month
		mine.day += others.day
		mine.alike += others.alike
		mine.byRule += others.byRule
	}
}
