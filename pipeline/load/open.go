package load

import (
	"context"
	"maps"
	"slices"

	"github.com/opentax/tally/internal/reject"
)

// openParts are the parts of a file that have rejects or conflicts.
type openParts []int64

// add takes the line of a reject. Lines ascend, mostly.
func (p *openParts) add(line int64) {
	if part := line >> reject.PartBits; len(*p) == 0 || (*p)[len(*p)-1] != part {
		*p = append(*p, part)
	}
}

// recordOpen records which parts of the file have open rejects.
func (l *load) recordOpen(ctx context.Context) error {
	if len(l.openIn) == 0 {
		return nil
	}
	slices.Sort(l.openIn)
	parts := []int64(slices.Compact(l.openIn))
	return l.exec(ctx, l.loader.statements.Get("add_open"), slices.Repeat([]int64{l.fileID}, len(parts)), parts)
}

// noteOpen brings etl_open_rejects up to date with states that were written: parts that
// have open rejects again are added, and those without any are removed.
func (c *change) noteOpen(ctx context.Context, states []rejectState) error {
	type part struct{ file, block int64 }
	open, closed := map[part]bool{}, map[part]bool{}
	for _, s := range states {
		if p := (part{s.file, s.line >> reject.PartBits}); s.state == reject.StateOpen {
			open[p] = true
		} else {
			closed[p] = true
		}
	}
	change := func(name string, parts map[part]bool, further ...any) error {
		var files, blocks []int64
		for p := range maps.Keys(parts) {
			files, blocks = append(files, p.file), append(blocks, p.block)
		}
		if len(files) == 0 {
			return nil
		}
		return c.exec(ctx, c.loader.statements.Get(name), append([]any{files, blocks}, further...)...)
	}
	if err := change("add_open", open); err != nil {
		return err
	}
	return change("remove_open", closed, reject.PartBits)
}
