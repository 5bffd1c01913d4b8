package transform

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
)

// exactRow is a row as it is meant.
type exactRow struct {
	amount money.Amount
	date   civil.Date
}

func exactOf(row Row) exactRow { return exactRow{row.Amount, row.Date} }

// notation is a way in which people write rows.
type notation struct {
	layout    string // of dates, as package time has it
	clock     string
	zone      string
	point     string // decimal sign
	separator string // of thousands
	lakh      bool
	decimals  int // at least; 0: as many as there are
	mark      string
	sign      string
}

func notations(random *rand.Rand) notation {
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	n := notation{
		layout: pick("2006-01-02", "2006/01/02", "2006.01.02", "20060102", "2006-1-2", "2006/1/2", "2006.1.2",
			"01/02/2006", "02/01/2006", "1/2/2006", "2/1/2006", "01-02-2006", "02-01-2006", "1-2-2006", "2-1-2006",
			"01.02.2006", "02.01.2006", "1.2.2006", "2.1.2006", "01/02/06", "02/01/06", "2.1.06", "2-1-06",
			"02-Jan-2006", "2 January 2006", "Jan 2, 2006", "January 2 2006", "2006-Jan-02", "2/Jan/2006", "02Jan2006", "2-Jan-06"),
		clock:    pick("", "", " 15:04", "T15:04:05", " 3:04:05 PM", ", 03:04 pm", " 15:04:05.000000", "  15:04"),
		zone:     pick("", "Z", " UTC", "+02:00", "-0500", "+02"),
		point:    pick(".", ","),
		decimals: random.IntN(5),
		mark:     pick("", "", "#", "$#", "$ #", "# €", "#€", "EUR #", "#usd", "R$#", "US$ #", "# kr", "Rs.#", "CHF\u00a0#", "#\u202fKč"),
		sign:     pick("-", "-", "\u2212", "()", "after", "outer", "outer()", "outer after"),
	}
	if n.clock == "" {
		n.zone = ""
	}
	if n.mark == "" {
		n.mark = "#"
	}
	other := map[string]string{".": ",", ",": "."}[n.point]
	n.separator = pick("", other, " ", "\u00a0", "\u202f", "'", "’")
	n.lakh = n.separator == other && n.point == "." && random.IntN(3) == 0
	return n
}

// conventions are those that the notation follows, as settings.
func (n notation) conventions() Rules {
	rules := Rules{TwoDigitYears: 1970, Decimal: map[string]string{".": "point", ",": "comma"}[n.point]}
	order := "mdy"
	if day, month := strings.Index(n.layout, "2"), strings.Index(n.layout, "1"); day < month {
		order = "dmy"
	}
	rules.Slash, rules.Dash, rules.Dot = order, order, order
	return rules
}

func (n notation) date(d civil.Date, random *rand.Rand) string {
	when := d.Time().Add(time.Duration(random.IntN(24*60*60)) * time.Second)
	return when.Format(n.layout+n.clock) + n.zone
}

func (n notation) amount(a money.Amount) string {
	text := strings.TrimPrefix(a.String(), "-")
	whole, fraction, _ := strings.Cut(text, ".")
	for len(fraction) < n.decimals {
		fraction += "0"
	}
	text = n.grouped(whole)
	if fraction != "" {
		text += n.point + fraction
	}
	if a.Unscaled >= 0 {
		return strings.Replace(n.mark, "#", text, 1)
	}
	sign, outer := strings.CutPrefix(n.sign, "outer")
	signed := func(s string) string {
		switch strings.TrimSpace(sign) {
		case "()":
			return "(" + s + ")"
		case "after":
			return s + "-"
		case "":
			return "-" + s
		default:
			return sign + s
		}
	}
	if outer {
		return signed(strings.Replace(n.mark, "#", text, 1))
	}
	return strings.Replace(n.mark, "#", signed(text), 1)
}

func (n notation) grouped(whole string) string {
	size, groups := 3, []string{}
	for len(whole) > size {
		groups = append(groups, whole[len(whole)-size:])
		whole = whole[:len(whole)-size]
		if n.lakh {
			size = 2
		}
	}
	groups = append(groups, whole)
	slices.Reverse(groups)
	return strings.Join(groups, n.separator)
}

func (n notation) file(rows []exactRow, random *rand.Rand) string {
	var b strings.Builder
	b.WriteString(strings.ReplaceAll(head, ",", ";"))
	for i, row := range rows {
		amount, date := n.amount(row.amount), n.date(row.date, random)
		if i%3 == 0 {
			amount, date = `"`+amount+`"`, `"`+date+`"`
		}
		fmt.Fprintf(&b, "T%d;%d;%s;%s\n", i, i+1, amount, date)
	}
	return b.String()
}

// exactRows are rows of which some have one reading in any notation, and others two.
func exactRows(random *rand.Rand) []exactRow {
	rows := make([]exactRow, 12)
	ambiguous := random.IntN(2) == 0
	for i := range rows {
		unscaled, scale := random.Int64N(1e12)>>random.IntN(40), random.IntN(maxDecimals+1)
		date := civil.MustParse("1975-01-01") + civil.Date(random.IntN(50*365))
		if ambiguous {
			unscaled, scale = 1000+random.Int64N(999_000), 3*random.IntN(2)
			date, _ = civil.New(1975+random.IntN(50), 1+random.IntN(12), 1+random.IntN(12))
		}
		rows[i] = exactRow{normalised(unscaled, scale, random.IntN(2) == 0), date}
	}
	return rows
}

// readFile reads a file as a load does: a second time if the conventions that hold are
// other ones than those assumed.
func readFile(t *testing.T, content string, rules Rules, learned *Learned) ([]Row, *Findings) {
	t.Helper()
	reading := Reading{Rules: rules, LogicalDate: logicalDate, Conventions: rules.Assume(learned)}
	rows, found := readOnce(t, content, reading)
	resolved := rules.Resolve(learned, &found.Evidence)
	if found.Evidence.ReadsAlike(reading.Conventions, resolved) {
		return rows, found
	}
	reading.Conventions = resolved
	rows, again := readOnce(t, content, reading)
	require.Equal(t, found.Evidence, again.Evidence, "what a file shows does not depend on how it is read")
	return rows, again
}

func readOnce(t *testing.T, content string, reading Reading) (rows []Row, found *Findings) {
	t.Helper()
	r, err := newReadingReader(strings.NewReader(content), reading)
	require.NoError(t, err)
	for {
		var row Row
		if r.Next(&row) != nil {
			return rows, r.Findings()
		}
		row.ID, row.Raw = slices.Clone(row.ID), slices.Clone(row.Raw)
		rows = append(rows, row)
	}
}

// TestNotations writes rows in every notation and reads them back: each is itself, or
// rejected as ambiguous, and never anything else. With a value that proves the notation,
// by the settings, or by what an earlier file has proven, each is itself.
func TestNotations(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(11, 12))
	read, rejected := 0, 0
	for range 600 {
		n, rows := notations(random), exactRows(random)
		rules := Rules{TwoDigitYears: 1970}
		content := n.file(rows, random)
		got, _ := readFile(t, content, rules, &Learned{})
		for i, row := range got {
			if row.Faults != 0 {
				rejected++
				require.Zero(t, row.Faults&^(1<<FaultAmbiguousAmount|1<<FaultAmbiguousDate), "%s: %v", row.Raw, row.Faults.Strings())
				continue
			}
			read++
			require.Equal(t, rows[i], exactOf(row), "%s", row.Raw)
		}
		requireAll(t, rows, content, n.conventions(), &Learned{})

		proven := append(rows, exactRow{money.Amount{Unscaled: 725, Scale: 2}, civil.MustParse("2024-11-27")})
		if n.decimals == 3 {
			proven[len(rows)].amount = money.Amount{Unscaled: 1234567891, Scale: 4}
		}
		requireAll(t, proven, n.file(proven, random), rules, &Learned{})
		_, found := readFile(t, n.file(proven, random), rules, &Learned{})
		requireAll(t, rows, content, rules, learnedFrom(found))
	}
	require.Greater(t, read, 3_000)
	require.Greater(t, rejected, 450)
}

func requireAll(t *testing.T, rows []exactRow, content string, rules Rules, learned *Learned) {
	t.Helper()
	got, _ := readFile(t, content, rules, learned)
	require.Len(t, got, len(rows))
	for i, row := range got {
		require.Zero(t, row.Faults, "%s: %v %v", row.Raw, row.Faults.Strings(), row.Hints)
		require.Equal(t, rows[i], exactOf(row), "%s", row.Raw)
	}
}

// learnedFrom is what a loaded file has proven.
func learnedFrom(found *Findings) *Learned {
	var learned Learned
	for i := range found.Evidence {
		if choice, _ := found.Evidence[i].Proves(); choice != Unknown {
			learned[i][choice] = Proof{FileID: 1, Path: "earlier.csv", Line: found.Evidence[i].of(shows(choice)).Line}
		}
	}
	return &learned
}
