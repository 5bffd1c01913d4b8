package report

import (
	_ "embed"
	"io"
	"maps"
	"slices"
	"strings"
	"text/template"
	"time"
)

//go:embed layout.tmpl
var layoutTemplate string

// layOut executes the layout. Its functions add to the document; what the template prints is dropped.
func layOut(r *Report) (document, error) {
	d := &document{Title: "Tally's database " + r.Server.Database, Verdict: r.verdict()}
	t, err := template.New("").Funcs(Units()).Funcs(template.FuncMap{
		"fact": d.fact, "section": d.section, "item": d.item, "row": d.row, "fold": d.fold,
		"text":    func(text string) string { return d.add(block{Text: text}) },
		"finding": func(i int, f Finding) string { return d.add(block{Finding: &remark{f, i + 1}}) },
		"plan":    func(q Query) string { return d.add(block{Fold: q.fold()}) },
		"table": func(caption string, columns ...string) string {
			return d.add(block{Table: newTable(caption, columns...)})
		},
		"growth":   func() string { return d.add(r.growth()...) },
		"calendar": func() string { return d.add(block{Table: r.calendar()}) },
		"machine":  Machine.text, "rung": Server.rung, "state": Index.state, "hot": Table.hot, "hits": Table.hits, "summed": r.summed,
		"outcome": Query.outcome, "planning": Query.planning, "execution": Query.time, "pages": Query.pages, "named": named,
		"missing": func() cell { return badge(toneWarning, "missing") },
		"code":    func(sql string, maxRunes int) cell { return named(oneLine(sql, maxRunes)) },
	}).Parse(layoutTemplate)
	if err == nil {
		err = t.Execute(io.Discard, r)
	}
	for i, s := range d.Sections {
		d.Sections[i].Blocks = slices.DeleteFunc(s.Blocks, func(b block) bool {
			return b.Table != nil && len(b.Table.Rows) == 0
		})
	}
	return *d, err
}

func (d *document) fact(name, value string) string {
	d.Facts = append(d.Facts, fact{name, value})
	return ""
}

// section begins a section with the text that it has if nothing is added.
func (d *document) section(id, title, none string) string {
	d.Sections = append(d.Sections, section{ID: id, Title: title, None: none})
	return ""
}

func (d *document) add(blocks ...block) string {
	s := &d.Sections[len(d.Sections)-1]
	s.Blocks = append(s.Blocks, blocks...)
	return ""
}

// last returns the section's newest block.
func (d *document) last() *block {
	s := d.Sections[len(d.Sections)-1]
	return &s.Blocks[len(s.Blocks)-1]
}

// item adds to the section's list.
func (d *document) item(text string) string {
	if s := d.Sections[len(d.Sections)-1]; len(s.Blocks) == 0 {
		d.add(block{})
	}
	d.last().List = append(d.last().List, text)
	return ""
}

func (d *document) row(cells ...any) string {
	d.last().Table.add(cells...)
	return ""
}

// fold hides the last table, if it has rows, behind their number.
func (d *document) fold(one, many string) string {
	if b := d.last(); len(b.Table.Rows) > 0 {
		*b = block{Fold: &fold{Summary: cell{Text: plural(len(b.Table.Rows), one, many)}, Blocks: []block{*b}}}
	}
	return ""
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

// oneLine returns a statement without its line ends, shortened to at most some characters.
func oneLine(sql string, maxRunes int) string {
	runes := []rune(strings.Join(strings.Fields(sql), " "))
	if len(runes) > maxRunes {
		return string(runes[:maxRunes]) + " …"
	}
	return string(runes)
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

func (t Table) hot() string { return share(float64(t.HotUpdates) / float64(t.Updates)) }

func (t Table) hits() string {
	hit := t.HeapHit + t.IndexHit
	return share(float64(hit) / float64(hit+t.HeapRead+t.IndexRead))
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
