package extract

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHeaderSearch(t *testing.T) {
	t.Parallel()
	const row = "A,1,5,2024-01-02\n"
	semicolons := strings.ReplaceAll(head+row, ",", ";")
	for _, c := range []struct {
		name, content string
		want          string // the record
		skipped       int64
	}{
		{"first line", head + row, "2 A 1 5 2024-01-02", 0},
		{"below other lines", "Account;DE12\nFrom,to\n\n\"quoted\" x\n" + head + row, "6 A 1 5 2024-01-02", 3},
		{"below lines with another delimiter", "a,b,c,d,e\n" + semicolons, "3 A 1 5 2024-01-02", 1},
		{"below a long line", strings.Repeat("x,", MaxRecord-100) + "\n" + head + row, "3 A 1 5 2024-01-02", 1},
		{"below an open quote", "\"Account\n" + head + row, "3 A 1 5 2024-01-02", 1},
		{"below a line that is quoted as a whole", "\"" + strings.TrimSpace(head) + "\"\n" + head + row, "3 A 1 5 2024-01-02", 1},
		{"in line 100", strings.Repeat("x\n", 99) + head + row, "101 A 1 5 2024-01-02", 99},
		{"over two lines", "x\n\"user\r\nid\",transaction_id,amount,transaction_date\n1,A,5,2024-01-02\n", "4 A 1 5 2024-01-02", 1},
		{"other writing", "\ufeff Transaction ID ,USER-ID,\u200bAmount,\"\ufefftransaction_Date\"\n" + row, "2 A 1 5 2024-01-02", 0},
		{"sep", "sep=,\n" + head + row, "3 A 1 5 2024-01-02", 0},
		{"sep of no detected kind", "SEP=^\r\n" + strings.ReplaceAll(head+row, ",", "^"), "3 A 1 5 2024-01-02", 0},
		{"sep in quotes behind a mark", "\ufeff\"sep=;\"\nx\n" + semicolons, "4 A 1 5 2024-01-02", 1},
		{"a comma where either would do", "transaction_id,user_id,amount,transaction_date,a;b\n" + row[:len(row)-1] + ",x\n", "2 A 1 5 2024-01-02", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newTestReader(t, strings.NewReader(c.content))
			records, err := readAll(r)
			require.NoError(t, err)
			assert.Equal(t, []string{c.want}, records)
			assert.Equal(t, c.skipped, r.Skipped())
		})
	}
}

func TestHeaderNone(t *testing.T) {
	t.Parallel()
	columns := []Column{{"transaction_id", "2"}, {"user_id", "1"}, {"amount", "4"}, {"transaction_date", "5"}}
	for _, content := range []string{
		"1,A,x,5,2024-01-02\n2,B,x,6,2024-01-03\n",
		"\n1;A;,,,,;5;2024-01-02\n;;;;\n2;B;x;6;2024-01-03\n",
		"sep=!\n1!A!,!5!2024-01-02\n2!B!,!6!2024-01-03",
		"1|\"A\"|\"\n\"|5|2024-01-02|\n2|\"B\"||6|2024-01-03|",
	} {
		r, err := NewReader(strings.NewReader(content), Dialect{Header: HeaderNone}, columns)
		require.NoError(t, err)
		records, err := readAll(r)
		require.NoError(t, err)
		for i, want := range []string{" A 1 5 2024-01-02", " B 2 6 2024-01-03"} {
			require.Len(t, records, 2)
			assert.True(t, strings.HasSuffix(records[i], want), "%q: %s", content, records[i])
		}
		assert.Equal(t, []string{"1", "2", "3", "4", "5"}, r.Columns()[:5])
	}
	for content, want := range map[string][]string{
		"Statement\n\nof, May\n1,A,x,5,2024-01-02\n2,B,x,6,2024-01-03\n3,C,,7,2024-01-04\n":                     {"1 too_few_fields", "3 too_few_fields", "4 A 1 5 2024-01-02", "5 B 2 6 2024-01-03", "6 C 3 7 2024-01-04"},
		"1,A,a;b;c;d;e;f,5,2024-01-02\n2,B,a;b;c;d;e;f,6,2024-01-03\n":                                          {"1 A 1 5 2024-01-02", "2 B 2 6 2024-01-03"},
		"1;A;a,b,c,d,e,f;5;2024-01-02\n":                                                                        {"1 A 1 5 2024-01-02"},
		"1,A,x,5,2024-01-02,\n2,B,x,6,2024-01-03\n3,C,x,7,2024-01-04\n4,D,x,7,2024-01-04,x\n5,E,x,7,2024-01-04": {"1 A 1 5 2024-01-02", "2 B 2 6 2024-01-03", "3 C 3 7 2024-01-04", "4 too_many_fields", "5 E 5 7 2024-01-04"},
	} {
		r, err := NewReader(strings.NewReader(content), Dialect{Header: HeaderNone}, columns)
		require.NoError(t, err)
		records, err := readAll(r)
		require.NoError(t, err)
		assert.Equal(t, want, records, content)
	}
	for content, want := range map[string]string{
		"x\ny\n1,A,x,5,2024-01-02\nx,B,x,6,2024-01-03\n":   "missing_column transaction_id: its position is 2",
		"\"1,A,x,5,2024-01-02\"\n\"2,B,x,6,2024-01-03\"\n": "line 1: bad_header: each line is quoted as a whole",
		"\"1\"x,A,x,5,2024-01-02\n":                        "line 1: bad_header: all of the first rows have faults, this one bad_quote (if quotes are text in this file, set quote: none)",
	} {
		_, err := NewReader(strings.NewReader(content), Dialect{Header: HeaderNone}, columns)
		assert.ErrorContains(t, err, want)
	}
	_, err := NewReader(strings.NewReader("a,1,2;1;b\n"), Dialect{Header: HeaderNone}, []Column{{"transaction_id", "1"}, {"user_id", "2"}})
	require.EqualError(t, err, `line 1: missing_column: the rows have the positions under each of the delimiters ",;" (set delimiter)`)
	columns[3].Header = "6"
	for content, want := range map[string]string{
		"1,A,x,5,2024-01-02\n": `missing_column transaction_date: its position is 6, and the first row has 5 fields at ',' (correct the setting columns, or set delimiter)`,
		"\n":                   "empty_file: there is no row",
	} {
		_, err := NewReader(strings.NewReader(content), Dialect{Header: HeaderNone}, columns)
		assert.EqualError(t, err, want)
	}
	for _, position := range []string{"0", "x", "1.5"} {
		columns[3].Header = position
		_, err := NewReader(strings.NewReader("1,A,x,5,2024-01-02\n"), Dialect{Header: HeaderNone}, columns)
		assert.ErrorContains(t, err, `transaction_date: "`+position+`" is no position (with header: none, the setting columns names positions`)
	}
}

func TestHeaderErrorsLeadToTheSettings(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		"Statement\nTransaction ID,User_Id,Amount (EUR),Booked\n": `line 2: missing_column amount, transaction_date: the header has "Transaction ID,User_Id,Amount (EUR),Booked" ` +
			`(map other names with the setting columns, such as columns: {amount: "Amount (EUR)"}; tally check --settings FILE proposes it)`,
		"Ref;Person\nA;1\n": `line 1: missing_column transaction_id, user_id, amount, transaction_date: the header has "Ref;Person" ` +
			`(map other names with the setting columns, such as columns: {transaction_id: "Ref"}; tally check --settings FILE proposes it)`,
		"A,1,5,2024-01-02\n": `line 1: missing_column transaction_id, user_id, amount, transaction_date: the header has "A,1,5,2024-01-02" ` +
			`(map other names with the setting columns, such as columns: {transaction_id: "A"}; tally check --settings FILE proposes it; if the first line is a row, set header: none ` +
			`and positions, such as columns: {transaction_id: 1, user_id: 2, amount: 3, transaction_date: 4})`,
		"transaction_id,user_id,amount,W\xe4hrung\n": `line 1: missing_column transaction_date: the header has "transaction_id,user_id,amount,W` + "\ufffd" + `hrung" ` +
			`(map other names with the setting columns, such as columns: {transaction_date: "W�hrung"}; tally check --settings FILE proposes it; the header is not UTF-8: set encoding, such as windows-1252)`,
		"\"transaction_id,\"\"user_id\"\",amount,transaction_date\"\n\"A,1,5,2024-01-02\"\n": "line 1: bad_header: each line is quoted as a whole, so that it is one field " +
			"(save the file without the quotes around its lines)",
		strings.Repeat("\n", 100) + head: "empty_file: there is no header line in the first 100 lines (the header must name the columns)",
		"x\n" + strings.Repeat("\n", 100) + head: `line 1: missing_column transaction_id, user_id, amount, transaction_date: the header has "x"; no line in the first 100 lines has all columns ` +
			`(map other names with the setting columns, such as columns: {transaction_id: "x"}; tally check --settings FILE proposes it)`,
		"TransactionId,UserId,Amount,TransactionDate\n": `line 1: missing_column transaction_id, user_id, transaction_date: the header has "TransactionId,UserId,Amount,TransactionDate" ` +
			`(map other names with the setting columns, such as columns: {transaction_id: "TransactionId", user_id: "UserId", transaction_date: "TransactionDate"}; tally check --settings FILE proposes it)`,
		"x;y;z;u;v\n" + strings.ReplaceAll(head, ",", "~"): `line 2: missing_column transaction_id, user_id, amount, transaction_date: the header has "transaction_id~user_id~amount~transaction_date" (set delimiter: '~')`,
		"'transaction_id','user_id','amount','transaction_date'\n": `line 1: missing_column transaction_id, user_id, amount, transaction_date: ` +
			`the header has "'transaction_id','user_id','amount','transaction_date'" (set quote: "'")`,
		head + "\"B,2,6,2024-01-03\"\nA,1,5,2024-01-02\n\"C,3,7,2024-01-04\"\n": "line 2: bad_header: each line is quoted as a whole, so that it is one field " +
			"(save the file without the quotes around its lines)",
		strings.ReplaceAll("\"transaction_id\",user_id,amount,transaction_date\nA,1,5,2024-01-02\n", "\n", "\r") + "\n": "line 1: bad_header: the header holds a CR that ends no line (save the file with LF or CR LF line ends)",
	} {
		_, err := NewReader(strings.NewReader(content), Dialect{}, columns())
		assert.EqualError(t, err, want)
	}
	for want, c := range map[string]struct {
		dialect Dialect
		content string
	}{
		`set delimiter: ','`:                                      {Dialect{Delimiter: ";"}, head},
		`set quote: '|' is set, and separates the names`:          {Dialect{Quote: "|"}, strings.ReplaceAll(head, ",", "|")},
		"each line is quoted as a whole":                          {Dialect{Delimiter: "~"}, "\"" + strings.ReplaceAll(head[:len(head)-1], ",", "~") + "\"\n"},
		"the setting columns names positions: if the file has no": {Dialect{}, "A,1,5,2024-01-02\n"},
	} {
		wanted := columns()
		if strings.Contains(want, "positions") {
			wanted = []Column{{"transaction_id", "1"}, {"user_id", "2"}}
			c.content = "A,B\n"
		}
		_, err := NewReader(strings.NewReader(c.content), c.dialect, wanted)
		assert.ErrorContains(t, err, want)
	}
	mapped := columns()
	mapped[2].Header = "Betrag"
	_, err := NewReader(strings.NewReader("transaction_id,user_id,amount,transaction_date\n"), Dialect{}, mapped)
	assert.ErrorContains(t, err, `and not "Betrag"`)
	r, err := NewReader(strings.NewReader("transaction_id,user_id,amount,BETRAG,transaction_date\nA,1,x,5,2024-01-02\n"), Dialect{}, mapped)
	require.NoError(t, err)
	records, err := readAll(r)
	require.NoError(t, err)
	assert.Equal(t, []string{"2 A 1 5 2024-01-02"}, records)
}

func TestReaderSample(t *testing.T) {
	t.Parallel()
	r := newTestReader(t, strings.NewReader("transaction_id,user_id,amount,transaction_date,note\nA,1,5,2024-01-02,\"x\"\"\"\n\nB,2,6,2024-01-03\nC,3"))
	assert.Equal(t, [][]string{{"A", "1", "5", "2024-01-02", `x"`}, {"B", "2", "6", "2024-01-03"}}, r.Sample(2))
	records, err := readAll(r)
	require.NoError(t, err)
	assert.Len(t, records, 3, "they are read again")

	rows, err := Sample(strings.NewReader("Account 1,2\nRef;On;Sum\nA;2024-01-02;5,00\nB;2024-01-03;6,00\n"), Dialect{}, 3)
	require.NoError(t, err)
	assert.Equal(t, [][]string{{"Account 1,2"}, {"Ref", "On", "Sum"}, {"A", "2024-01-02", "5,00"}}, rows)
}

func TestReaderSignColumn(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		head + "A,1,5,2024-01-02\n": "",
		"transaction_id,user_id,amount,transaction_date,note,S/H\nA,1,5,2024-01-02,x,S\nB,1,5,2024-01-02,,h\nC,1,5,2024-01-02\nD,1,5,2024-01-02,,\n": "S/H",
		"kind,transaction_id,user_id,amount,transaction_date\ndebit,A,1,5,2024-01-02\nCredit,B,1,5,2024-01-02\n":                                     "kind",
		"kind,transaction_id,user_id,amount,transaction_date\ndebit,A,1,5,2024-01-02\nother,B,1,5,2024-01-02\n":                                      "",
		"kind,transaction_id,user_id,amount,transaction_date\n,A,1,5,2024-01-02\n":                                                                   "",
	} {
		r := newTestReader(t, strings.NewReader(content))
		assert.Equal(t, want, r.SignColumn(), content)
	}
}

// A column of any known pair of markers is found, also with a few other cells in it.
func TestReaderSignColumnOfEachPair(t *testing.T) {
	t.Parallel()
	content := func(cells ...string) string {
		text := "transaction_id,user_id,amount,transaction_date,kind\n"
		for _, cell := range cells {
			text += "A,1,5,2024-01-02," + cell + "\n"
		}
		return text
	}
	for _, pair := range append(OppositeSigns(), [2]string{"Dr.", " cr. "}, [2]string{"\u2212", "+"}, [2]string{"De\u0301bit", "Crédit"}, [2]string{"Out", "in"}) {
		assert.Equal(t, "kind", newTestReader(t, strings.NewReader(content(pair[0], pair[1], ""))).SignColumn(), pair)
	}
	few := []string{"Deposit", "Deposit", "Deposit", "Withdrawal", "Deposit", "Deposit", "Deposit", "Deposit", "Deposit", "Fee"}
	assert.Equal(t, "kind", newTestReader(t, strings.NewReader(content(few...))).SignColumn())
	assert.Empty(t, newTestReader(t, strings.NewReader(content(append(few, "Fee")...))).SignColumn())
	for _, pair := range OppositeSigns() {
		assert.Equal(t, pair[0]+pair[1], Marker(pair[0])+Marker(pair[1]))
	}
}

// TestBlankName reads a column whose header is blank, and which a row lacks.
func TestBlankName(t *testing.T) {
	t.Parallel()
	wanted := columns()
	wanted[3].Header = " "
	r, err := NewReader(strings.NewReader("transaction_id,user_id,amount,\nA,1,5,2024-01-02\nB,2,6\n"), Dialect{}, wanted)
	require.NoError(t, err)
	records, err := readAll(r)
	require.NoError(t, err)
	assert.Equal(t, []string{"2 A 1 5 2024-01-02", "3 too_few_fields"}, records)
}
