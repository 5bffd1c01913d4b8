package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// layOut puts the most important first: the verdict, findings, forecasts, and then the data behind them.
func layOut(r *Report) document {
	d := document{Title: "Tally's database " + r.Server.Database, Verdict: r.verdict(), Facts: r.head()}
	for _, s := range []struct {
		id, title, none string
		blocks          func() []block
	}{
		{"findings", "Findings", "None.", r.findingBlocks},
		{"growth", "Growth", "", r.growthBlocks},
		{"queries", "Queries", "None were asked.", r.queryBlocks},
		{"tables", "Tables", "None were seen.", r.tableBlocks},
		{"indexes", "Indexes", "None were seen.", r.indexBlocks},
		{"partitions", "Partitions", "There are none yet.", r.partitionBlocks},
		{"settings", "Settings", "None were read.", r.settingBlocks},
		{"statements", "Slow statements", "None are known: pg_stat_statements has none of this database, or is not there.", r.statementBlocks},
		{"skipped", "What was not looked at", "Everything that this report knows of was looked at.", r.skippedBlocks},
	} {
		blocks := s.blocks()
		if len(blocks) == 0 {
			blocks = []block{{Text: s.none}}
		}
		d.Sections = append(d.Sections, section{s.id, s.title, blocks})
	}
	return d
}

func (r *Report) verdict() cell {
	counts := map[Severity]int{}
	for _, f := range r.Findings {
		counts[f.Severity]++
	}
	v := badge(toneGood, "Nothing was found that needs action")
	if r.Empty || len(r.Skipped) > 0 {
		v.Tone = toneNote // unseen parts may need action
	}
	var parts []string
	for _, of := range []struct {
		severity  Severity
		one, many string
	}{{Critical, "critical finding", "critical findings"}, {Warning, "warning", "warnings"}, {Note, "note", "notes"}} {
		if n := counts[of.severity]; n > 0 {
			parts = append(parts, plural(n, of.one, of.many))
		}
	}
	if last := len(parts) - 1; last >= 0 {
		first := r.Findings[0]
		v.Tone, v.Text = first.Severity.tone(), parts[last]
		if last > 0 {
			v.Text = strings.Join(parts[:last], ", ") + " and " + v.Text
		}
		v.Text += ". First: " + strings.TrimSuffix(first.Title, ".")
	}
	if r.Empty {
		v.Text = "Nothing was ever loaded, so plans and sizes say little. " + v.Text
	}
	v.Text += "."
	if n := len(r.Skipped); n > 0 {
		v.Text += " Not looked at: " + plural(n, "thing", "things") + "."
	}
	return v
}

func (r *Report) head() []fact {
	counters := "the cluster was made"
	if since := r.Server.StatsSince; since != nil {
		counters = moment(*since)
	}
	facts := []fact{
		{"Taken", moment(r.At) + ", in " + took(seconds(r.Took))}, {"Size", size(r.Server.Bytes)}, {"PostgreSQL", r.Server.Version},
		{"Running since", moment(r.Server.Since)}, {"Counters since", counters},
	}
	if r.Server.Replica {
		facts = append(facts, fact{"Role", "a replica, read only"})
	}
	if m := r.Machine; m != (Machine{}) {
		facts = append(facts, fact{"Machine", m.text()})
	}
	return append(facts, fact{"Tally", r.Version})
}

func (m Machine) text() string {
	var parts []string
	if m.CPUs > 0 {
		parts = append(parts, plural(m.CPUs, "CPU", "CPUs"))
	}
	if m.Memory > 0 {
		parts = append(parts, size(m.Memory)+" of memory")
	}
	if m.FreeDisk > 0 {
		parts = append(parts, size(m.FreeDisk)+" of disk free")
	}
	return strings.Join(parts, ", ")
}

func (s Severity) tone() tone {
	if s == Critical {
		return toneBad
	}
	return tone(s)
}

func (r *Report) findingBlocks() (blocks []block) {
	for i, f := range r.Findings {
		if i == 0 {
			blocks = append(blocks, paragraph("The costliest first. The SQL of a fix is a proposal: Tally has executed none of it."))
		}
		blocks = append(blocks, block{Finding: &remark{f, i + 1}})
	}
	return blocks
}

func (r *Report) settingBlocks() []block {
	t := newTable("Settings that matter here", "setting", ">value", "set by")
	for _, s := range r.Settings {
		t.add(named(s.Name), s.Value, s.Source)
	}
	return t.blocks()
}

func (r *Report) statementBlocks() []block {
	t := newTable("Statements that took most, by pg_stat_statements", ">rank", ">calls", ">in all", ">mean", ">rows", "~statement")
	for i, s := range r.Statements {
		t.add(count(i+1), count(s.Calls), milliseconds(s.Total), milliseconds(s.Mean), count(s.Rows), named(oneLine(s.Text, 400)))
	}
	return t.blocks()
}

// oneLine returns a statement without its line ends, shortened to at most some characters.
func oneLine(sql string, maxRunes int) string {
	runes := []rune(strings.Join(strings.Fields(sql), " "))
	if len(runes) > maxRunes {
		return string(runes[:maxRunes]) + " …"
	}
	return string(runes)
}

func (r *Report) skippedBlocks() (blocks []block) {
	var items []string
	for _, s := range r.Skipped {
		items = append(items, fmt.Sprintf("%s: %s", s.What, s.Why))
	}
	if len(items) > 0 {
		blocks = append(blocks, block{List: items})
	}
	return blocks
}

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
