package transform

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/pipeline/extract"
)

func TestColumnsAsYAML(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want Columns
	}{
		{"columns: {transaction_id: Ref}", Columns{TransactionID: "Ref"}},
		{"columns: {transaction_id: 1, user_id: 2, amount: 3, transaction_date: 4}", Columns{"1", "2", AmountColumns{Value: "3"}, "4"}},
		{"columns: {amount: Betrag}", Columns{Amount: AmountColumns{Value: "Betrag"}}},
		{"columns: {amount: {value: Betrag}}", Columns{Amount: AmountColumns{Value: "Betrag"}}},
		{"columns: {amount: {debit: Soll, credit: Haben}}", Columns{Amount: AmountColumns{Debit: "Soll", Credit: "Haben"}}},
		{`columns: {amount: {value: Betrag, sign: "S/H", negative: [S]}}`, Columns{Amount: AmountColumns{Value: "Betrag", Sign: "S/H", Negative: []string{"S"}}}},
		{"columns: {amount: {sign: side, negative: [D], positive: [C, X]}}", Columns{Amount: AmountColumns{Sign: "side", Negative: []string{"D"}, Positive: []string{"C", "X"}}}},
		{"slash: dmy", Columns{}},
	} {
		var rules Rules
		require.NoError(t, yaml.NewDecoder(strings.NewReader(c.text), yaml.DisallowUnknownField()).Decode(&rules), c.text)
		assert.Equal(t, c.want, rules.Columns, c.text)
		written, err := yaml.Marshal(rules)
		require.NoError(t, err)
		var back Rules
		require.NoError(t, yaml.NewDecoder(strings.NewReader(string(written)), yaml.DisallowUnknownField()).Decode(&back), "%s", written)
		assert.Equal(t, rules, back, "%s", written)
		document, err := json.Marshal(rules)
		require.NoError(t, err)
		back = Rules{}
		require.NoError(t, json.Unmarshal(document, &back))
		assert.Equal(t, rules, back, "%s", document)
	}
	for _, text := range []string{"columns: {amount: {worth: x}}", "columns: {amount: [a]}", "columns: {note: x}"} {
		var rules Rules
		assert.Error(t, yaml.NewDecoder(strings.NewReader(text), yaml.DisallowUnknownField()).Decode(&rules), text)
	}
}

func TestColumnsCheck(t *testing.T) {
	t.Parallel()
	none := extract.Dialect{Header: extract.HeaderNone}
	require.NoError(t, Rules{Dialect: none, Columns: Columns{"1", "2", AmountColumns{Debit: "3", Credit: "5"}, "4"}}.Check())
	for want, rules := range map[string]Rules{
		"debit and credit go together":                {Columns: Columns{Amount: AmountColumns{Credit: "Haben"}}},
		"leave no room":                               {Columns: Columns{Amount: AmountColumns{Debit: "a", Credit: "b", Value: "c"}}},
		`amount.debit and amount.credit are both "a"`: {Columns: Columns{Amount: AmountColumns{Debit: "a", Credit: "a"}}},
		`user_id and amount are both "2"`:             {Dialect: none, Columns: Columns{"1", "2", AmountColumns{Value: "2"}, "4"}},
		`transaction_id and user_id are both`:         {Columns: Columns{TransactionID: "USER_ID"}},
		`amount is blank`:                             {Columns: Columns{Amount: AmountColumns{Value: " "}}},
		"sign needs negative":                         {Columns: Columns{Amount: AmountColumns{Sign: "S/H"}}},
		"need sign":                                   {Columns: Columns{Amount: AmountColumns{Negative: []string{"S"}}}},
		`"s" is both negative and positive`:           {Columns: Columns{Amount: AmountColumns{Sign: "S/H", Negative: []string{"S"}, Positive: []string{"s"}}}},
		`"d" is both negative and positive`:           {Columns: Columns{Amount: AmountColumns{Sign: "S/H", Negative: []string{"D. "}, Positive: []string{"d"}}}},
		`"−" is both negative and positive`:           {Columns: Columns{Amount: AmountColumns{Sign: "S/H", Negative: []string{"-"}, Positive: []string{"\u2212"}}}},
		`transaction_id is "transaction_id", wa`:      {Dialect: none},
		`amount is "Betrag", want a position`:         {Dialect: none, Columns: Columns{"1", "2", AmountColumns{Value: "Betrag"}, "4"}},
		`amount.sign is "0", want a position`:         {Dialect: none, Columns: Columns{"1", "2", AmountColumns{Value: "3", Sign: "0", Negative: []string{"S"}}, "4"}},
	} {
		require.ErrorContains(t, rules.Check(), "rules: columns: ")
		require.ErrorContains(t, rules.Check(), want)
	}
}

func TestWanted(t *testing.T) {
	t.Parallel()
	headers := func(c Columns) (all []string) {
		for _, column := range (Rules{Columns: c}).Wanted() {
			all = append(all, column.Name+"="+column.Header)
		}
		return all
	}
	assert.Equal(t, []string{"transaction_id=transaction_id", "user_id=user_id", "amount=amount", "transaction_date=transaction_date"}, headers(Columns{}))
	assert.Equal(t, []string{"transaction_id=Ref", "user_id=Kunde", "amount.debit=Soll", "transaction_date=Tag", "amount.credit=Haben"},
		headers(Columns{"Ref", "Kunde", AmountColumns{Debit: "Soll", Credit: "Haben"}, "Tag"}))
	assert.Equal(t, []string{"transaction_id=transaction_id", "user_id=user_id", "amount=Betrag", "transaction_date=transaction_date", "amount.sign=S/H"},
		headers(Columns{Amount: AmountColumns{Value: "Betrag", Sign: "S/H", Negative: []string{"S"}}}))
}

// amounts reads rows that differ in their amount's cells, which are the columns a and b.
func amounts(t *testing.T, rules Rules, rows ...string) []string {
	t.Helper()
	content := "transaction_id,user_id,transaction_date,a,b\n"
	for _, row := range rows {
		content += "A,1,2024-01-02," + row + "\n"
	}
	r, err := newRowReader(strings.NewReader(content), rules)
	require.NoError(t, err)
	got := []string{}
	var row Row
	for r.Next(&row) == nil {
		text := strings.Join(row.Faults.Strings(), " ")
		if text == "" {
			text = row.Amount.String()
		}
		got = append(got, text)
	}
	return got
}

func TestDebitAndCredit(t *testing.T) {
	t.Parallel()
	rules := Rules{Columns: Columns{Amount: AmountColumns{Debit: "a", Credit: "b"}}}
	for row, want := range map[string]string{
		"5.50,":               "-5.5",
		",5.50":               "5.5",
		"5.50,0.00":           "-5.5",
		"0.00,5.50":           "5.5",
		"0.00,0.00":           "0",
		"0.00,":               "0",
		",0.00":               "0",
		",":                   "missing_amount",
		"NULL,5":              "5",
		"5,nan":               "-5",
		"5,5":                 "invalid_sign",
		"5,x":                 "invalid_amount",
		"x,5":                 "invalid_amount",
		"5,1.23456":           "amount_precision",
		"-5,x":                "invalid_amount",
		"5,1.250":             "invalid_sign",
		"-5,0.00":             "invalid_sign",
		"0.00,-5":             "invalid_sign",
		"5,-":                 "-5",
		"– ,5":                "5",
		"\u2212,—":            "missing_amount",
		"-,x":                 "invalid_amount",
		"€0,":                 "0",
		"-5,":                 "invalid_sign",
		",-5":                 "invalid_sign",
		"(5),":                "invalid_sign",
		"x,":                  "invalid_amount",
		",x":                  "invalid_amount",
		"x,0.00":              "invalid_amount",
		"1.250,":              "ambiguous_amount",
		"1.250,0.00":          "ambiguous_amount",
		"0.00,1.250":          "ambiguous_amount",
		"1.250,1.250":         "invalid_sign",
		"\"$1,250.00\",":      "-1250",
		",1.23456":            "amount_precision",
		"+5,":                 "-5",
		"\"1.234,50 €\",0.00": "-1234.5",
	} {
		assert.Equal(t, []string{want}, amounts(t, rules, row), row)
	}
	r, err := newRowReader(strings.NewReader("transaction_id,user_id,transaction_date,a,b\nA,1,2024-01-02,,\"€ 5,50\"\nB,1,2024-01-02,\"7,10\",0\n"), rules)
	require.NoError(t, err)
	_, err = readAll(r)
	require.NoError(t, err)
	assert.Equal(t, Counts{Second: Seen{2, 2, "€ 5,50"}}, r.Findings().Evidence[Decimal], "both columns are evidence")
	assert.Equal(t, map[string]Seen{"€": {1, 2, "€ 5,50"}}, r.Findings().Marks)
	assert.True(t, r.Findings().Negative)
}

func TestSignMarkers(t *testing.T) {
	t.Parallel()
	german := Rules{Columns: Columns{Amount: AmountColumns{Value: "a", Sign: "b", Negative: []string{"S"}}}}
	assert.Equal(t, []string{"-5", "5", "-5", "5", "invalid_sign", "invalid_sign", "invalid_sign", "invalid_sign", "missing_amount", "0", "ambiguous_amount", "-5", "-5"},
		amounts(t, german, "5,S", "5,H", "5, s ", "5,h", "5,D", "5,", "-5,S", "-5,H", ",S", "0,S", "1.250,S", "5,'S", "5,\u200bS"))

	positive := Rules{Columns: Columns{Amount: AmountColumns{Value: "a", Sign: "b", Negative: []string{"S"}, Positive: []string{"x", ""}}}}
	assert.Equal(t, []string{"-5", "5", "5", "5", "invalid_sign"}, amounts(t, positive, "5,s", "5,X", "5,", "5,NULL", "5,H"), "only these are positive")

	alike := Rules{Columns: Columns{Amount: AmountColumns{Value: "a", Sign: "b", Negative: []string{"Dr. ", "\u2212", "De\u0301bit"}}}}
	assert.Equal(t, []string{"-5", "-5", "5", "5", "-5", "-5", "5", "-5", "5", "invalid_sign"},
		amounts(t, alike, "5,DR", "5,dr.", "5,Cr.", "5,CR ", "5,-", "5,\u2212", "5,+", "5,Débit", "5,Cre\u0301dit", "5,."))

	bank := Rules{Columns: Columns{Amount: AmountColumns{Value: "a", Sign: "b", Negative: []string{"credit", "Ausgabe"}}}}
	assert.Equal(t, []string{"5", "-5", "-5"}, amounts(t, bank, "5,Debit", "5,CREDIT", "5,ausgabe"))

	umlaut := Rules{Columns: Columns{Amount: AmountColumns{Value: "a", Sign: "b", Negative: []string{"Gebühr"}, Positive: []string{"Zufluß"}}}}
	assert.Equal(t, []string{"-5", "5"}, amounts(t, umlaut, "5,GEBÜHR", "5,zufluß"))
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	found := Findings{Evidence: *evidenceOf(t, Rules{}, []string{"13/11/2024", "11/27/2024", "1/2/2024"}, nil)}
	conventions := Rules{}.Resolve(&Learned{}, &found.Evidence)
	assert.Equal(t, []string{`slash: line 3 has "11/27/2024", and line 2 has "13/11/2024"; ambiguous values are rejected (1)`}, found.Warnings(conventions, ""))
	assert.Equal(t, []string{`columns: no amount is negative, and column "S/H" seems to hold their signs: if so, set columns: {amount: {value: amount, sign: "S/H", negative: [...]}}`},
		(&Findings{}).Warnings(Conventions{}, "S/H"))
	assert.Equal(t, []string{}, (&Findings{Negative: true}).Warnings(Conventions{}, "S/H"))
}
