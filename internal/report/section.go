package report

import (
	"fmt"
	"strings"
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

func (r *Report) verdict() verdict {
	counts := map[Severity]int{}
	for _, f := range r.Findings {
		counts[f.Severity]++
	}
	v := verdict{toneGood, "Nothing was found that needs action"}
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
