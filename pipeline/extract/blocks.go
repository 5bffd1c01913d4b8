package extract

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/opentax/tally/internal/panics"
)

const (
	blockBytes = 256 << 10 // of the file that a worker gets at once
	maxWorkers = 16        // whatever the cores
)

// Parallel reads the rest of a file on all cores. Each worker makes one function, which
// makes a T of the records of a block; take gets them in the file's order. A T that is
// large tells its bytes by a method Size, so that those that wait for take are bounded.
func Parallel[T any](ctx context.Context, r *Reader, worker func() func(records *Reader) T, take func(T) error) error {
	type job struct {
		*block
		result chan T
	}
	workers := min(runtime.GOMAXPROCS(0), maxWorkers)
	group, ctx := errgroup.WithContext(ctx)
	work, ordered := make(chan job, workers), make(chan job, 2*workers)
	send := func(queue chan<- job, j job) error {
		select {
		case queue <- j:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	readers := make([]*Reader, workers)
	for i := range readers {
		readers[i] = r.ofBlocks()
	}
	cut := newCutter(r) // which has r to itself from here on
	waiting := newQueue()
	group.Go(func() (err error) {
		defer panics.Recover(&err)
		defer close(work)
		defer close(ordered)
		return cut.each(func(b *block) error {
			if err := waiting.enter(ctx); err != nil {
				return err
			}
			j := job{b, make(chan T, 1)}
			if err := send(work, j); err != nil { // first, so that the reader of its result gets one
				return err
			}
			return send(ordered, j)
		})
	})
	for _, records := range readers {
		group.Go(func() (err error) {
			defer panics.Recover(&err)
			do := worker()
			for j := range work {
				records.start(j.block)
				result := do(records)
				cut.done(j.block, records.scan.counts)
				j.err = records.err
				waiting.note(result)
				j.result <- result
			}
			return nil
		})
	}
	var total counts
	group.Go(func() (err error) {
		defer panics.Recover(&err)
		for j := range ordered {
			select {
			case result := <-j.result:
				if j.err != nil {
					return j.err
				}
				total.add(j.counts)
				if err := take(result); err != nil {
					return err
				}
				waiting.leave()
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	err := group.Wait()
	r.scan.add(total)
	return err
}

// block is a part of a file that starts and ends with whole records.
type block struct {
	data    []byte
	lines   int64  // physical lines before it
	counted bool   // its line ends and lines without text were counted when it was cut
	single  Record // what it is instead, where its Fault shows only in what comes after it
	counts  counts // of its lines, when its records have been read
	err     error  // that ended their reading early
}

// append adds a record. Its own line end may be missing.
func (b *block) append(record *Record) {
	b.data = append(append(b.data, record.raw...), '\n')
}

// cutter cuts the rest of a file into blocks.
type cutter struct {
	r    *Reader
	held *block    // that comes next
	data sync.Pool // of *[]byte
}

func newCutter(r *Reader) *cutter {
	return &cutter{r: r, data: sync.Pool{New: func() any { return new([]byte) }}}
}

func (c *cutter) block(lines int64) *block {
	data, _ := c.data.Get().(*[]byte)
	return &block{data: (*data)[:0], lines: lines}
}

// done takes the memory of a block back.
func (c *cutter) done(b *block, seen counts) {
	if b.counted {
		seen = counts{headers: seen.headers, blanks: seen.blanks}
	}
	b.counts = seen
	c.data.Put(&b.data)
}

// each gives the blocks.
func (c *cutter) each(yield func(*block) error) error {
	for {
		b, err := c.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = yield(b)
		}
		if err != nil {
			return err
		}
	}
}

// next is the next block.
func (c *cutter) next() (*block, error) {
	if b := c.held; b != nil {
		c.held = nil
		return b, nil
	}
	s := c.r.scan
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
	b := c.block(s.lines)
	b.data = append(b.data, rest[:whole]...)
	s.lines += int64(bytes.Count(b.data, []byte{'\n'}))
	if b.data[whole-1] != '\n' {
		s.lines++
	}
	s.pos += int64(whole)
	return b, nil
}

// scan makes a block of records one by one, since a line end may be quoted. A record
// behind an empty line, or with malformed quotes, becomes the block after it.
func (c *cutter) scan() (*block, error) {
	s, record := c.r.scan, &c.r.record
	b := c.block(s.lines)
	b.counted = true
	for len(b.data) < blockBytes {
		expected := s.lines + 1
		if err := s.next(record); err != nil {
			if len(b.data) > 0 {
				return b, nil // the error comes again
			}
			return nil, err
		}
		malformed := record.Fault != 0
		if !malformed && record.Line == expected {
			b.append(record)
			continue
		}
		own := c.block(record.Line - 1)
		own.counted = true
		if malformed {
			own.data = append(own.data, record.Raw()...)
			own.single = Record{Line: record.Line, Length: record.Length, Fault: record.Fault}
		} else {
			own.append(record)
		}
		if len(b.data) == 0 {
			return own, nil
		}
		c.held = own
		return b, nil
	}
	return b, nil
}

// ofBlocks is a reader of blocks of the same file.
func (r *Reader) ofBlocks() *Reader {
	own := *r
	own.scan, own.record = r.scan.ofText(nil), Record{place: r.record.place}
	return &own
}

// start goes on with a block.
func (r *Reader) start(b *block) {
	if r.ready = b.single.Fault != 0; r.ready {
		r.scan.start(nil, b.lines)
		r.record.Line, r.record.Length, r.record.Fault, r.record.raw = b.single.Line, b.single.Length, b.single.Fault, b.data
		return
	}
	r.scan.start(b.data, b.lines)
}

func (c *counts) add(o counts) {
	c.blanks += o.blanks
	c.headers += o.headers
	c.crlf += o.crlf
	c.lf += o.lf
}
