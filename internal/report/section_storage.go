package report

import (
	"maps"
	"slices"
	"time"
)

func (r *Report) tableBlocks() []block {
	columns := []string{
		"table", ">rows, estimated", ">dead rows", ">size", ">of its indexes", ">bloat, estimated", ">scans", ">by index",
		">HOT updates", ">cache hit", ">changed since ANALYZE", "analyzed", "vacuumed",
	}
	whole := newTable("Tables, partitioned ones with the sums of their partitions", columns...)
	parts := newTable("Partitions", columns...)
	for _, t := range r.Tables {
		if t.PartitionOf != "" {
			parts.add(t.cells()...)
		} else {
			whole.add(r.summed(t).cells()...)
		}
	}
	return append(whole.blocks(), parts.folded("partition", "partitions")...)
}

// summed adds to a partitioned table the figures of its partitions; the times are its own.
func (r *Report) summed(of Table) Table {
	for _, t := range r.Tables {
		if t.PartitionOf != of.Name {
			continue
		}
		of.Live, of.Dead = of.Live+t.Live, of.Dead+t.Dead
		of.Bytes, of.IndexBytes, of.Bloat = of.Bytes+t.Bytes, of.IndexBytes+t.IndexBytes, of.Bloat+t.Bloat
		of.SeqScans, of.IndexScans = of.SeqScans+t.SeqScans, of.IndexScans+t.IndexScans
		of.Updates, of.HotUpdates = of.Updates+t.Updates, of.HotUpdates+t.HotUpdates
		of.HeapHit, of.HeapRead = of.HeapHit+t.HeapHit, of.HeapRead+t.HeapRead
		of.IndexHit, of.IndexRead = of.IndexHit+t.IndexHit, of.IndexRead+t.IndexRead
	}
	return of
}

func (t Table) cells() []any {
	hit := t.HeapHit + t.IndexHit
	return []any{
		named(t.Name), estimate(t.Rows), count(t.Dead), size(t.Bytes), size(t.IndexBytes), size(t.Bloat), count(t.SeqScans), count(t.IndexScans),
		share(float64(t.HotUpdates) / float64(t.Updates)), share(float64(hit) / float64(hit+t.HeapRead+t.IndexRead)),
		count(t.Modified), when(t.Analyzed), when(t.Vacuumed),
	}
}

func (r *Report) indexBlocks() []block {
	columns := []string{"index", "table", ">size", ">scans", "state", "~definition"}
	whole, parts := newTable("Indexes", columns...), newTable("Indexes of partitions", columns...)
	for _, i := range r.Indexes {
		into := whole
		if i.Partition {
			into = parts
		}
		into.add(named(i.Name), named(i.Table), size(i.Bytes), count(i.Scans), i.state(), named(oneLine(i.Definition, 300)))
	}
	return append(whole.blocks(), parts.folded("index of a partition", "indexes of partitions")...)
}

func (i Index) state() cell {
	switch {
	case !i.Valid:
		return badge(toneBad, "not valid")
	case i.Scans == 0 && i.Constraint:
		return cell{Text: "keeps a rule, never read"}
	case i.Constraint:
		return cell{Text: "keeps a rule"}
	case i.Scans == 0:
		return badge(toneWarning, "never read")
	default:
		return cell{Text: "read"}
	}
}

func (r *Report) partitionBlocks() []block {
	if len(r.Partitions) == 0 {
		return nil
	}
	t := newTable("Months of transactions", "month", "partition", ">rows, estimated", ">rows counted by daily_totals", ">amount", ">size")
	for _, p := range r.Partitions {
		name, rows, bytes := named(p.Name), estimate(p.Rows), size(p.Bytes)
		if p.Name == "" {
			name, rows, bytes = badge(toneWarning, "missing"), "–", "–"
		}
		t.add(p.Month.Format("2006-01"), name, rows, count(p.Counted), grouped(p.Amount), bytes)
	}
	return append([]block{
		paragraph("Thousands as k, millions as M. An empty place has no partition, and needs none as long as no row falls into it."),
		{Table: r.calendar()},
	}, t.folded("month", "months")...)
}

// calendar has a row for each year and a column for each month.
func (r *Report) calendar() *table {
	t := newTable("Rows by month, as the planner estimates them", "year")
	for m := time.January; m <= time.December; m++ {
		t.Columns = append(t.Columns, column{Name: m.String()[:3], Figures: true})
	}
	years := map[int][]cell{}
	for _, p := range r.Partitions {
		year := p.Month.Year()
		if years[year] == nil {
			years[year] = make([]cell, 13)
			years[year][0].Text = p.Month.Format("2006")
		}
		shown := cell{Text: brief(p.Rows)}
		if p.Name == "" {
			shown = badge(toneWarning, "missing")
		}
		years[year][p.Month.Month()] = shown
	}
	for _, year := range slices.Sorted(maps.Keys(years)) {
		t.Rows = append(t.Rows, years[year])
	}
	return t
}
