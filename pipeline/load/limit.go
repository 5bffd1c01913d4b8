package load

import (
	"context"
	"errors"
	"fmt"

	"github.com/opentax/tally/internal/pgcopy"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/transform"
)

// CodeRejectLimit is the code of a file of which more rows are rejected than its source
// allows.
const CodeRejectLimit = "reject_limit"

// errPastLimit ends a reading that cannot end within the reject limit.
var errPastLimit = errors.New("past the reject limit")

// limit watches the rejected rows of a reading, part by part.
type limit struct {
	most     int64 // rejected rows of the longest file that this one can be
	all      bool  // every fault counts, as the file has shown its conventions before
	rejected int64
	final    int64 // of them, those that no convention would resolve
}

// newLimit is that of the reading that begins. Of a share the rows are not known yet: the
// first pass counted line ends, of which there are at least as many.
func (l *load) newLimit() *limit {
	return &limit{most: l.request.Rules.MaxRejected(l.maxLines), all: l.findings != nil}
}

// add adds a part. Past the limit it is not within it, and not to be written: the file
// fails, or is read again by other conventions. errPastLimit says that it fails.
func (c *limit) add(r *rows) (within bool, err error) {
	rejected := r.read - r.faults[0]
	c.rejected += rejected
	c.final += r.final
	if c.final > c.most || c.all && c.rejected > c.most {
		return false, errPastLimit
	}
	return c.rejected <= c.most, nil
}

// checkLimit fails a file that was read to its end.
func (l *load) checkLimit() {
	if l.request.Rules.Exceeded(l.result.Rejected, l.result.Read) {
		l.cause = l.pastLimit()
	}
}

// pastLimit is the error of a file over its limit.
func (l *load) pastLimit() *extract.FileError {
	return &extract.FileError{Path: l.path, Code: CodeRejectLimit, Hint: "fix the file, or raise the source's reject_limit; tally check lists its faults",
		Detail: fmt.Sprintf("%d of %d rows rejected, over the limit of %s", l.result.Rejected, l.result.Read, l.request.Rules.WithDefaults().RejectLimit)}
}

// maxFailedRejects bounds the rows that are kept of a failed file. The file itself
// is still there, and each try would keep them all again.
const maxFailedRejects = 1000

// keepFirstRejects keeps rejected rows of a file of which nothing is loaded. Those that
// were written before are gone with their transaction, so they are read once more. Where
// the reading stopped, this one counts the rows up to the one past the limit, one after
// the other: what is recorded does not depend on how many were cleaned at once.
func (l *load) keepFirstRejects(ctx context.Context, cause *extract.FileError) error {
	limit, stopped := l.newLimit(), l.stopped
	if stopped {
		l.startOver()
	}
	var end int64 // line of the row past the limit
	_, err := pgcopy.Copy(ctx, l.tx.Conn(), "etl_rejects", rejectColumns(), func(w *pgcopy.Writer) error {
		return l.reread(ctx, func(reader *extract.Reader, cleaner *transform.Cleaner) (err error) {
			if end, err = l.keepRejects(w, reader, cleaner, limit, stopped); stopped {
				l.result.Hints = cleaner.Findings().Hints()
			}
			return err
		})
	})
	if !stopped || err != nil {
		return err
	}
	if l.result.Rejected = limit.rejected; end == 0 {
		return errors.New("the row past the reject limit was not found again")
	}
	if l.findings != nil { // of a reading before
		l.result.Warnings = l.findings.Warnings(l.reading.Conventions, "")
	}
	cause.Detail = fmt.Sprintf("stopped at line %d: %s", end, l.pastLimit().Detail)
	return nil
}

// keepRejects keeps the first rejected rows of a file, and counts them to the end if the
// reading stopped, which is a row's line.
func (l *load) keepRejects(
	w *pgcopy.Writer, reader *extract.Reader, cleaner *transform.Cleaner, limit *limit, stopped bool,
) (end int64, err error) {
	var row transform.Row
	one, most := l.newRows(), min(maxFailedRejects, limit.most+1)
	for kept := int64(0); kept < most || stopped && end == 0; {
		record, err := reader.Next()
		if err != nil {
			return 0, err
		}
		cleaner.Clean(record, &row)
		one.Reset()
		one.Add(record, &row)
		if _, err := limit.add(one); stopped && err != nil {
			end = row.Line
		}
		if stopped {
			l.result.Read++
		}
		if row.Faults == 0 {
			continue
		}
		if stopped {
			l.result.Faults[row.Faults.First().String()]++
		}
		if kept++; kept > most {
			continue
		}
		if err := w.Encoded(one.rejects); err != nil {
			return 0, err
		}
	}
	return end, nil
}
