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
// is valid during its call only. In the end the cleaner has the findings of all.
func Clean[C Collector](ctx context.Context, file *extract.Reader, cleaner *Cleaner, newCollector func() C, take func(C) error) error {
	type part struct {
		rows  C
		found Findings
	}
	pool := sync.Pool{New: func() any { return newCollector() }}
	worker := func() func(*extract.Reader) part {
		own := cleaner.another()
		var row Row
		return func(records *extract.Reader) part {
			rows, _ := pool.Get().(C)
			rows.Reset()
			for {
				rec, err := records.Next()
				if err != nil { // the end, or an error that Parallel gives
					return part{rows, own.takeFindings()}
				}
				own.Clean(rec, &row)
				rows.Add(rec, &row)
			}
		}
	}
	return extract.Parallel(ctx, file, worker, func(p part) error {
		cleaner.found.add(&p.found)
		err := take(p.rows)
		pool.Put(p.rows)
		return err
	})
}
