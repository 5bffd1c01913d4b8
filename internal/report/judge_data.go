package report

import "fmt"

// rollupTotal is what a rollup adds up to.
type rollupTotal struct {
	Rollup       string `db:"rollup"`
	Transactions string `db:"transactions"`
	Amount       string `db:"amount"`
}

// failedRun is a night that failed for good.
type failedRun struct {
	ID    int64  `db:"id"`
	Date  string `db:"date"`
	Error string `db:"error"`
}

// judgeData looks for what the rollups and the ledger say themselves. It is no
// recomputation, which tally verify is.
func (g *gathering) judgeData() {
	for i, t := range g.totals {
		first := g.totals[0]
		if i > 0 && (t.Transactions != first.Transactions || t.Amount != first.Amount) {
			g.find(Finding{
				ID: "rollups-disagree", Severity: Critical, Subject: t.Rollup, Weight: 110,
				Title: fmt.Sprintf("%s and %s do not add up to the same", t.Rollup, first.Rollup),
				Cost:  "answers of the API contradict each other, so at least one is wrong",
				Evidence: []string{
					fmt.Sprintf("%s: %s transactions, %s in all", first.Rollup, first.Transactions, first.Amount),
					fmt.Sprintf("%s: %s transactions, %s in all", t.Rollup, t.Transactions, t.Amount),
				},
				Fix: "-- on a shell, to see which keys: tally verify",
			})
		}
	}
	for _, run := range g.schedule {
		g.find(Finding{
			ID: "failed-run", Severity: Warning, Subject: fmt.Sprintf("run %d", run.ID), Weight: 60,
			Title: "The night of " + run.Date + " failed", Cost: "what its files hold is not loaded",
			Evidence: []string{run.Error}, Fix: "-- after mending the cause, on a shell: tally run --date " + run.Date,
		})
	}
	if g.Empty {
		g.find(Finding{
			ID: "nothing-loaded", Severity: Note, Subject: g.Server.Database, Weight: 1, Title: "Nothing has been loaded yet",
			Cost: "none; plans and sizes of an empty database say little", Evidence: []string{"etl_files has no loaded file"},
			Fix: "-- on a shell: tally run FILE.csv, or tally up --sample",
		})
	}
}
