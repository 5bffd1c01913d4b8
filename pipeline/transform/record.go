package transform

import (
	"fmt"
	"iter"
)

// Version counts the changes of how a value is read. Content that an earlier one read is
// read again.
const Version = 2

// ConventionRecord is how a file was read, for the ledger: by the convention's name.
type ConventionRecord map[string]RecordedConvention

// RecordedConvention is what held for a file, and what its values show.
type RecordedConvention struct {
	Choice string `json:"choice"` // "": none held
	Origin Origin `json:"origin"`
	Counts
}

// Record records the conventions of which a file shows something.
func (e *Evidence) Record(held Conventions) ConventionRecord {
	record := ConventionRecord{}
	for i, counts := range e {
		if c := Convention(i); counts != (Counts{}) {
			record[c.String()] = RecordedConvention{c.Name(held[i].Choice), held[i].Origin, counts}
		}
	}
	return record
}

// Load is what was recorded.
func (r ConventionRecord) Load() (held Conventions, e Evidence) {
	for i := range e {
		c := Convention(i)
		recorded := r[c.String()]
		choice, _ := c.Choice(recorded.Choice) // what is not known by now is none
		held[i], e[i] = Decision{Choice: choice, Origin: recorded.Origin}, recorded.Counts
	}
	return held, e
}

// Proofs are the conventions that all unambiguous values of the file agree on, with the
// line of the first.
func (e *Evidence) Proofs() iter.Seq2[Proven, int64] {
	return func(yield func(Proven, int64) bool) {
		for i := range e {
			choice, _ := e[i].Proves()
			if choice != Unknown && !yield(Proven{Convention(i), choice}, e[i].of(shows(choice)).Line) {
				return
			}
		}
	}
}

// Proven is a convention and its choice.
type Proven struct {
	Convention Convention
	Choice     Choice
}

// Name is the choice's name.
func (p Proven) Name() string { return p.Convention.Name(p.Choice) }

// Add adds a proof by the names of convention and choice.
func (l *Learned) Add(convention, value string, proof Proof) error {
	for i := range l {
		if c := Convention(i); c.String() == convention {
			choice, err := c.Choice(value)
			l[i][choice] = proof
			return err
		}
	}
	return fmt.Errorf("there is no convention %q", convention)
}

// Unsettled are the conventions of which a source's files have proven both choices, and
// which the settings leave open, by the values that the ledger has of each.
func (r Rules) Unsettled(proven map[string][]string) []Convention {
	var unsettled []Convention
	for i := range conventionCount {
		if c := Convention(i); len(proven[c.String()]) > 1 && r.setting(c) == "" {
			unsettled = append(unsettled, c)
		}
	}
	return unsettled
}
