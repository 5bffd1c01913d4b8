package transform

import (
	"context"
	"sync"

	"github.com/opentax/tally/pipeline/extract"
)

// Collector collects the rows of a part of a file.
type Collector interface {
	Reset()
	Size() int                         // bytes that it holds, about
	Add(rec *extract.Record, row *Row) // both are valid during the call only
}

// part is what a worker makes of a part of a file.
type part[C Collector] struct {
	rows  C
	found Findings
}

// Size is about the bytes of the rows.
func (p part[C]) Size() int { return p.rows.Size() }

// Clean cleans the rest of a file on all cores, and gives what was collected part by
// part in the file's order, so that it does not show how many there are. What take gets
// is valid during its call only. In the end the cleaner has the findings of all.
func Clean[C Collector](ctx context.Context, file *extract.Reader, cleaner *Cleaner, newCollector func() C, take func(C) error) error {
	pool := sync.Pool{New: func() any { return newCollector() }}
	worker := func() func(*extract.Reader) part[C] {
		own := cleaner.another()
		var row Row
		return func(records *extract.Reader) part[C] {
			rows, _ := pool.Get().(C)
			rows.Reset()
			for {
				rec, err := records.Next()
				if err != nil { // the end, or an error that Parallel gives
					return part[C]{rows, own.takeFindings()}
				}
				own.Clean(rec, &row)
				rows.Add(rec, &row)
			}
		}
	}
	return extract.Parallel(ctx, file, worker, func(p part[C]) error {
		cleaner.found.add(&p.found)
		err := take(p.rows)
		pool.Put(p.rows)
		return err
	})
}
