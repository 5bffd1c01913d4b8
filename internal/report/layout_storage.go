package report

import (
	"math"
	"slices"
	"strconv"
	"time"
)

func (r *Report) tableBlocks() []block {
	if len(r.Tables) == 0 {
		return []block{paragraph("None were seen.")}
	}
	whole, parts := newTableTable("Tables, partitioned ones with the sums of their partitions"), newTableTable("Partitions")
	for _, t := range r.Tables {
		switch {
		case t.PartitionOf != "":
			parts.Rows = append(parts.Rows, t.cells())
		case t.Partitioned:
			whole.Rows = append(whole.Rows, r.summed(t).cells())
		default:
			whole.Rows = append(whole.Rows, t.cells())
		}
	}
	blocks := []block{{Table: whole}}
	if len(parts.Rows) > 0 {
		blocks = append(blocks, block{Fold: &fold{Summary: text("%s", plural(len(parts.Rows), "partition", "partitions")), Blocks: []block{{Table: parts}}}})
	}
	return blocks
}

// summed is a partitioned table with what its partitions hold; the times are its own.
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

func newTableTable(caption string) *table {
	return &table{Caption: caption, Columns: []column{
		{Name: "table"}, figures("rows, estimated"), figures("dead rows"), figures("size"), figures("of its indexes"), figures("bloat, estimated"),
		figures("scans"), figures("by index"), figures("HOT updates"), figures("cache hit"), figures("changed since ANALYZE"), {Name: "analyzed"}, {Name: "vacuumed"},
	}}
}

func (t Table) cells() []cell {
	return []cell{
		named(t.Name), text("%s", estimate(t.Rows)), text("%s", count(t.Dead)), text("%s", size(t.Bytes)), text("%s", size(t.IndexBytes)), text("%s", size(t.Bloat)),
		text("%s", count(t.SeqScans)), text("%s", count(t.IndexScans)), text("%s", part(t.HotUpdates, t.Updates)),
		text("%s", part(t.HeapHit+t.IndexHit, t.HeapHit+t.HeapRead+t.IndexHit+t.IndexRead)),
		text("%s", count(t.Modified)), text("%s", when(t.Analyzed)), text("%s", when(t.Vacuumed)),
	}
}

// part is a share of a whole, of which there may be none.
func part(of, whole int64) string {
	if whole == 0 {
		return "–"
	}
	return share(float64(of) / float64(whole))
}

func when(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04")
}

func (r *Report) indexBlocks() []block {
	if len(r.Indexes) == 0 {
		return []block{paragraph("None were seen.")}
	}
	columns := []column{{Name: "index"}, {Name: "table"}, figures("size"), figures("scans"), {Name: "state"}, prose("definition")}
	whole, parts := &table{Caption: "Indexes", Columns: columns}, &table{Caption: "Indexes of partitions", Columns: columns}
	for _, i := range r.Indexes {
		into := whole
		if i.Partition {
			into = parts
		}
		into.Rows = append(into.Rows, []cell{
			named(i.Name), named(i.Table), text("%s", size(i.Bytes)), text("%s", count(i.Scans)), i.state(), named(oneLine(i.Definition, 300)),
		})
	}
	var blocks []block
	if len(whole.Rows) > 0 {
		blocks = append(blocks, block{Table: whole})
	}
	if len(parts.Rows) > 0 {
		blocks = append(blocks, block{Fold: &fold{Summary: text("%s", plural(len(parts.Rows), "index of a partition", "indexes of partitions")), Blocks: []block{{Table: parts}}}})
	}
	return blocks
}

func (i Index) state() cell {
	switch {
	case !i.Valid:
		return judged(toneBad, "not valid")
	case i.Scans == 0 && i.Constraint:
		return cell{Text: "keeps a rule, never read"}
	case i.Constraint:
		return cell{Text: "keeps a rule"}
	case i.Scans == 0:
		return judged(toneWarning, "never read")
	default:
		return cell{Text: "read"}
	}
}

func (r *Report) partitionBlocks() []block {
	if len(r.Partitions) == 0 {
		return []block{paragraph("There are none yet.")}
	}
	t := &table{Caption: "Months of transactions", Columns: []column{
		{Name: "month"}, {Name: "partition"}, figures("rows, estimated"), figures("rows counted by daily_totals"), figures("amount"), figures("size"),
	}}
	for _, p := range r.Partitions {
		row := []cell{text("%s", p.Month.Format("2006-01")), named(p.Name), text("%s", estimate(p.Rows)), text("%s", count(p.Counted)), text("%s", grouped(p.Amount)), text("%s", size(p.Bytes))}
		if p.Name == "" {
			row[1], row[2], row[5] = judged(toneWarning, "missing"), cell{Text: "–"}, cell{Text: "–"}
		}
		t.Rows = append(t.Rows, row)
	}
	return []block{
		paragraph("Thousands as k, millions as M. An empty place has no partition, and wants none as long as no row falls into it."),
		{Table: r.calendar()},
		{Fold: &fold{Summary: text("%s", plural(len(t.Rows), "month", "months")), Blocks: []block{{Table: t}}}},
	}
}

// calendar has a row for each year and a column for each month.
func (r *Report) calendar() *table {
	t := &table{Caption: "Rows by month, as the planner estimates them", Columns: []column{{Name: "year"}}}
	for m := time.January; m <= time.December; m++ {
		t.Columns = append(t.Columns, figures(m.String()[:3]))
	}
	years := map[int][]cell{}
	for _, p := range r.Partitions {
		year := p.Month.Year()
		if years[year] == nil {
			years[year] = make([]cell, 13)
			years[year][0] = text("%d", year)
		}
		shown := cell{Text: brief(p.Rows)}
		if p.Name == "" {
			shown = judged(toneWarning, "missing")
		}
		years[year][p.Month.Month()] = shown
	}
	order := make([]int, 0, len(years))
	for year := range years {
		order = append(order, year)
	}
	slices.Sort(order)
	for _, year := range order {
		t.Rows = append(t.Rows, years[year])
	}
	return t
}

// brief writes a number of rows with two or three digits.
func brief(rows float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if rows >= unit.size*0.9995 {
			scaled := rows / unit.size
			decimals := 0
			if scaled < 9.95 {
				decimals = 1
			}
			return strconv.FormatFloat(scaled, 'f', decimals, 64) + unit.name
		}
	}
	if rows < 0 {
		return "?"
	}
	return strconv.FormatFloat(math.Round(rows), 'f', 0, 64)
}
