package transform

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/synthetic"
)

const head = "transaction_id,user_id,amount,transaction_date\n"

// rowReader reads rows one by one.
type rowReader struct {
	*extract.Reader
	*Cleaner
}

// newRowReader reads a file by the settings: nothing else is known of its conventions.
func newRowReader(r io.Reader, rules Rules) (*rowReader, error) {
	return newReadingReader(r, Reading{Rules: rules, LogicalDate: logicalDate, Conventions: rules.Resolve(&Learned{}, &Evidence{})})
}

func newReadingReader(r io.Reader, reading Reading) (*rowReader, error) {
	cleaner, err := NewCleaner(reading)
	if err != nil {
		return nil, err
	}
	reader, err := extract.NewReader(r, reading.Rules.Dialect, reading.Rules.Wanted())
	return &rowReader{reader, cleaner}, err
}

func (r *rowReader) Next(row *Row) error {
	record, err := r.Reader.Next()
	if err == nil {
		r.Clean(record, row)
	}
	return err
}

// readAll reads a file's rows as one line of text each: the line, then the
// values or the faults.
func readAll(r *rowReader) ([]string, error) {
	rows := []string{}
	var row Row
	for {
		if err := r.Next(&row); err != nil {
			if errors.Is(err, io.EOF) {
				return rows, nil
			}
			return rows, err
		}
		s := fmt.Sprintf("%d ", row.Line)
		if row.Faults != 0 {
			s += strings.Join(row.Faults.Strings(), " ")
		} else {
			s += fmt.Sprintf("%s %d %s %s", row.ID, row.UserID, row.Amount, row.Date)
		}
		rows = append(rows, s)
	}
}

func TestReaderRows(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 10<<20)
	for _, c := range []struct {
		name, content string
		want          []string
	}{
		{"header only", head, []string{}},
		{"header without line end", strings.TrimSpace(head), []string{}},
		{"LF", head + "A,1,5,2024-01-02\nB,2,-6.50,2024-01-03\n", []string{"2 A 1 5 2024-01-02", "3 B 2 -6.5 2024-01-03"}},
		{"CRLF", strings.ReplaceAll(head+"A,1,5,2024-01-02\nB,2,6,2024-01-03\n", "\n", "\r\n"), []string{"2 A 1 5 2024-01-02", "3 B 2 6 2024-01-03"}},
		{"no last line end", head + "A,1,5,2024-01-02", []string{"2 A 1 5 2024-01-02"}},
		{"CR at the very end", head + "A,1,5,2024-01-02\r", []string{"2 A 1 5 2024-01-02"}},
		{"empty lines", "\n\r\n" + head + "\n\nA,1,5,2024-01-02\n\r\nB,2,6,2024-01-03\n\n", []string{"6 A 1 5 2024-01-02", "8 B 2 6 2024-01-03"}},
		{"a line of spaces is no row", head + "  \nA,1,5,2024-01-02\n", []string{"3 A 1 5 2024-01-02"}},
		{"semicolon", "transaction_id;user_id;amount;transaction_date\nA;1;5,00;2024-01-02\nB;1;5.5;2024-01-02\n", []string{"2 A 1 5 2024-01-02", "3 B 1 5.5 2024-01-02"}},
		{"tab", strings.ReplaceAll(head+"A,1,5,2024-01-02\n", ",", "\t"), []string{"2 A 1 5 2024-01-02"}},
		{"pipe", strings.ReplaceAll(head+"A,1,5,2024-01-02\n", ",", "|"), []string{"2 A 1 5 2024-01-02"}},
		{"order, case, spaces and further columns", "Note, AMOUNT ,Transaction_Date,\"USER_ID\",\"a \"\"b\"\"\",transaction_ID\nx,5,2024-01-02,1,,A\n", []string{"2 A 1 5 2024-01-02"}},
		{"a further column named twice", "x,x,transaction_id,user_id,amount,transaction_date\n,,A,1,5,2024-01-02\n", []string{"2 A 1 5 2024-01-02"}},
		{"header over two lines", "\"a\nnote\",transaction_id,user_id,amount,transaction_date\n,A,1,5,2024-01-02\n", []string{"3 A 1 5 2024-01-02"}},
		{"cells are trimmed", head + " A b\t,\u00a01 , 5 ,2024-01-02 \n", []string{"2 A b 1 5 2024-01-02"}},
		{"all quoted", head + "\"A\",\"1\",\"1,234.50\",\"2024-01-02\"\r\n\"B\"\"C\",2,6,2024-01-03\n", []string{"2 A 1 1234.5 2024-01-02", "3 B\"C 2 6 2024-01-03"}},
		{"quote inside a field", head + "A\"1\",1,5,2024-01-02\nB\"\"C,1,5,2024-01-02\n", []string{"2 A\"1\" 1 5 2024-01-02", "3 B\"\"C 1 5 2024-01-02"}},
		{"quoted newline", head + "A,1,5,\"2024-01-02\n\"\r\nB,2,6,2024-01-03\n", []string{"2 A 1 5 2024-01-02", "4 B 2 6 2024-01-03"}},
		{"quoted newline in an id", head + "\"A\r\nB\",1,5,2024-01-02\nB,2,6,2024-01-03\n", []string{"2 invalid_transaction_id", "4 B 2 6 2024-01-03"}},
		{"unclosed quote", head + "\"A,1,5,2024-01-02\nB,2,6,2024-01-03\nC,3,7,2024-01-04\n", []string{"2 unclosed_quote", "3 B 2 6 2024-01-03", "4 C 3 7 2024-01-04"}},
		{"unclosed quote in the last line", head + "B,2,6,2024-01-03\nA,1,5,\"2024-01-02", []string{"2 B 2 6 2024-01-03", "3 unclosed_quote"}},
		{"bad quote", head + "\"A\"x,1,5,2024-01-02\nB,2,6,2024-01-03\n", []string{"2 bad_quote", "3 B 2 6 2024-01-03"}},
		{"bad quote found lines later", head + "\"A,1,5,2024-01-02\nB,2,6,2024-01-03\n\"C\",3,7,2024-01-04\n", []string{"2 bad_quote", "3 B 2 6 2024-01-03", "4 C 3 7 2024-01-04"}},
		{"space after a closing quote", head + "\"A\" ,1,5,2024-01-02\n", []string{"2 A 1 5 2024-01-02"}},
		{"NUL byte", head + "A\x00,1,5,2024-01-02\nB,2,6,2024-01-03\n", []string{"2 nul_byte", "3 B 2 6 2024-01-03"}},
		{"invalid UTF-8", head + "A\xff,1,5,2024-01-02\nB,2,6,2024-01-03\nC\xc3\n", []string{"2 invalid_utf8", "3 B 2 6 2024-01-03", "4 invalid_utf8"}},
		{"UTF-8", head + "Äß€😀,1,5,2024-01-02\n", []string{"2 Äß€😀 1 5 2024-01-02"}},
		{"a field of 10 MB", head + "A,1,5,2024-01-02\n" + long + ",1,5,2024-01-02\nB,2,6,2024-01-03\n", []string{"2 A 1 5 2024-01-02", "3 row_too_long", "4 B 2 6 2024-01-03"}},
		{"a quoted field of 10 MB", head + "\"" + long + "\",1,5,2024-01-02\nB,2,6,2024-01-03\n", []string{"2 row_too_long", "3 B 2 6 2024-01-03"}},
		{"10 MB at the end of the file", head + long, []string{"2 row_too_long"}},
		{"a last line cut in its date", head + "A,1,5,2024-01-02\nB,2,6,2024-01-0", []string{"2 A 1 5 2024-01-02", "3 invalid_date"}},
		{"a last line cut in its amount", head + "B,2,6.", []string{"2 too_few_fields"}},
		{"too few and too many fields", head + "A,1,5\nB,2,6,2024-01-03,x\nC,3,7,2024-01-04,\nD\n,,,,\n,,,,x\n", []string{"2 too_few_fields", "3 too_many_fields", "4 C 3 7 2024-01-04", "5 too_few_fields", "7 too_many_fields"}},
		{"structural faults stand alone", head + "A,x,x\n\x00,x,x,x\n", []string{"2 too_few_fields", "3 nul_byte"}},
		{"all cells blank", head + "NULL,,,\n,,,\n", []string{"2 missing_transaction_id missing_user_id missing_amount missing_date"}},
		{"every cell has its fault", head + "\x01,x,x,x\n", []string{"2 invalid_transaction_id invalid_user_id invalid_amount invalid_date"}},
		{"id of 50 and of 51 characters", head + strings.Repeat("ä", 50) + ",1,5,2024-01-02\n" + strings.Repeat("a", 51) + ",1,5,2024-01-02\n" + strings.Repeat("ä", 51) + ",1,5,2024-01-02\n" + strings.Repeat("a", 50) + "\t\v,1,5,2024-01-02\n",
			[]string{"2 " + strings.Repeat("ä", 50) + " 1 5 2024-01-02", "3 transaction_id_too_long", "4 transaction_id_too_long", "5 " + strings.Repeat("a", 50) + " 1 5 2024-01-02"}},
		{"control characters in an id", head + "A\tB,1,5,2024-01-02\nA\x7f,1,5,2024-01-02\nA\u0085B,1,5,2024-01-02\nA\x1bABCDEFGH,1,5,2024-01-02\n" + strings.Repeat("\x01", 51) + "x,1,5,2024-01-02\n",
			[]string{"2 invalid_transaction_id", "3 invalid_transaction_id", "4 invalid_transaction_id", "5 invalid_transaction_id", "6 transaction_id_too_long invalid_transaction_id"}},
		{"amounts", head + "A,1,1e5,2024-01-02\nA,1,inf,2024-01-02\nA,1,1.23456,2024-01-02\nA,1,\"(1,234.50)\",2024-01-02\nA,1,USD 12,2024-01-02\nA,1,\"1,234\",2024-01-02\n",
			[]string{"2 invalid_amount", "3 invalid_amount", "4 amount_precision", "5 A 1 -1234.5 2024-01-02", "6 A 1 12 2024-01-02", "7 ambiguous_amount"}},
		{"dates", head + "A,1,5,2024-02-30\nA,1,5,31/31/2024\nA,1,5,1/2/2024\nA,1,5,1899-12-31\n",
			[]string{"2 impossible_date", "3 impossible_date", "4 ambiguous_date", "5 date_out_of_window"}},
		{"ambiguous and faulty", head + "A,1,,1/2/2024\n", []string{"2 missing_amount ambiguous_date"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, err := newRowReader(strings.NewReader(c.content), Rules{})
			require.NoError(t, err)
			rows, err := readAll(r)
			require.NoError(t, err)
			require.Equal(t, c.want, rows)
			if len(c.content) > 1<<20 {
				return // byte by byte this takes too long
			}
			r, err = newRowReader(iotest.DataErrReader(iotest.OneByteReader(strings.NewReader(c.content))), Rules{})
			require.NoError(t, err)
			rows, err = readAll(r)
			require.NoError(t, err)
			require.Equal(t, c.want, rows, "however the bytes come in")
		})
	}
}

func TestReaderErrors(t *testing.T) {
	t.Parallel()
	_, err := newRowReader(strings.NewReader(head), Rules{Slash: "x"})
	require.ErrorContains(t, err, "rules: slash")

	broken := errors.New("disk on fire")
	_, err = newRowReader(iotest.ErrReader(broken), Rules{})
	require.ErrorIs(t, err, broken)

	for _, rest := range []string{"B,2,6,2024-01-0", "B,2,6,\"2024-01-03\n", "B,2,6,\"x\ny\"\n\"", strings.Repeat("x", 2<<20)} {
		r, err := newRowReader(io.MultiReader(strings.NewReader(head+"A,1,5,2024-01-02\n"+rest), iotest.ErrReader(broken)), Rules{})
		require.NoError(t, err)
		rows, err := readAll(r)
		require.ErrorIs(t, err, broken)
		require.Equal(t, "2 A 1 5 2024-01-02", rows[0])
		require.NotContains(t, strings.Join(rows, "\n"), "quote", "what the error cut short is no row")
		var row Row
		require.ErrorIs(t, r.Next(&row), broken, "and it stays")
	}

	r, err := newRowReader(io.MultiReader(strings.NewReader(head), stuck{}), Rules{})
	require.NoError(t, err)
	_, err = readAll(r)
	require.ErrorIs(t, err, io.ErrNoProgress)
}

// stuck never reads anything.
type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// TestReaderFindsOddBytes has them in all places relative to the reads.
func TestReaderFindsOddBytes(t *testing.T) {
	t.Parallel()
	const rows = "A,1,5,2024-01-02\nB\x00,1,5,2024-01-02\né,1,5,2024-01-02\nC,1,5,2024-01-02\nD\xff,1,5,2024-01-02\n"
	for i := range len(rows) {
		for j := i; j < len(rows); j++ {
			chunks := io.MultiReader(strings.NewReader(head), strings.NewReader(rows[:i]), strings.NewReader(rows[i:j]), strings.NewReader(rows[j:]))
			r, err := newRowReader(chunks, Rules{})
			require.NoError(t, err)
			got, err := readAll(r)
			require.NoError(t, err)
			require.Equal(t, []string{"2 A 1 5 2024-01-02", "3 nul_byte", "4 é 1 5 2024-01-02", "5 C 1 5 2024-01-02", "6 invalid_utf8"}, got, "%d %d", i, j)
		}
	}
}

// TestReaderForgets shows that nothing of one row is left in the next.
func TestReaderForgets(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"x", "NULL,,,", "\x00,", "\"", strings.Repeat("x", 2<<20)} {
		r, err := newRowReader(strings.NewReader(head+"A,1,$5,13/2/2024\n"+bad+"\n"), Rules{})
		require.NoError(t, err)
		var row Row
		require.NoError(t, r.Next(&row))
		require.NoError(t, r.Next(&row))
		assert.NotZero(t, row.Faults)
		row.Faults, row.Raw, row.RawLength, row.Line, row.Hints = 0, nil, 0, 0, nil
		assert.Equal(t, Row{}, row)
	}
}

// TestReaderKeepsIDs shows that ids outlive the rows they came from.
func TestReaderKeepsIDs(t *testing.T) {
	t.Parallel()
	const n = 20_000
	var b strings.Builder
	b.WriteString(head)
	random := rand.New(rand.NewPCG(1, 1))
	want := make([]string, n)
	for i := range want {
		want[i] = fmt.Sprint(i, strings.Repeat("ü", random.IntN(45)))
		fmt.Fprintf(&b, "%s,1,5,2024-01-02\n", want[i])
	}
	r, err := newRowReader(strings.NewReader(b.String()), Rules{})
	require.NoError(t, err)
	got := make([]string, n)
	var row Row
	for i := range got {
		require.NoError(t, r.Next(&row))
		got[i] = string(row.ID)
	}
	require.Equal(t, want, got)
}

// TestReaderSampleFile reads the sample file.
func TestReaderSampleFile(t *testing.T) {
	t.Parallel()
	const path = "../../../shared/data/assignment.csv"
	if _, err := os.Stat(path); err != nil {
		t.Skip("the sample file is not part of the project: ", err)
	}
	f, err := extract.Open(t.Context(), nil, bucket.Path(path), extract.Dialect{})
	require.NoError(t, err)
	r, err := newReadingReader(f, Reading{LogicalDate: logicalDate, Conventions: Rules{}.Assume(&Learned{})})
	require.NoError(t, err)
	var row Row
	var read, valid, both int
	faults := map[string]int{}
	for err = r.Next(&row); err == nil; err = r.Next(&row) {
		read++
		if row.Faults == 0 {
			valid++
			continue
		}
		faults[row.Faults.First().String()]++
		if row.Faults == Faults(0).With(FaultMissingAmount).With(FaultMissingDate) {
			both++
		}
	}
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, f.Close())
	assert.Equal(t, 1015, read)
	assert.Equal(t, 809, valid)
	assert.Equal(t, map[string]int{"missing_amount": 199, "missing_date": 7}, faults)
	assert.Equal(t, 4, both)
	evidence := &r.Findings().Evidence
	assert.Equal(t, [...]int64{146, 0, 10, 98}, cells(evidence[Slash]))
	assert.Equal(t, [...]int64{0, 159, 4, 85}, cells(evidence[Dash]))
	assert.Zero(t, evidence[Dot])
	assert.Equal(t, [...]int64{816, 0, 0, 0}, cells(evidence[Decimal]))
	resolved := Rules{}.Resolve(&Learned{}, evidence)
	assert.Equal(t, Conventions{{Choice: MonthFirst, Origin: FromFile}, {Choice: DayFirst, Origin: FromFile}, {}, {Choice: DecimalPoint, Origin: FromFile}}, resolved)
	assert.True(t, evidence.ReadsAlike(Rules{}.Assume(&Learned{}), resolved), "one reading is enough")
}

// cells counts the values that show the first choice, the second, both alike, or neither.
func cells(n Counts) [4]int64 {
	return [...]int64{n.First.Cells, n.Second.Cells, n.Alike.Cells, n.Ambiguous.Cells}
}

// FuzzRows looks for results that depend on how the bytes come in.
func FuzzRows(f *testing.F) {
	for _, s := range []string{
		"A,1,5,2024-01-02\n", "\"A\",1,\"1,234.5\",1/2/2024\r\n", "\"A\n\"\"B\",1,5,2024-01-02\n", "\"A,1\nB\",\"\nC", "\"A\"x\n\n\n\"",
		"\x00\n\xff,,,\n,,,,,\n", "A,1,5,\"", "\r\n\r", "x\",\"\nx\",\"\n", "A,1,(5),27/11/2024\nA,1,5,1.2.2024",
	} {
		f.Add([]byte(head+s), byte(0))
		f.Add([]byte(s), byte(3))
	}
	f.Fuzz(func(t *testing.T, content []byte, dot byte) {
		rules := Rules{Decimal: []string{"", "point", "comma"}[dot%3], Dot: []string{"", "dmy"}[dot%2]}
		r, err := newRowReader(bytes.NewReader(content), rules)
		if err != nil {
			var bad *extract.FileError
			require.ErrorAs(t, err, &bad)
			return
		}
		rows, err := readAll(r)
		require.NoError(t, err)
		slow, err := newRowReader(iotest.OneByteReader(bytes.NewReader(content)), rules)
		require.NoError(t, err)
		again, err := readAll(slow)
		require.NoError(t, err)
		require.Equal(t, rows, again)
		require.Equal(t, r.Findings(), slow.Findings())
	})
}

// TestRowsAllocateNothing counts what reading and cleaning a row costs.
func TestRowsAllocateNothing(t *testing.T) {
	content := generated(t, synthetic.File{Rows: 20_000, Seed: 3})
	content = append(content, quoteAll([]byte("Ä\"\"B,1,5,2024-01-02\n"))...)
	r, err := newReadingReader(bytes.NewReader(content), Reading{LogicalDate: logicalDate, Conventions: Rules{}.Assume(&Learned{})})
	require.NoError(t, err)
	var row Row
	perThousand := testing.AllocsPerRun(10, func() {
		for range 1000 {
			require.NoError(t, r.Next(&row))
		}
	})
	require.Less(t, perThousand, 1.0)
}
