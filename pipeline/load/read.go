package load

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opentax/tally/internal/pgcopy"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/transform"
)

// faultCounts are rejected rows by their first fault; valid ones at 0.
type faultCounts [transform.LastFault + 1]int64

// read cleans the file: rejected rows go to the database at once, valid ones to a
// sorter, both up to the reject limit. It is to be read again where its ambiguous values were read by another
// convention than holds, which shows when all of its values are known.
func (l *load) read(ctx context.Context) (err error) {
	l.startOver()
	if err := l.begin(ctx); err != nil {
		return err
	}
	if l.proven == nil {
		if err := l.prepare(ctx, l.tx); err != nil {
			return err
		}
	}
	l.enter(ctx, pipeline.StageRead)
	file, reader, cleaner, err := l.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if l.layout, err = json.Marshal(reader.Layout(file.Encoding())); err != nil {
		return fmt.Errorf("layout: %w", err)
	}
	var faults faultCounts
	limit := l.newLimit()
	written, err := pgcopy.Copy(ctx, l.tx.Conn(), "etl_rejects", rejectColumns(), func(w *pgcopy.Writer) error {
		err := transform.Clean(ctx, reader, cleaner, l.newRows, func(r *rows) error {
			l.result.Read += r.read
			for f, n := range r.faults {
				faults[f] += n
			}
			if within, err := limit.add(r); !within || err != nil {
				return err
			}
			if time.Since(l.reported) >= progressEvery {
				l.progress(file.Position(), file.Size())
			}
			l.rejects.Add(r.rejects)
			l.openIn = append(l.openIn, r.open...)
			if err := w.Encoded(r.rejects); err != nil {
				return err
			}
			return r.each(l.valid.Add)
		})
		return l.changedInstead(file, err)
	})
	if errors.Is(err, errPastLimit) {
		l.cause, l.stopped, l.again = l.pastLimit(), true, false
		return nil
	}
	if err == nil && limit.rejected <= limit.most && written != limit.rejected {
		err = fmt.Errorf("%d of %d rejected rows were written", written, limit.rejected)
	}
	if err != nil {
		return err
	}
	l.result.Rejected = limit.rejected
	l.findings = cleaner.Findings()
	if l.again, err = l.resolve(reader.SignColumn()); l.again || err != nil {
		return err
	}
	for f := transform.Fault(1); f <= transform.LastFault; f++ {
		if faults[f] > 0 {
			l.result.Faults[f.String()] = faults[f]
		}
	}
	l.checkLimit()
	return nil
}

// rows is what a load collects of a part of the file.
type rows struct {
	fileID  int64
	read    int64
	faults  faultCounts
	final   int64         // rejected whichever conventions hold
	valid   []byte        // packed, each after its length in two bytes
	rejects pgcopy.Fields // encoded for etl_rejects
	open    openParts     // with rejects
}

func (l *load) newRows() *rows { return &rows{fileID: l.fileID} }

// Reset empties it.
func (r *rows) Reset() {
	*r = rows{fileID: r.fileID, valid: r.valid[:0], rejects: r.rejects[:0], open: r.open[:0]}
}

// Size is its bytes.
func (r *rows) Size() int { return len(r.valid) + len(r.rejects) }

// Add takes what is to be kept of a row.
func (r *rows) Add(_ *extract.Record, row *transform.Row) {
	r.read++
	r.faults[row.Faults.First()]++
	if row.Faults.Final() {
		r.final++
	}
	if row.Faults != 0 {
		appendRejected(&r.rejects, r.fileID, row)
		r.open.add(row.Line)
		return
	}
	from := len(r.valid)
	r.valid = appendPacked(append(r.valid, 0, 0), row)
	binary.LittleEndian.PutUint16(r.valid[from:], uint16(len(r.valid)-from-2))
}

// each gives the valid rows, packed.
func (r *rows) each(yield func([]byte) error) error {
	for b := r.valid; len(b) > 0; {
		n := 2 + int(binary.LittleEndian.Uint16(b))
		if err := yield(b[2:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
