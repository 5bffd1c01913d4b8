package console

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/jobs/ledger"
)

// filePage is a file of a run.
type filePage struct {
	File        ledger.File
	Reverted    bool
	Faults      []faultCount
	Rules       string
	Conventions []convention
}

type faultCount struct {
	Fault, Link string
	Rows        int64
}

type convention struct{ Name, Choice, Origin string }

// Counts is those of the file.
func (p filePage) Counts() ledger.Counts {
	f := p.File
	return ledger.Counts{Read: f.Read, Loaded: f.Loaded, Duplicate: f.Duplicate, Conflict: f.Conflict, Rejected: f.Rejected}
}

func filePath(id int64) string { return fmt.Sprintf("/console/files/%d", id) }

func (c *console) file(w http.ResponseWriter, r *http.Request) error {
	f, err := c.Ledger.File(r.Context(), idOf(r.PathValue("id")))
	if err != nil {
		return err
	}
	reverted, err := c.Ledger.Reverted(r.Context(), f.RunID)
	if err != nil {
		return err
	}
	p := filePage{File: f, Reverted: reverted[f.ID], Rules: string(f.Rules)}
	faults := maps.Clone(f.Faults)
	if f.Conflict > 0 {
		faults[conflictWord] = f.Conflict
	}
	for _, fault := range slices.Sorted(maps.Keys(faults)) {
		p.Faults = append(p.Faults, faultCount{fault, rejectFilter{File: f.ID, Fault: fault}.path(), faults[fault]})
	}
	var held map[string]struct{ Choice, Origin string }
	if err := json.Unmarshal(f.Conventions, &held); err != nil {
		return fmt.Errorf("read the conventions of file %d: %w", f.ID, err)
	}
	for _, name := range slices.Sorted(maps.Keys(held)) {
		p.Conventions = append(p.Conventions, convention{name, held[name].Choice, held[name].Origin})
	}
	return c.show(w, r, "file.html", fmt.Sprint("File ", f.ID), "/console/nights", p)
}

// revertPage is what a revert would do.
type revertPage struct {
	File   ledger.File
	Result reject.RevertResult
	Reason string
}

// revert shows what taking a file back out would change; a second form carries it out.
func (c *console) revert(w http.ResponseWriter, r *http.Request) error {
	f, err := c.Ledger.File(r.Context(), idOf(r.PathValue("id")))
	if err != nil {
		return err
	}
	by := c.by(r)
	confirmed := r.FormValue("confirm") == "yes"
	result, err := c.Changes.Revert(r.Context(), ledger.RevertRequest{Files: []int64{f.ID}, DryRun: !confirmed, MaxRows: MaxChange, By: by})
	if err != nil {
		return err
	}
	if confirmed {
		http.Redirect(w, r, filePath(f.ID)+"?done=reverted", http.StatusSeeOther)
		return nil
	}
	return c.show(w, r, "revert.html", fmt.Sprint("Revert file ", f.ID), "/console/nights", revertPage{f, result, by.Reason})
}
