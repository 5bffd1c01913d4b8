package report

import (
	"fmt"
	"strings"
	"time"
)

// layOut says what was found in the order in which it matters: the verdict, what is
// to be mended, what will be, and after that what it was drawn from.
func layOut(r *Report) document {
	return document{
		Title: "Tally's database " + r.Server.Database, Verdict: r.verdict(), Facts: r.head(),
		Sections: []section{
			{"findings", "Findings", r.findingBlocks()},
			{"growth", "Growth", r.growthBlocks()},
			{"queries", "Queries", r.queryBlocks()},
			{"tables", "Tables", r.tableBlocks()},
			{"indexes", "Indexes", r.indexBlocks()},
			{"partitions", "Partitions", r.partitionBlocks()},
			{"settings", "Settings", r.settingBlocks()},
			{"statements", "Slow statements", r.statementBlocks()},
			{"skipped", "What was not looked at", r.skippedBlocks()},
		},
	}
}

func (r *Report) verdict() verdict {
	counts := map[Severity]int{}
	for _, f := range r.Findings {
		counts[f.Severity]++
	}
	says := verdict{toneGood, "Nothing was found that wants mending"}
	if r.Empty || len(r.Skipped) > 0 {
		says.Tone = toneNote // what was not seen may want it
	}
	var parts []string
	for _, of := range []struct {
		severity  Severity
		tone      tone
		one, many string
	}{
		{Note, toneNote, "note", "notes"}, {Warning, toneWarning, "warning", "warnings"}, {Critical, toneBad, "critical finding", "critical findings"},
	} {
		if n := counts[of.severity]; n > 0 {
			says.Tone = of.tone
			parts = append([]string{plural(n, of.one, of.many)}, parts...)
		}
	}
	if len(parts) > 0 {
		says.Text = listed(parts) + ". First: " + strings.TrimSuffix(r.Findings[0].Title, ".")
	}
	if r.Empty {
		says.Text = "Nothing was ever loaded, so plans and sizes say little. " + says.Text
	}
	says.Text += "."
	if n := len(r.Skipped); n > 0 {
		says.Text += " Not looked at: " + plural(n, "thing", "things") + "."
	}
	return says
}

// listed joins with commas and an and.
func listed(parts []string) string {
	last := len(parts) - 1
	if last == 0 {
		return parts[0]
	}
	return strings.Join(parts[:last], ", ") + " and " + parts[last]
}

func plural[N ~int | ~int64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

func (r *Report) head() []fact {
	facts := []fact{
		{"Taken", moment(r.At) + ", in " + took(seconds(r.Took))},
		{"Size", size(r.Server.Bytes)},
		{"PostgreSQL", r.Server.Version},
		{"Running since", moment(r.Server.Since)},
	}
	if since := r.Server.StatsSince; since != nil {
		facts = append(facts, fact{"Counters since", moment(*since)})
	} else {
		facts = append(facts, fact{"Counters since", "the cluster was made"})
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

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func milliseconds(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

func (s Severity) tone() tone {
	switch s {
	case Critical:
		return toneBad
	case Warning:
		return toneWarning
	default:
		return toneNote
	}
}

func (r *Report) findingBlocks() []block {
	if len(r.Findings) == 0 {
		return []block{paragraph("None.")}
	}
	blocks := []block{paragraph("The costliest first. The SQL of a fix is a proposal: Tally has executed none of it.")}
	for i, f := range r.Findings {
		shown := &remark{
			Number: i + 1, Tone: f.Severity.tone(), Severity: string(f.Severity), Title: f.Title, Evidence: f.Evidence,
			Facts: []fact{{"Kind", f.ID}},
		}
		if f.Subject != "" {
			shown.Facts = append(shown.Facts, fact{"Where", f.Subject})
		}
		if f.Cost != "" {
			shown.Facts = append(shown.Facts, fact{"What it costs", f.Cost})
		}
		if f.Fix != "" {
			shown.Fix = &code{Label: "SQL that would mend finding " + count(i+1), Language: "sql", Text: f.Fix}
		}
		blocks = append(blocks, block{Finding: shown})
	}
	return blocks
}

func (r *Report) settingBlocks() []block {
	if len(r.Settings) == 0 {
		return []block{paragraph("None were read.")}
	}
	t := &table{Caption: "Settings that matter here", Columns: []column{{Name: "setting"}, figures("value"), {Name: "set by"}}}
	for _, s := range r.Settings {
		t.Rows = append(t.Rows, []cell{named(s.Name), text("%s", s.Value), text("%s", s.Source)})
	}
	return []block{{Table: t}}
}

func (r *Report) statementBlocks() []block {
	if len(r.Statements) == 0 {
		return []block{paragraph("None are known: pg_stat_statements has none of this database, or is not there.")}
	}
	t := &table{
		Caption: "Statements that took most, by pg_stat_statements",
		Columns: []column{figures("rank"), figures("calls"), figures("in all"), figures("mean"), figures("rows"), prose("statement")},
	}
	for i, s := range r.Statements {
		t.Rows = append(t.Rows, []cell{
			text("%d", i+1), text("%s", count(s.Calls)), text("%s", took(milliseconds(s.Total))), text("%s", took(milliseconds(s.Mean))),
			text("%s", count(s.Rows)), named(oneLine(s.Text, 400)),
		})
	}
	return []block{{Table: t}}
}

// oneLine is a statement without its line ends, cut where it is longer than most.
func oneLine(sql string, most int) string {
	runes := []rune(strings.Join(strings.Fields(sql), " "))
	if len(runes) > most {
		return string(runes[:most]) + " …"
	}
	return string(runes)
}

func (r *Report) skippedBlocks() []block {
	if len(r.Skipped) == 0 {
		return []block{paragraph("Everything that this report knows of was looked at.")}
	}
	items := make([]string, len(r.Skipped))
	for i, s := range r.Skipped {
		items[i] = fmt.Sprintf("%s: %s", s.What, s.Why)
	}
	return []block{{List: items}}
}

func figures(name string) column { return column{Name: name, Figures: true} }

func prose(name string) column { return column{Name: name, Prose: true} }
