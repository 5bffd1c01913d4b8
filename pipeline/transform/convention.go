package transform

import (
	"fmt"
	"strings"
)

// Convention is a way of writing values that a value alone may not show: 1/2/2024 is the
// first of February or the second of January, 1.250 is 1250 or 1.25.
type Convention uint8

// The conventions, named as the settings that choose between their two readings.
const (
	Slash   Convention = iota // order of day and month in 1/2/2024
	Dash                      // in 1-2-2024
	Dot                       // in 1.2.2024
	Decimal                   // decimal sign
)

const conventionCount = int(Decimal) + 1

// String is the name of the setting.
func (c Convention) String() string { return [...]string{"slash", "dash", "dot", "decimal"}[c] }

// Choice is one of a convention's two readings. The zero value is neither.
type Choice uint8

// The choices.
const (
	Unknown      Choice = iota
	MonthFirst          // of a date
	DayFirst            // of a date
	DecimalPoint = MonthFirst
	DecimalComma = DayFirst
)

// other is the choice that contradicts a known one.
func (ch Choice) other() Choice { return 3 - ch }

// Name is the value of the convention's setting that stands for a choice; "" if unknown.
func (c Convention) Name(ch Choice) string {
	if c == Decimal {
		return [...]string{"", "point", "comma"}[ch]
	}
	return [...]string{"", "mdy", "dmy"}[ch]
}

// Choice is the choice that a value of the convention's setting stands for.
func (c Convention) Choice(value string) (Choice, error) {
	for ch := Unknown; ch <= DayFirst; ch++ {
		if c.Name(ch) == value {
			return ch, nil
		}
	}
	return Unknown, fmt.Errorf("%s is %q, want %q or %q", c, value, c.Name(MonthFirst), c.Name(DayFirst))
}

// shows is what a value tells of a convention.
type shows uint8

const (
	showsNothing shows = iota // it does not depend on the convention
	showsFirst                // only MonthFirst reads it so
	showsSecond               // only DayFirst
	showsAlike                // both read it alike, such as 6/6/2024
	showsEither               // each reads another value
)

// Seen counts values of one kind.
type Seen struct {
	Cells   int64  `json:"cells"`
	Line    int64  `json:"line"`    // of the first
	Example string `json:"example"` // the first
}

func (s *Seen) note(line int64, cell []byte) {
	if s.Cells++; s.Cells == 1 {
		s.Line, s.Example = line, excerpt(cell)
	}
}

// add adds what a later part of the file has.
func (s *Seen) add(later Seen) {
	if s.Cells == 0 {
		s.Line, s.Example = later.Line, later.Example
	}
	s.Cells += later.Cells
}

// Counts are the values that tell something of a convention.
type Counts struct {
	First     Seen `json:"first"`     // values of month first, or of a decimal point
	Second    Seen `json:"second"`    // values of day first, or of a decimal comma
	Alike     Seen `json:"alike"`     // values that are the same in both readings
	Ambiguous Seen `json:"ambiguous"` // values that are not, and need the convention
}

// Proves is the choice that all unambiguous values agree on; Unknown if there are none.
// Values of both kinds are a contradiction.
func (n Counts) Proves() (ch Choice, contradiction bool) {
	return agreed(n.First.Cells > 0, n.Second.Cells > 0)
}

// agreed is the only choice for which there are proofs.
func agreed(first, second bool) (ch Choice, contradiction bool) {
	switch {
	case first == second:
		return Unknown, first
	case first:
		return MonthFirst, false
	default:
		return DayFirst, false
	}
}

// of is where values that show something are counted. Those for a choice show its number.
func (n *Counts) of(what shows) *Seen {
	return [...]*Seen{showsFirst: &n.First, showsSecond: &n.Second, showsAlike: &n.Alike, showsEither: &n.Ambiguous}[what]
}

// Evidence counts the values of a file that tell something of its conventions. It does not
// depend on the conventions by which the file was read.
type Evidence [conventionCount]Counts

func (e *Evidence) note(c Convention, what shows, line int64, cell []byte) {
	if what != showsNothing {
		e[c].of(what).note(line, cell)
	}
}

// add adds what a later part of the file tells.
func (e *Evidence) add(later *Evidence) {
	for c := range e {
		for what := showsFirst; what <= showsEither; what++ {
			e[c].of(what).add(*later[c].of(what))
		}
	}
}

// Plus is what both tell.
func (e Evidence) Plus(later *Evidence) Evidence {
	e.add(later)
	return e
}

// Proof is a value of a loaded file that can be read in one way only.
type Proof struct {
	FileID int64 // in etl_files; 0: there is none
	Path   string
	Line   int64
}

// Learned has a proof for each convention and choice that a loaded file of a source has
// proven.
type Learned [conventionCount][DayFirst + 1]Proof

// proves is the choice on which a source's files agree.
func (l *Learned) proves(c Convention) (ch Choice, contradiction bool) {
	return agreed(l[c][MonthFirst].FileID != 0, l[c][DayFirst].FileID != 0)
}

// Origin says where a convention comes from.
type Origin string

// The origins, in the order in which they count.
const (
	FromSettings Origin = "settings"
	FromFile     Origin = "file"
	FromEarlier  Origin = "earlier" // files that the source has loaded
	FromNowhere  Origin = ""        // it is not known
	Assumed      Origin = "assumed" // for a first reading, until the file has shown what it proves
	Contradicted Origin = "contradicted"
)

// Decision is a convention as it holds for a file.
type Decision struct {
	Choice Choice
	Origin Origin
	Why    string // what contradicts what, if Contradicted
}

// Conventions are those that hold for a file.
type Conventions [conventionCount]Decision

// Names are the choices of the known ones, by the names of settings.
func (all Conventions) Names() map[string]string {
	names := map[string]string{}
	for c, decision := range all {
		if decision.Choice != Unknown {
			names[Convention(c).String()] = Convention(c).Name(decision.Choice)
		}
	}
	return names
}

// Named are the conventions with those names; see [Conventions.Names].
func Named(names map[string]string) (all Conventions, err error) {
	for c := range all {
		if all[c].Choice, err = Convention(c).Choice(names[Convention(c).String()]); err != nil {
			return all, err
		}
	}
	return all, nil
}

// Assume is how a file is read for the first time: by the settings, what is learned, or
// the choice that most files have. [Resolve] says what holds in the end.
func (r Rules) Assume(learned *Learned) (all Conventions) {
	usual := [...]Choice{Slash: MonthFirst, Dash: DayFirst, Dot: DayFirst, Decimal: DecimalPoint}
	all = r.Resolve(learned, &Evidence{})
	for c := range all {
		if all[c].Origin == FromNowhere {
			all[c] = Decision{Choice: usual[c], Origin: Assumed}
		}
	}
	return all
}

// Resolve says which conventions hold for a file. A setting holds unless the file
// contradicts it (and holds then, too, if the rules are trusted). Without a setting the
// file's own values and the source's loaded files must not contradict each other.
func (r Rules) Resolve(learned *Learned, evidence *Evidence) (all Conventions) {
	for i := range all {
		all[i] = r.resolve(Convention(i), learned, &evidence[i])
	}
	return all
}

func (r Rules) resolve(c Convention, learned *Learned, own *Counts) Decision {
	set, _ := c.Choice(r.setting(c)) // the rules were checked
	shown, mixed := own.Proves()
	earlier, unsettled := learned.proves(c)
	contradicted := func(format string, args ...any) Decision {
		return Decision{Origin: Contradicted, Why: fmt.Sprintf(format, args...)}
	}
	switch {
	case set != Unknown && (r.Trust || own.of(shows(set.other())).Cells == 0):
		return Decision{Choice: set, Origin: FromSettings}
	case set != Unknown:
		against := own.of(shows(set.other()))
		return contradicted("the settings say %s, and line %d has %q (tally run --trust-rules applies the settings all the same)", c.Name(set), against.Line, against.Example)
	case mixed:
		return contradicted("line %d has %q, and line %d has %q", own.First.Line, own.First.Example, own.Second.Line, own.Second.Example)
	case unsettled:
		first, second := learned[c][MonthFirst], learned[c][DayFirst]
		return contradicted("%s proves %s (line %d), and %s proves %s (line %d)",
			bare(first.Path), c.Name(MonthFirst), first.Line, bare(second.Path), c.Name(DayFirst), second.Line)
	case shown != Unknown && earlier == shown.other():
		proof, against := learned[c][earlier], own.of(shows(shown))
		return contradicted("%s proves %s (line %d), and line %d has %q", bare(proof.Path), c.Name(earlier), proof.Line, against.Line, against.Example)
	case shown != Unknown:
		return Decision{Choice: shown, Origin: FromFile}
	case earlier != Unknown:
		return Decision{Choice: earlier, Origin: FromEarlier}
	default:
		return Decision{}
	}
}

// setting is the value of a convention's setting.
func (r Rules) setting(c Convention) string {
	return [...]string{r.Slash, r.Dash, r.Dot, r.Decimal}[c]
}

// ReadsAlike reports whether a file with such evidence is read alike under other
// conventions: its ambiguous values are what depends on them.
func (e *Evidence) ReadsAlike(a, b Conventions) bool {
	for c := range e {
		if e[c].Ambiguous.Cells > 0 && a[c].Choice != b[c].Choice {
			return false
		}
	}
	return true
}

// excerpt is the start of a cell, for a message.
func excerpt(cell []byte) string { return strings.ToValidUTF8(clip(cell), "\uFFFD") }

// clip is the start of a row or a cell, with the bytes that it has.
func clip(raw []byte) string {
	if len(raw) <= exampleLength {
		return string(raw)
	}
	return strings.ToValidUTF8(string(raw[:exampleLength]), "") + "…"
}
