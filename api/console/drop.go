package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/jobs/ledger"
)

const (
	// DropPath takes files.
	DropPath      = "/console/drop"
	uploadLimit   = 30 * time.Minute // for one file to arrive
	checkLimit    = time.Minute      // for one check
	fileField     = "file"
	maxFormFields = 4
)

// ErrDropNotFound reports that there is no such dropped file.
var ErrDropNotFound = errors.New("no such dropped file")

// Drop takes files from browsers: they are kept, checked, and loaded as a run.
type Drop struct {
	MaxBytes int64    // of one file
	Sources  []string // the names of the configured ones
	// Save keeps the content of a file, and returns an id for it.
	Save func(ctx context.Context, name string, content io.Reader) (id string, err error)
	// Check reads a kept file as a load would, and changes nothing.
	Check func(ctx context.Context, id string, as Reading) (Checked, error)
	// Load gives a kept file to the workers, and returns its run.
	Load func(ctx context.Context, id string, as Reading, by string) (runID int64, err error)
}

// Reading is how a dropped file is to be read.
type Reading struct {
	Source                    string // a configured one; "" means none, by the settings that the file proposes
	Slash, Dash, Dot, Decimal string // what the file leaves open
}

// Checked is what a check has found.
type Checked struct {
	Name     string
	Size     int64
	Problem  string // why nothing of the file can be read; "" if it can
	Read     int64
	Valid    int64
	Rejected int64
	Exceeded bool // more rows would be rejected than the limit allows
	Faults   []CheckedFault
	Rows     []CheckedRow // the first, as they would load
	Hints    []string
	Warnings []string
	Open     []string // conventions that the file leaves open: slash, dash, dot, decimal
	Settings string   // for tally.yaml
}

// CheckedFault counts rows by a fault.
type CheckedFault struct {
	Fault, Example string
	Rows, Line     int64
}

// CheckedRow is a row as it would load.
type CheckedRow struct {
	Line, UserID        int64
	TransactionID, Date string
	Amount              money.Sum
}

// dropPage is a file that was dropped.
type dropPage struct {
	Limit   int64
	Sources []string
	ID      string
	As      Reading
	Checked Checked
}

// Conventions are those that a person has to choose, with their choices.
func (p dropPage) Conventions() []choice {
	var open []choice
	for _, name := range p.Checked.Open {
		c := choice{Name: name, Values: []string{"mdy", "dmy"}, Chosen: p.As.of(name)}
		if name == "decimal" {
			c.Values = []string{"point", "comma"}
		}
		open = append(open, c)
	}
	return open
}

type choice struct {
	Name, Chosen string
	Values       []string
}

func (a Reading) of(name string) string {
	return map[string]string{"slash": a.Slash, "dash": a.Dash, "dot": a.Dot, "decimal": a.Decimal}[name]
}

func readAs(r *http.Request) Reading {
	return Reading{text(r, "source", 200), text(r, "slash", 10), text(r, "dash", 10), text(r, "dot", 10), text(r, "decimal", 10)}
}

func (c *console) dropForm(w http.ResponseWriter, r *http.Request) error {
	p := dropPage{}
	if c.Drop != nil {
		p.Limit = c.Drop.MaxBytes
	}
	return c.show(w, r, "drop.html", "Drop a file", DropPath, p)
}

// upload streams a file to the data folder, and leads to its check.
func (c *console) upload(w http.ResponseWriter, r *http.Request) error {
	if c.Drop == nil {
		return ErrDropNotFound
	}
	connection := http.NewResponseController(w)
	until := time.Now().Add(uploadLimit) // the server's own limits are for requests of a few kilobytes
	_ = connection.SetReadDeadline(until)
	_ = connection.SetWriteDeadline(until.Add(pageLimit))
	parts, err := r.MultipartReader()
	if err != nil {
		return &invalidError{"A file is missing."}
	}
	for range maxFormFields {
		part, err := parts.NextPart()
		if err != nil {
			break
		}
		if part.FormName() != fileField || part.FileName() == "" {
			continue
		}
		id, err := c.Drop.Save(r.Context(), part.FileName(), part)
		if err != nil {
			return c.uploadError(err)
		}
		http.Redirect(w, r, DropPath+"/"+url.PathEscape(id), http.StatusSeeOther)
		return nil
	}
	return &invalidError{"A file is missing."}
}

// ErrDropTooLarge reports a file that is larger than MaxBytes, ErrDropsTooMany that too many
// were dropped and not loaded.
var (
	ErrDropTooLarge = errors.New("the file is too large to be dropped: put it into a source's folder, or use tally run")
	ErrDropsTooMany = errors.New("too many files were dropped and not loaded: wait until the oldest is removed, a day after it was dropped")
)

func (c *console) uploadError(err error) error {
	if _, cut := errors.AsType[*http.MaxBytesError](err); cut {
		err = ErrDropTooLarge
	}
	if errors.Is(err, ErrDropTooLarge) || errors.Is(err, ErrDropsTooMany) {
		return &invalidError{err.Error()}
	}
	return err
}

func (c *console) dropped(w http.ResponseWriter, r *http.Request) error {
	if c.Drop == nil || !c.Viewer(r).Operator {
		return ErrDropNotFound
	}
	p := dropPage{Limit: c.Drop.MaxBytes, Sources: c.Drop.Sources, ID: r.PathValue("id"), As: readAs(r)}
	var err error
	if p.Checked, err = c.Drop.Check(r.Context(), p.ID, p.As); err != nil {
		return err
	}
	return c.show(w, r, "dropped.html", "Check "+p.Checked.Name, DropPath, p)
}

func (c *console) loadDropped(w http.ResponseWriter, r *http.Request) error {
	if c.Drop == nil {
		return ErrDropNotFound
	}
	run, err := c.Drop.Load(r.Context(), r.PathValue("id"), readAs(r), c.Viewer(r).Name)
	if err != nil {
		return err
	}
	http.Redirect(w, r, runPath(run), http.StatusSeeOther)
	return nil
}

// dropProblem is that of a dropped file that is gone.
func dropProblem(err error) (Problem, bool) {
	if !errors.Is(err, ErrDropNotFound) {
		return Problem{}, false
	}
	return Problem{Status: http.StatusNotFound, Title: "The file is not here",
		Detail: "It was loaded already, or was removed a day after it was dropped, or only operators may see it. Drop it again."}, true
}

// Counts is those of the check: ids that come twice are found by the load.
func (c Checked) Counts() ledger.Counts {
	return ledger.Counts{Read: c.Read, Loaded: c.Valid, Rejected: c.Rejected}
}

// Summary says what a load would do.
func (c Checked) Summary() string {
	switch {
	case c.Problem != "":
		return c.Problem
	case c.Exceeded:
		return fmt.Sprintf("A load would refuse the file: %s of %s would be rejected, which is more than its limit.",
			grouped(c.Rejected), plural(c.Read, "row"))
	default:
		return fmt.Sprintf("%s of %s would load.", grouped(c.Valid), plural(c.Read, "row"))
	}
}
