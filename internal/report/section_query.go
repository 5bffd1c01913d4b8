package report

// outcome compares a query's plan with its expectation.
func (q Query) outcome() cell {
	switch {
	case q.Skipped != "":
		return badge(toneNote, "not looked at")
	case len(q.Denied) > 0:
		return badge(toneBad, "denied")
	case len(q.Expected) > 0:
		return badge(toneGood, "proven")
	default:
		return cell{Text: "not checked"}
	}
}

func (q Query) time() string {
	switch {
	case q.Skipped != "":
		return "–"
	case !q.Executed:
		return "only planned"
	default:
		return milliseconds(q.Execution)
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
		return nil
	}
	t := newTable("Tally's statements on this data", "statement", "plan", ">planning", ">execution", ">pages touched", "~used by")
	blocks := []block{
		paragraph("Proven: its plan on this data is as expected. Denied: it is not. Not checked: nothing is expected of it. " +
			"A statement that writes is planned and never executed. A page is 8 KiB."),
		{Table: t},
		paragraph("Each with its plan, which explain.dalibo.com takes as it is:"),
	}
	for _, q := range r.Queries {
		planning := "–"
		if q.Skipped == "" && q.Planning > 0 {
			planning = milliseconds(q.Planning)
		}
		t.add(named(q.Name), q.outcome(), planning, q.time(), q.pages(), q.Purpose)
		blocks = append(blocks, block{Fold: q.fold()})
	}
	return blocks
}

func (q Query) fold() *fold {
	f := &fold{Summary: named(q.Name), Aside: q.outcome().Text, Open: len(q.Denied) > 0}
	if q.Skipped == "" {
		f.Aside += ", " + q.time()
		if q.Executed {
			f.Aside += ", " + plural(q.Buffers, "page", "pages")
		}
	}
	if q.Purpose != "" {
		f.Blocks = append(f.Blocks, block{Text: q.Purpose})
	}
	if len(q.Denied) > 0 {
		f.Blocks = append(f.Blocks, paragraph("Does not hold:"), block{List: q.Denied})
	}
	if len(q.Expected) > 0 {
		f.Blocks = append(f.Blocks, paragraph("Its plan was compared with:"), block{List: q.Expected})
	}
	if q.Skipped != "" {
		f.Blocks = append(f.Blocks, paragraph("Not looked at: %s", q.Skipped))
	}
	for _, c := range []code{{"Statement " + q.Name, "sql", q.SQL}, {"Plan of " + q.Name, "", q.Text}} {
		if c.Text != "" {
			f.Blocks = append(f.Blocks, block{Code: &c})
		}
	}
	return f
}
