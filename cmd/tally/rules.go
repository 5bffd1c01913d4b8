package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/transform"
)

// rulesFlags are a source's settings on the command line; the default of each is that of
// the source.
type rulesFlags struct {
	Source        string            `placeholder:"NAME" help:"Read by the settings of this source. Default: the source that covers the path."`
	Delimiter     string            `placeholder:"CHAR" help:"Character between fields, or tab or space. Default: the source's, else comma, semicolon, tab or pipe, as the header shows."`
	Quote         string            `placeholder:"CHAR" help:"Character around quoted fields, or none. Default: the source's, else \"."`
	Encoding      string            `placeholder:"NAME" help:"Character encoding, such as windows-1252. Default: the source's, else UTF-8, or UTF-16 where the file shows it."`
	Header        string            `enum:",none" default:"" placeholder:"none" help:"none: the file has no header, and --columns gives positions."`
	Columns       map[string]string `mapsep:";" placeholder:"COLUMN=NAME" help:"What the file calls a column, such as 'amount=Betrag;transaction_date=Datum'. Further columns: amount.debit and amount.credit; amount.sign, amount.negative and amount.positive."`
	Slash         string            `enum:",mdy,dmy" default:"" placeholder:"ORDER" help:"Order of dates with slashes: mdy or dmy. Default: the source's, else as the files show."`
	Dash          string            `enum:",mdy,dmy" default:"" placeholder:"ORDER" help:"Order of dates with dashes: mdy or dmy. Default: the source's, else as the files show."`
	Dot           string            `enum:",mdy,dmy" default:"" placeholder:"ORDER" help:"Order of dates with dots: mdy or dmy. Default: the source's, else as the files show."`
	Decimal       string            `enum:",point,comma" default:"" placeholder:"SIGN" help:"Decimal sign: point or comma. Default: the source's, else as the files show."`
	TwoDigitYears int               `placeholder:"YEAR" help:"First year of the hundred that dates such as 23.11.99 are in. Default: the source's, else they are rejected."`
	TimeZone      string            `placeholder:"ZONE" help:"Time zone of the date of a time with an offset. Default: the source's, else the date that is written."`
	Currency      string            `placeholder:"CODE" help:"The database's currency, such as EUR. Default: the setting, else that of the first amount with an unambiguous mark."`
	From          string            `placeholder:"DATE" help:"First date allowed. Default: the source's, else 1900-01-01."`
	To            string            `placeholder:"DATE" help:"Last date allowed. Default: the source's, else a year after the logical date."`
	MaxAmount     int64             `placeholder:"AMOUNT" help:"Largest amount allowed, of either sign. Default: the source's, else 9999999999999, the largest that every output can have."`
	NewMonths     int               `placeholder:"N" help:"New months with fewer than 100 rows each above which nothing of a file is loaded. Default: the source's, else 36."`
	RejectLimit   string            `placeholder:"LIMIT" help:"Share or count of rejected rows above which nothing of a file is loaded. Default: the source's, else 50%."`
	Corrections   string            `enum:",keep,replace" default:"" placeholder:"WHAT" help:"A row that is stored with other values: keep the stored one or replace it. Default: the source's, else keep."`
}

// given reports whether there is a flag beside the source.
func (f rulesFlags) given() bool {
	return len(f.Columns) > 0 || f.TwoDigitYears != 0 || f.MaxAmount != 0 || f.NewMonths != 0 || cmp.Or(f.Delimiter, f.Quote, f.Encoding, f.Header, f.Slash, f.Dash, f.Dot,
		f.Decimal, f.TimeZone, f.Currency, f.From, f.To, f.RejectLimit, f.Corrections) != ""
}

// apply overrides rules by the flags.
func (f rulesFlags) apply(r *transform.Rules) {
	set := func(rule *string, flag string) { *rule = cmp.Or(flag, *rule) }
	set(&r.Delimiter, f.Delimiter)
	set(&r.Quote, f.Quote)
	set(&r.Encoding, f.Encoding)
	set(&r.Header, f.Header)
	set(&r.Slash, f.Slash)
	set(&r.Dash, f.Dash)
	set(&r.Dot, f.Dot)
	set(&r.Decimal, f.Decimal)
	set(&r.TimeZone, f.TimeZone)
	set(&r.Currency, f.Currency)
	set(&r.From, f.From)
	set(&r.To, f.To)
	set(&r.RejectLimit, f.RejectLimit)
	set(&r.Corrections, f.Corrections)
	r.MaxAmount = cmp.Or(f.MaxAmount, r.MaxAmount)
	r.NewMonths = cmp.Or(f.NewMonths, r.NewMonths)
	r.TwoDigitYears = cmp.Or(f.TwoDigitYears, r.TwoDigitYears)
	for column, name := range f.Columns {
		f.column(&r.Columns, column, name)
	}
}

// column maps a column, and reports whether there is one of that name.
func (rulesFlags) column(c *transform.Columns, column, name string) bool {
	switch strings.TrimSpace(column) {
	case "transaction_id":
		c.TransactionID = name
	case "user_id":
		c.UserID = name
	case "transaction_date":
		c.TransactionDate = name
	case "amount", "amount.value":
		c.Amount.Value = name
	case "amount.debit":
		c.Amount.Debit = name
	case "amount.credit":
		c.Amount.Credit = name
	case "amount.sign":
		c.Amount.Sign = name
	case "amount.negative":
		c.Amount.Negative = strings.Split(name, ",")
	case "amount.positive":
		c.Amount.Positive = strings.Split(name, ",")
	default:
		return false
	}
	return true
}

// check finds what is wrong with the flags themselves.
func (f rulesFlags) check() error {
	for _, column := range slices.Sorted(maps.Keys(f.Columns)) {
		if !f.column(&transform.Columns{}, column, "") {
			return usageError{fmt.Errorf("--columns: there is no column %q: there are transaction_id, user_id, amount, transaction_date, "+
				"amount.debit, amount.credit, amount.sign, amount.negative and amount.positive", column)}
		}
	}
	return nil
}

// sourceOf is the source by whose settings a path is read, overridden by the flags. One
// that no source covers has none but those.
func (f rulesFlags) sourceOf(sources []pipeline.Source, path bucket.Location, currency string) (pipeline.Source, error) {
	if err := f.check(); err != nil {
		return pipeline.Source{}, err
	}
	source, ok, err := pipeline.Find(sources, path)
	if f.Source != "" {
		i := slices.IndexFunc(sources, func(s pipeline.Source) bool { return s.Name == f.Source })
		if i < 0 {
			return source, usageError{fmt.Errorf("--source: the settings have no source %q", f.Source)}
		}
		source, ok, err = sources[i], true, nil
	}
	if err != nil {
		return source, usageError{fmt.Errorf("%w (--source)", err)}
	}
	if !ok {
		source = pipeline.Source{Rules: transform.Rules{Currency: currency}}
	}
	f.apply(&source.Rules)
	if err := source.Rules.Check(); err != nil {
		return source, usageError{err}
	}
	return source, nil
}
