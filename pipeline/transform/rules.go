package transform

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strings"
	"time"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/pipeline/extract"
)

// Values of Rules.Corrections.
const (
	CorrectionsKeep    = "keep"
	CorrectionsReplace = "replace"
)

// MaxAmount is the widest max_amount, and its default. All outputs have such an amount in
// full: a float with two decimals (JSON) and DECIMAL(18,4) (Parquet).
const MaxAmount = 9_999_999_999_999

// Rules are a source's settings for reading its files; zero values are the defaults.
type Rules struct {
	extract.Dialect `yaml:",inline"`

	Columns Columns `json:"columns,omitzero" yaml:"columns,omitempty"`

	// The conventions: "" where the files themselves have to show them.
	Slash   string `json:"slash,omitempty" yaml:"slash,omitempty"`     // order of 1/2/2024: mdy or dmy
	Dash    string `json:"dash,omitempty" yaml:"dash,omitempty"`       // order of 1-2-2024
	Dot     string `json:"dot,omitempty" yaml:"dot,omitempty"`         // order of 1.2.2024
	Decimal string `json:"decimal,omitempty" yaml:"decimal,omitempty"` // point or comma
	// Trust applies the conventions of the settings also where the file contradicts them.
	Trust bool `json:"trust_rules,omitempty" yaml:"-"`

	// TwoDigitYears is the first year of the hundred of dates such as 23.11.99; 0: rejected.
	TwoDigitYears int `json:"two_digit_years,omitempty" yaml:"two_digit_years,omitempty"`
	// TimeZone is the IANA name of the zone for times with an offset; "": the date as written.
	TimeZone string `json:"time_zone,omitempty" yaml:"time_zone,omitempty"`
	// Currency is the one of the database, as ISO 4217 has it; "": the first that is loaded.
	Currency string `json:"currency,omitempty" yaml:"-"`

	From string `json:"from,omitempty" yaml:"from,omitempty"` // first date allowed, YYYY-MM-DD; default 1900-01-01
	To   string `json:"to,omitempty" yaml:"to,omitempty"`     // last date allowed, YYYY-MM-DD; default a year after the logical date

	// MaxAmount is the largest amount of either sign, in whole units of the currency; 0: [MaxAmount].
	MaxAmount int64 `json:"max_amount,omitempty" yaml:"max_amount,omitempty"`

	// NewMonths is how many months that are new in the database a file may have with fewer
	// than a hundred rows each; 0: 36.
	NewMonths int `json:"new_months,omitempty" yaml:"new_months,omitempty"`

	// RejectLimit is a share of the rows ("50%", the default) or a count ("1000") that may
	// be rejected before the file fails.
	RejectLimit string `json:"reject_limit,omitempty" yaml:"reject_limit,omitempty"`

	// Corrections says which row stays if an id has other values: "keep" (default) the
	// stored one, "replace" the new one.
	Corrections string `json:"corrections,omitempty" yaml:"corrections,omitempty"`
}

// WithDefaults writes out the defaults that do not depend on a file or a date.
func (r Rules) WithDefaults() Rules {
	r.From = cmp.Or(r.From, "1900-01-01")
	r.MaxAmount = cmp.Or(r.MaxAmount, MaxAmount)
	r.NewMonths = cmp.Or(r.NewMonths, 36)
	r.RejectLimit = cmp.Or(r.RejectLimit, "50%")
	r.Corrections = cmp.Or(r.Corrections, CorrectionsKeep)
	return r
}

// Check reports the first field that makes no sense, by its name in a settings file.
func (r Rules) Check() error {
	_, err := r.compile(civil.Max)
	return err
}

// Exceeded reports whether the rejected rows are past the reject limit, or that is invalid.
func (r Rules) Exceeded(rejected, read int64) bool { return rejected > r.MaxRejected(read) }

// MaxRejected is how many of the rows read may be rejected; -1 if the limit is invalid.
func (r Rules) MaxRejected(read int64) int64 {
	most, err := allowed(r.WithDefaults().RejectLimit, read)
	if err != nil {
		return -1
	}
	whole := new(big.Int).Quo(most.Num(), most.Denom())
	if !whole.IsInt64() {
		return math.MaxInt64
	}
	return whole.Int64()
}

// compiled is Rules made ready for reading rows.
type compiled struct {
	encoding      string // of the settings
	amount        amountKind
	signs         map[string]bool // whether a marker, in capitals, makes an amount negative
	century       int             // first year of two-digit years; 0: none
	zone          *time.Location
	from, to      civil.Date
	maxUnscaled   [money.MaxDecimals + 1]int64 // max_amount for each number of decimals
	defaultWindow bool                         // to is not of the settings
}

// compile makes the rules ready for a file of a logical date.
func (r Rules) compile(logical civil.Date) (c compiled, err error) {
	r = r.WithDefaults()
	c.encoding = r.Encoding
	if err := r.Dialect.Check(); err != nil {
		return c, fmt.Errorf("rules: %w", err)
	}
	if err := r.Columns.check(r.Header == extract.HeaderNone); err != nil {
		return c, fmt.Errorf("rules: columns: %w", err)
	}
	c.amount, c.signs = r.Columns.Amount.kind(), r.Columns.Amount.signs()
	for i := range conventionCount {
		if _, err := Convention(i).Choice(r.setting(Convention(i))); err != nil {
			return c, fmt.Errorf("rules: %w", err)
		}
	}
	if v := r.Corrections; v != CorrectionsKeep && v != CorrectionsReplace {
		return c, fmt.Errorf("rules: corrections is %q, want %q or %q", v, CorrectionsKeep, CorrectionsReplace)
	}
	if c.century = r.TwoDigitYears; c.century != 0 && (c.century < 1800 || c.century > 2100) {
		return c, fmt.Errorf("rules: two_digit_years is %d, want the first year of a hundred, such as 1970", c.century)
	}
	if r.TimeZone != "" {
		if c.zone, err = time.LoadLocation(r.TimeZone); err != nil {
			return c, fmt.Errorf("rules: time_zone: %w", err)
		}
		if c.zone == time.Local {
			return c, errors.New("rules: time_zone is Local, want a name that is the same everywhere, such as Europe/Berlin")
		}
	}
	if r.Currency != "" && (!isCode(r.Currency) || strings.ToUpper(r.Currency) != r.Currency) {
		return c, fmt.Errorf("rules: currency is %q, want a code such as EUR", r.Currency)
	}
	if r.MaxAmount < 1 || r.MaxAmount > MaxAmount {
		return c, fmt.Errorf("rules: max_amount is %d, want 1 to %d, the largest amount that every output can have", r.MaxAmount, MaxAmount)
	}
	if r.NewMonths < 1 {
		return c, fmt.Errorf("rules: new_months is %d, want at least 1", r.NewMonths)
	}
	for i, unscaled := 0, r.MaxAmount; i < len(c.maxUnscaled); i, unscaled = i+1, 10*unscaled {
		c.maxUnscaled[i] = unscaled
	}
	if c.from, err = windowDate("from", r.From); err != nil {
		return c, err
	}
	if c.defaultWindow = r.To == ""; c.defaultWindow {
		c.to = yearAfter(logical)
	} else if c.to, err = windowDate("to", r.To); err != nil {
		return c, err
	}
	if c.from > c.to {
		return c, fmt.Errorf("rules: from %s is after to %s", c.from, c.to)
	}
	if _, err = allowed(r.RejectLimit, 0); err != nil {
		return c, fmt.Errorf("rules: reject_limit: %w", err)
	}
	return c, nil
}

// yearAfter is the last date that a file of a logical date has by default.
func yearAfter(d civil.Date) civil.Date {
	if d == 0 {
		return civil.Max
	}
	return min(civil.Of(d.Time().AddDate(1, 0, 0)), civil.Max)
}

func windowDate(field, s string) (civil.Date, error) {
	d, err := civil.Parse(s)
	if err != nil {
		return 0, fmt.Errorf("rules: %s: %w", field, err)
	}
	return d, nil
}

var limitForm = regexp.MustCompile(`^[0-9]+((\.[0-9]{1,2})?%)?$`)

// allowed is how many of the rows read may be rejected under a limit.
func allowed(limit string, read int64) (*big.Rat, error) {
	text, share := strings.CutSuffix(limit, "%")
	n, ok := new(big.Rat).SetString(text)
	if !ok || !limitForm.MatchString(limit) || share && n.Cmp(big.NewRat(100, 1)) > 0 {
		return nil, fmt.Errorf("%q is neither a count nor a share such as 50%%, from 0%% to 100%% with at most two decimals", limit)
	}
	if share {
		n.Mul(n, big.NewRat(read, 100))
	}
	return n, nil
}
