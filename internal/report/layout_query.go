package report

// judgement is what is said of a query's plan.
func (q Query) judgement() cell {
	switch {
	case q.Skipped != "":
		return judged(toneNote, "not looked at")
	case len(q.Denied) > 0:
		return judged(toneBad, "denied")
	case len(q.Expected) > 0:
		return judged(toneGood, "proven")
	default:
		return cell{Text: "not judged"}
	}
}

func (q Query) time() string {
	switch {
	case q.Skipped != "":
		return "–"
	case !q.Executed:
		return "planned alone"
	default:
		return took(milliseconds(q.Execution))
	}
}

func (q Query) pages() string {
	if q.Skipped != "" || !q.Executed {
		return "–"
	}
	return count(q.Buffers)
}

func (r *Report) queryBlocks() []block {
	if len(r.Queries) == 0 {
		return []block{paragraph("None were asked.")}
	}
	t := &table{Caption: "Tally's statements on this data", Columns: []column{
		{Name: "statement"}, {Name: "plan"}, figures("planning"), figures("execution"), figures("pages touched"), prose("who asks"),
	}}
	blocks := []block{
		paragraph("Proven: its plan on this data shows what it was held against. Denied: it does not. Not judged: nothing is expected of it. A statement that writes is planned and never executed. A page is 8 KiB."),
		{Table: t},
		paragraph("Each with its plan, which explain.dalibo.com takes as it is:"),
	}
	for _, q := range r.Queries {
		planning := "–"
		if q.Skipped == "" && q.Planning > 0 {
			planning = took(milliseconds(q.Planning))
		}
		t.Rows = append(t.Rows, []cell{named(q.Name), q.judgement(), text("%s", planning), text("%s", q.time()), text("%s", q.pages()), text("%s", q.Purpose)})
		blocks = append(blocks, block{Fold: q.fold()})
	}
	return blocks
}

func (q Query) fold() *fold {
	aside := q.judgement().Text
	if q.Skipped == "" {
		aside += ", " + q.time()
		if q.Executed {
			aside += ", " + plural(q.Buffers, "page", "pages")
		}
	}
	f := &fold{Summary: named(q.Name), Aside: aside, Open: len(q.Denied) > 0}
	if q.Purpose != "" {
		f.Blocks = append(f.Blocks, block{Text: q.Purpose})
	}
	if len(q.Denied) > 0 {
		f.Blocks = append(f.Blocks, paragraph("Does not hold:"), block{List: q.Denied})
	}
	if len(q.Expected) > 0 {
		f.Blocks = append(f.Blocks, paragraph("Its plan was held against:"), block{List: q.Expected})
	}
	if q.Skipped != "" {
		f.Blocks = append(f.Blocks, paragraph("Not looked at: %s", q.Skipped))
	}
	if q.SQL != "" {
		f.Blocks = append(f.Blocks, block{Code: &code{Label: "Statement " + q.Name, Language: "sql", Text: q.SQL}})
	}
	if q.Text != "" {
		f.Blocks = append(f.Blocks, block{Code: &code{Label: "Plan of " + q.Name, Text: q.Text}})
	}
	return f
}
