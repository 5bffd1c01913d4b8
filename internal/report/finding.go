package report

import (
	"cmp"
	"context"
	_ "embed"
	"slices"
	"strings"
	"text/template"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/sqlfile"
)

// findingWords has the title, cost, evidence and fix of each kind of finding, a template a line.
//
//go:embed finding.tmpl
var findingWords string

// facts are what the words of a finding are filled in with.
type facts map[string]any

// find adds a finding in the words of its kind; behind a comma the kind names one of several wordings. Each line is filled
// in by itself, so that a name with a line end in it cannot add a fix.
func (c *collector) find(kind string, s Severity, weight float64, subject string, about facts) {
	id, _, _ := strings.Cut(kind, ",")
	f := Finding{ID: id, Severity: s, Subject: subject, Weight: weight, Evidence: []string{}}
	if about == nil {
		about = facts{}
	}
	about["subject"] = subject
	for line := range strings.SplitSeq(sqlfile.Parse(findingWords)[kind], "\n") {
		part, words, _ := strings.Cut(line, ": ")
		var out strings.Builder
		t, err := template.New("").Option("missingkey=error").Funcs(Units()).Parse(words)
		if err == nil {
			err = t.Execute(&out, about)
		}
		if err != nil {
			c.skip("the words of "+kind, err.Error())
		}
		switch text := out.String(); part {
		case "title":
			f.Title = text
		case "cost":
			f.Cost = text
		case "seen":
			f.Evidence = append(f.Evidence, text)
		case "fix":
			f.Fix = strings.TrimPrefix(f.Fix+"\n"+text, "\n")
		}
	}
	c.Findings = append(c.Findings, f)
}

func (c *collector) findIf(found bool, kind string, s Severity, weight float64, subject string, about facts) {
	if found {
		c.find(kind, s, weight, subject, about)
	}
}

// findRows adds a finding for each row of a statement. Its columns are the facts, the subject and the weight among them.
func (c *collector) findRows(ctx context.Context, kind string, s Severity, what, sql string, args ...any) {
	for _, about := range query(ctx, c, what, sql, pgx.RowToMap, args...) {
		subject, _ := about["subject"].(string)
		weight, _ := about["weight"].(float64)
		c.find(kind, s, weight, subject, about)
	}
}

// sortFindings puts the most severe first.
func (c *collector) sortFindings() {
	order := []Severity{Critical, Warning, Note}
	slices.SortStableFunc(c.Findings, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(slices.Index(order, a.Severity), slices.Index(order, b.Severity)),
			cmp.Compare(b.Weight, a.Weight),
			strings.Compare(a.ID+a.Subject, b.ID+b.Subject),
		)
	})
}

// rollupTotal is the sum of a rollup.
type rollupTotal struct{ Rollup, Transactions, Amount string }

// checkTotals compares the rollups' sums. It recomputes nothing: tally verify does.
func (c *collector) checkTotals(totals []rollupTotal) {
	for _, t := range totals {
		first := totals[0]
		differ := t.Transactions != first.Transactions || t.Amount != first.Amount
		c.findIf(differ, "rollups-disagree", Critical, 110, t.Rollup, facts{"first": first, "total": t})
	}
	c.findIf(c.Empty, "nothing-loaded", Note, 1, c.Server.Database, nil)
}
