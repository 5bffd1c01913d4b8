package transform

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// resolved is the conventions that hold for a file, as text.
func resolved(all Conventions) string {
	texts := []string{}
	for i, d := range all {
		if d.Origin != FromNowhere {
			text := Convention(i).String() + " " + string(d.Origin)
			if d.Choice != Unknown {
				text += " " + Convention(i).Name(d.Choice)
			}
			texts = append(texts, text)
		}
	}
	return strings.Join(texts, ", ")
}

// evidenceOf is what dates and amounts show; each row is rejected, and counts all the same.
func evidenceOf(t *testing.T, rules Rules, dates, amounts []string) *Evidence {
	t.Helper()
	content := head
	for _, d := range dates {
		content += "A,x,," + d + "\n"
	}
	for _, a := range amounts {
		content += "A,x,\"" + a + "\",\n"
	}
	r, err := newRowReader(strings.NewReader(content), rules)
	require.NoError(t, err)
	_, err = readAll(r)
	require.NoError(t, err)
	return &r.Findings().Evidence
}

func proof(id int64, path string, line int64) Proof { return Proof{FileID: id, Path: path, Line: line} }

func TestResolve(t *testing.T) {
	t.Parallel()
	earlierDay := Learned{Slash: {DayFirst: proof(1, "monday.csv", 4)}}
	earlierMonth := Learned{Slash: {MonthFirst: proof(2, "friday.csv", 5)}}
	earlierBoth := Learned{Slash: {MonthFirst: proof(2, "friday.csv", 5), DayFirst: proof(1, "monday.csv", 4)}}
	earlierComma := Learned{Decimal: {DecimalComma: proof(1, "monday.csv", 4)}}
	for _, c := range []struct {
		name           string
		rules          Rules
		learned        Learned
		dates, amounts []string
		want, why      string
	}{
		{"nothing", Rules{}, Learned{}, nil, nil, "", ""},
		{"only ambiguous", Rules{}, Learned{}, []string{"1/2/2024", "3-4-2024"}, []string{"1.250"}, "", ""},
		{"alike proves nothing", Rules{}, Learned{}, []string{"05/05/2024", "05-05-2024"}, nil, "", ""},
		{"year first proves nothing", Rules{}, Learned{}, []string{"2024/11/27", "2024-11-27", "20241127", "27-Nov-2024"}, nil, "", ""},
		{"impossible proves nothing", Rules{}, Learned{}, []string{"31/31/2024", "31/02/2024", "31/04/2024", "0/13/2024"}, nil, "", ""},
		{"groups without decimals prove nothing", Rules{}, Learned{}, nil, []string{"1'234", "1 234", "12", "(5)"}, "", ""},
		{"invalid proves nothing", Rules{}, Learned{}, nil, []string{"1.5e3", "5,-", "1.2.3"}, "", ""},

		{"the file", Rules{}, Learned{}, []string{"27/11/2024", "1/2/2024", "11-27-2024", "27.11.2024"}, []string{"75,30"}, "slash file dmy, dash file mdy, dot file dmy, decimal file comma", ""},
		{"the file, by a point", Rules{}, Learned{}, nil, []string{"1,500.00", "1,250"}, "decimal file point", ""},
		{"the file, by two commas", Rules{}, Learned{}, nil, []string{"1,234,567"}, "decimal file point", ""},
		{"the file, outside the window", Rules{From: "2024-01-01"}, Learned{}, []string{"27/11/2023"}, nil, "slash file dmy", ""},
		{"the file, beyond precision", Rules{}, Learned{}, nil, []string{"0,123456"}, "decimal file comma", ""},
		{"the file, with a time", Rules{}, Learned{}, []string{"26.10.2024 11:14:40"}, nil, "dot file dmy", ""},
		{"the file, short years", Rules{TwoDigitYears: 1970}, Learned{}, []string{"23.11.99"}, nil, "dot file dmy", ""},
		{"short years that are not set", Rules{}, Learned{}, []string{"23.11.99"}, nil, "", ""},
		{"the file against itself", Rules{}, Learned{}, []string{"13/11/2024", "11/27/2024"}, nil, "slash contradicted", `line 3 has "11/27/2024", and line 2 has "13/11/2024"`},
		{"amounts against themselves", Rules{}, Learned{}, nil, []string{"1.5", "1,5"}, "decimal contradicted", `line 2 has "1.5", and line 3 has "1,5"`},

		{"the settings", Rules{Slash: "mdy", Dot: "dmy", Decimal: "comma"}, Learned{}, nil, nil, "slash settings mdy, dot settings dmy, decimal settings comma", ""},
		{"the settings and the file", Rules{Slash: "dmy"}, Learned{}, []string{"27/11/2024"}, nil, "slash settings dmy", ""},
		{"the settings against the file", Rules{Slash: "mdy"}, Learned{}, []string{"1/2/2024", "27/11/2024"}, nil, "slash contradicted", `the settings say mdy, and line 3 has "27/11/2024" (tally run --trust-rules applies the settings all the same)`},
		{"the settings against a mixed file", Rules{Slash: "dmy"}, Learned{}, []string{"27/11/2024", "11/27/2024"}, nil, "slash contradicted", `the settings say dmy, and line 3 has "11/27/2024" (tally run --trust-rules applies the settings all the same)`},
		{"the settings against amounts", Rules{Decimal: "comma"}, Learned{}, nil, []string{"10.50"}, "decimal contradicted", `the settings say comma, and line 2 has "10.50" (tally run --trust-rules applies the settings all the same)`},
		{"trusted settings against the file", Rules{Slash: "mdy", Trust: true}, Learned{}, []string{"27/11/2024"}, nil, "slash settings mdy", ""},
		{"trust without a setting", Rules{Trust: true}, Learned{}, []string{"27/11/2024", "11/27/2024"}, nil, "slash contradicted", `line 3 has "11/27/2024", and line 2 has "27/11/2024"`},
		{"the settings against earlier files", Rules{Slash: "mdy"}, earlierDay, nil, nil, "slash settings mdy", ""},
		{"the settings settle earlier files", Rules{Slash: "mdy"}, earlierBoth, nil, nil, "slash settings mdy", ""},

		{"earlier files", Rules{}, earlierDay, []string{"1/2/2024"}, nil, "slash earlier dmy", ""},
		{"earlier amounts", Rules{}, earlierComma, nil, []string{"1.250"}, "decimal earlier comma", ""},
		{"the file and earlier files", Rules{}, earlierDay, []string{"27/11/2024"}, nil, "slash file dmy", ""},
		{"the file against earlier files", Rules{}, earlierDay, []string{"1/2/2024", "11/27/2024"}, nil, "slash contradicted", `monday.csv proves dmy (line 4), and line 3 has "11/27/2024"`},
		{"the file against others earlier", Rules{}, earlierMonth, []string{"27/11/2024"}, nil, "slash contradicted", `friday.csv proves mdy (line 5), and line 2 has "27/11/2024"`},
		{"earlier files against each other", Rules{}, earlierBoth, nil, nil, "slash contradicted", "friday.csv proves mdy (line 5), and monday.csv proves dmy (line 4)"},
		{"the file and earlier files against each other", Rules{}, earlierBoth, []string{"27/11/2024"}, nil, "slash contradicted", "friday.csv proves mdy (line 5), and monday.csv proves dmy (line 4)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			evidence := evidenceOf(t, c.rules, c.dates, c.amounts)
			all := c.rules.Resolve(&c.learned, evidence)
			assert.Equal(t, c.want, resolved(all))
			for _, d := range all {
				if d.Origin == Contradicted {
					assert.Equal(t, c.why, d.Why)
					assert.Equal(t, Unknown, d.Choice)
				}
			}
			// What a file shows does not depend on how it is read.
			for _, other := range []Rules{{Slash: "mdy", Dash: "dmy", Dot: "mdy", Decimal: "comma"}, {Slash: "dmy", Dash: "mdy", Dot: "dmy", Decimal: "point"}} {
				other.TwoDigitYears, other.From = c.rules.TwoDigitYears, c.rules.From
				assert.Equal(t, evidence, evidenceOf(t, other, c.dates, c.amounts))
			}
		})
	}
}

// Rows that cannot be cut into cells are no evidence.
func TestEvidenceOfFaultyRecords(t *testing.T) {
	t.Parallel()
	r, err := newRowReader(strings.NewReader(head+"A,1,5.5,2024-01-02,27/11/2024\n27/11/2024\n"), Rules{})
	require.NoError(t, err)
	_, err = readAll(r)
	require.NoError(t, err)
	assert.Zero(t, r.Findings().Evidence)
}

func TestEvidence(t *testing.T) {
	t.Parallel()
	e := evidenceOf(t, Rules{}, []string{"1/2/2024", "27/11/2024", "28/11/2024", "5/5/2024"}, []string{"1.250", "$7.50", "75,30"})
	assert.Equal(t, Counts{
		Second:    Seen{2, 3, "27/11/2024"},
		Alike:     Seen{1, 5, "5/5/2024"},
		Ambiguous: Seen{1, 2, "1/2/2024"},
	}, e[Slash])
	assert.Equal(t, Counts{
		First:     Seen{1, 7, "$7.50"},
		Second:    Seen{1, 8, "75,30"},
		Ambiguous: Seen{1, 6, "1.250"},
	}, e[Decimal])
	assert.Zero(t, e[Dash])
	long := evidenceOf(t, Rules{}, nil, []string{strings.Repeat("0", 200) + ".5"})
	assert.Equal(t, strings.Repeat("0", exampleLength)+"…", long[Decimal].First.Example)
}

func TestAssume(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "slash assumed mdy, dash assumed dmy, dot assumed dmy, decimal assumed point", resolved(Rules{}.Assume(&Learned{})))
	learned := Learned{
		Slash:   {DayFirst: proof(1, "a", 1)},
		Dash:    {DayFirst: proof(1, "a", 1), MonthFirst: proof(2, "b", 1)},
		Decimal: {DecimalComma: proof(1, "a", 1)},
	}
	assert.Equal(t, "slash earlier dmy, dash contradicted, dot settings mdy, decimal earlier comma", resolved(Rules{Dot: "mdy"}.Assume(&learned)))
}

func TestReadsAlike(t *testing.T) {
	t.Parallel()
	ambiguous := evidenceOf(t, Rules{}, []string{"1/2/2024", "27-11-2024"}, []string{"10.50"})
	unknown, assumed := Conventions{}, Rules{}.Assume(&Learned{})
	assert.False(t, ambiguous.ReadsAlike(unknown, assumed), "1/2/2024 is rejected under one of them")
	assert.True(t, ambiguous.ReadsAlike(assumed, Conventions{Slash: {Choice: MonthFirst}}), "nothing else is ambiguous")
	assert.False(t, ambiguous.ReadsAlike(assumed, Conventions{Slash: {Choice: DayFirst}}))
	assert.True(t, evidenceOf(t, Rules{}, []string{"27/11/2024"}, []string{"75,30"}).ReadsAlike(unknown, assumed))
	assert.False(t, evidenceOf(t, Rules{}, nil, []string{"1,250"}).ReadsAlike(assumed, Conventions{Decimal: {Choice: DecimalComma}}))
}

func TestConventionNames(t *testing.T) {
	t.Parallel()
	for i := range conventionCount {
		c := Convention(i)
		for _, choice := range []Choice{Unknown, MonthFirst, DayFirst} {
			back, err := c.Choice(c.Name(choice))
			require.NoError(t, err)
			assert.Equal(t, choice, back)
		}
		_, err := c.Choice("x")
		require.ErrorContains(t, err, c.String()+` is "x", want`)
	}
}
