package transform

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/opentax/tally/internal/civil"
)

// DateOrder is how the parts of a date that ends in its year are read.
type DateOrder string

// The two orders. A source's empty order is its separator's default.
const (
	MonthFirst DateOrder = "mdy"
	DayFirst   DateOrder = "dmy"
)

// Values of Rules.Decimal and Rules.Corrections.
const (
	DecimalPoint       = "point"
	DecimalComma       = "comma"
	CorrectionsKeep    = "keep"
	CorrectionsReplace = "replace"
)

// Rules are a source's settings for reading its files. The zero value stands
// for the defaults, which WithDefaults writes out.
type Rules struct {
	Slash DateOrder `json:"slash,omitempty" yaml:"slash,omitempty"` // order of 1/2/2024; default mdy
	Dash  DateOrder `json:"dash,omitempty" yaml:"dash,omitempty"`   // order of 1-2-2024; default dmy
	Dot   DateOrder `json:"dot,omitempty" yaml:"dot,omitempty"`     // order of 1.2.2024; by default such a date is invalid

	// Decimal says which sign starts the decimals: "point" (commas part
	// thousands), "comma" (points do), or "": a point, and an amount such as
	// 1,234 is ambiguous.
	Decimal string `json:"decimal,omitempty" yaml:"decimal,omitempty"`

	From string `json:"from,omitempty" yaml:"from,omitempty"` // first date allowed, YYYY-MM-DD; default 1900-01-01
	To   string `json:"to,omitempty" yaml:"to,omitempty"`     // last date allowed, YYYY-MM-DD; default 2099-12-31

	// RejectLimit is a share of the rows read ("50%", the default) or a count
	// ("1000"); with more rejected rows than that the file fails.
	RejectLimit string `json:"reject_limit,omitempty" yaml:"reject_limit,omitempty"`

	// Corrections says what becomes of a row whose id is stored with other
	// values: "keep" (default) keeps the stored row, "replace" takes the new one.
	Corrections string `json:"corrections,omitempty" yaml:"corrections,omitempty"`
}

// WithDefaults is the same rules with every default written out. Dot and
// Decimal keep "", which is a choice of its own.
func (r Rules) WithDefaults() Rules {
	r.Slash = DateOrder(or(string(r.Slash), string(MonthFirst)))
	r.Dash = DateOrder(or(string(r.Dash), string(DayFirst)))
	r.From = or(r.From, "1900-01-01")
	r.To = or(r.To, "2099-12-31")
	r.RejectLimit = or(r.RejectLimit, "50%")
	r.Corrections = or(r.Corrections, CorrectionsKeep)
	return r
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// Check reports whether the rules make sense; the error names the first field
// that does not, as it is spelled in a settings file.
func (r Rules) Check() error {
	_, err := r.compile()
	return err
}

// Exceeded reports whether that many rejected rows of those read are past the
// reject limit. A limit that Check refuses counts as exceeded.
func (r Rules) Exceeded(rejected, read int64) bool {
	limit, err := parseLimit(r.WithDefaults().RejectLimit)
	return err != nil || limit.exceeded(rejected, read)
}

// conventions is Rules made ready for reading rows.
type conventions struct {
	orders       [len(dateSeparators)]DateOrder // "" where dates with the separator are invalid
	contradicted Separators                     // whose ambiguous dates are faults
	decimal      string
	from, to     civil.Date
}

const dateSeparators = "/-."

// Separators is a set of the bytes between the parts of a date.
type Separators uint8

// Has reports whether sep is in the set.
func (s Separators) Has(sep byte) bool { return s>>separatorIndex(sep)&1 != 0 }

// String is the separators one after the other.
func (s Separators) String() string {
	text := ""
	for i, sep := range dateSeparators {
		if s>>i&1 != 0 {
			text += string(sep)
		}
	}
	return text
}

// separatorIndex is the place of a separator in dateSeparators, or past it.
func separatorIndex(sep byte) int {
	switch sep {
	case '/':
		return 0
	case '-':
		return 1
	case '.':
		return 2
	default:
		return len(dateSeparators)
	}
}

func (r Rules) compile() (conventions, error) {
	r = r.WithDefaults()
	c := conventions{orders: [...]DateOrder{r.Slash, r.Dash, r.Dot}, decimal: r.Decimal}
	for i, field := range []string{"slash", "dash", "dot"} {
		if o := c.orders[i]; o != MonthFirst && o != DayFirst && (field != "dot" || o != "") {
			return c, fmt.Errorf("rules: %s is %q, want %q or %q", field, o, MonthFirst, DayFirst)
		}
	}
	if d := r.Decimal; d != "" && d != DecimalPoint && d != DecimalComma {
		return c, fmt.Errorf("rules: decimal is %q, want %q or %q", d, DecimalPoint, DecimalComma)
	}
	if v := r.Corrections; v != CorrectionsKeep && v != CorrectionsReplace {
		return c, fmt.Errorf("rules: corrections is %q, want %q or %q", v, CorrectionsKeep, CorrectionsReplace)
	}
	var err error
	if c.from, err = windowDate("from", r.From); err != nil {
		return c, err
	}
	if c.to, err = windowDate("to", r.To); err != nil {
		return c, err
	}
	if c.from > c.to {
		return c, fmt.Errorf("rules: from %s is after to %s", r.From, r.To)
	}
	if _, err = parseLimit(r.RejectLimit); err != nil {
		return c, fmt.Errorf("rules: reject_limit: %w", err)
	}
	return c, nil
}

func windowDate(field, s string) (civil.Date, error) {
	d, err := civil.Parse(s)
	if err != nil {
		return 0, fmt.Errorf("rules: %s: %w", field, err)
	}
	return d, nil
}

// limit is a parsed reject limit: a count, or a share in ten-thousandths.
type limit struct {
	share bool
	n     int64
}

func parseLimit(s string) (limit, error) {
	text, share := strings.CutSuffix(s, "%")
	if !share {
		n, err := strconv.ParseUint(text, 10, 63)
		if err != nil {
			return limit{}, fmt.Errorf("%q is neither a count nor a share such as 50%%", s)
		}
		return limit{n: int64(n)}, nil
	}
	whole, fraction, _ := strings.Cut(text, ".")
	n, err := strconv.ParseUint(whole+(fraction + "00")[:2], 10, 16)
	if err != nil || len(fraction) > 2 || strings.HasSuffix(text, ".") || whole == "" || n > 100_00 {
		return limit{}, fmt.Errorf("%q is no share from 0%% to 100%% with at most two decimals", s)
	}
	return limit{share: true, n: int64(n)}, nil
}

// exceeded is exact: the products are compared in 128 bits.
func (l limit) exceeded(rejected, read int64) bool {
	if !l.share {
		return rejected > l.n
	}
	hi1, lo1 := bits.Mul64(uint64(max(rejected, 0)), 100_00)
	hi2, lo2 := bits.Mul64(uint64(max(read, 0)), uint64(l.n))
	return hi1 > hi2 || hi1 == hi2 && lo1 > lo2
}
