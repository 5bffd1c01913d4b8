package transform

import (
	"context"
	"sync"

	"github.com/opentax/tally/pipeline/extract"
)

// Collector collects the rows of a part of a file.
type Collector interface {
	Reset()
	Add(rec *extract.Record, row *Row) // both are valid during the call only
}

// Clean cleans the rest of a file on all cores, and gives what was collected part by
// part in the file's order, so that it does not show how many there are. What take gets
// is valid during its call only. In the end the cleaner knows what all dates tell.
func Clean[C Collector](ctx context.Context, file *extract.Reader, cleaner *Cleaner, newCollector func() C, take func(C) error) error {
	type part struct {
		rows C
		seen evidence
	}
	pool := sync.Pool{New: func() any { return newCollector() }}
	worker := func() func(*extract.Reader) part {
		own := &Cleaner{conventions: cleaner.conventions}
		var row Row
		return func(records *extract.Reader) part {
			rows, _ := pool.Get().(C)
			rows.Reset()
			own.seen = evidence{}
			for {
				rec, err := records.Next()
				if err != nil { // there is none but the end
					return part{rows, own.seen}
				}
				own.Clean(rec, &row)
				rows.Add(rec, &row)
			}
		}
	}
	return extract.Parallel(ctx, file, worker, func(p part) error {
		cleaner.seen.add(&p.seen)
		err := take(p.rows)
		pool.Put(p.rows)
		return err
	})
}
