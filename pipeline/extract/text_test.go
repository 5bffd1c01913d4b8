package extract

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReaderDialects(t *testing.T) {
	t.Parallel()
	const a, b = " A 1 5 2024-01-02", " B 2 6 2024-01-03"
	const cut = "transaction_id,user_id,transaction_date,amount,note\n"
	for _, c := range []struct {
		name    string
		dialect Dialect
		content string
		want    []string
	}{
		{"space as delimiter", Dialect{Delimiter: "space"}, strings.ReplaceAll(head, ",", " ") + "A 1 5 2024-01-02\n   \n\"B\" 2 6 2024-01-03\n", []string{"2" + a, "4" + b}},
		{"tab by name", Dialect{Delimiter: `\t`}, strings.ReplaceAll(head, ",", "\t") + "A\t1\t5\t2024-01-02\n\"B\" \t2\t6\t2024-01-03\n", []string{"2" + a, "3" + b}},
		{"the delimiter that is set wins", Dialect{Delimiter: ";"}, "sep=,\n" + strings.ReplaceAll(head, ",", ";") + "A;1;5;2024-01-02\n", []string{"3" + a}},
		{"single quotes", Dialect{Quote: "'"}, head + "'A',1,'5',2024-01-02\n'x''\n\"',1,5,2024-01-02\nO'B,\"2\",6,2024-01-03\n", []string{"2" + a, "3 x'\n\" 1 5 2024-01-02", "5 O'B \"2\" 6 2024-01-03"}},
		{"no quotes", Dialect{Quote: "none"}, head + "\"A\",1,5,2024-01-02\n\"B,2,6,2024-01-03\n", []string{`2 "A" 1 5 2024-01-02`, `3 "B 2 6 2024-01-03`}},
		{"space around quotes", Dialect{}, head + "\"A\" , \"1\",\t\"5\"\t,\"2024-01-02\" \r\n \"B\",2,6, \"2024-01-03\"", []string{"2" + a, "3" + b}},
		{"space around quotes over lines", Dialect{}, head + "\"A\",1,5, \"2024-01-02\n\" \t\nB , 2,6, \" \n\" x\nC,2,6, \"2024-01-03\n\n\",x", []string{"2 A 1 5 2024-01-02\n", "4 bad_quote", "5 bad_quote", "6 too_many_fields"}},
		{"lines that are no rows", Dialect{}, head + "\n \t\r\n,,,\n , ,,,,\nA,1,5,2024-01-02\n,\n\"\",,,\n\u00a0,\" \n\",,\n\",\",,,\n", []string{"6" + a, "11 ,   "}},
		{"repeated headers", Dialect{}, head + "A,1,5,2024-01-02\n" + head + "Transaction-ID,USER ID,amount,\"transaction_date\"\nB,2,6,2024-01-03\ntransaction_id,2,6,2024-01-03\n",
			[]string{"2" + a, "5" + b, "6 transaction_id 2 6 2024-01-03"}},
		{"repeated headers of another kind", Dialect{}, "transaction_id,user_id,amount,transaction_date,É t\nA,1,5,2024-01-02,\n \u00a0Transaction id, user_id,AMOUNT ,transaction_date, é-T \n" + head + "transaction_id,user_id,amount,transaction_date,x,y\nB,2,6,2024-01-03,\n",
			[]string{"2" + a, "6" + b}},
		{"byte order marks", Dialect{}, head + "A,1,5,2024-01-02\n\ufeff\n\ufeff" + head + "\ufeff\ufeff\"B\",2,6,2024-01-03\n\ufeff", []string{"2" + a, "5" + b}},
		{"extra fields", Dialect{}, head + "A,1,5,2024-01-02,\nB,2,6,\"2024-01-03\" , ,\"\",\nC,2,6,2024-01-03,,x\n", []string{"2" + a, "3" + b, "4 too_many_fields"}},
		{"extra fields where a comma may be a decimal sign", Dialect{}, cut + "A,1,2024-01-02,5,\nX,2,2024-01-03,6,50,\nC,1,2024-01-02,5,x\nB,2,2024-01-03,6,x,,\n", []string{"2" + a, "3 too_many_fields", "4 C 1 5 2024-01-02", "5" + b}},
		{"extra fields in all rows", Dialect{}, cut + "A,1,2024-01-02,5,,\nB,2,2024-01-03,6,\"5\",\nC,2,2024-01-03,6,5,,\n", []string{"2" + a, "3" + b, "4 too_many_fields"}},
		{"extra fields where a comma is no delimiter", Dialect{}, strings.ReplaceAll(cut+"A,1,2024-01-02,5,\nB,2,2024-01-03,6,5,\nC,1,2024-01-02,5,x\n", ",", ";"), []string{"2" + a, "3" + b, "4 C 1 5 2024-01-02"}},
		{"extra fields of invisible text", Dialect{}, head + "A,1,5,2024-01-02,\u00a0, \" \"\nB,2,6,2024-01-03,,\u200b\nC,1,5,2024-01-02,\",\"\nD,1,5,2024-01-02,\"\"\"\"\n", []string{"2" + a, "3" + b, "4 too_many_fields", "5 too_many_fields"}},
		{"invisible text around quotes", Dialect{}, head + "\u00a0\"A\"\u200b,1,5,\u2003\"2024-01-02\"\nB,2,6,\u00a0 \"2024\n\"\u00a0\n\u00a0\"C\",1,5,\u00a0\"\n,\"\n\u200bD,1,5,\u00a0x\"\n", []string{"2" + a, "3 B 2 6 2024\n", "5 C 1 5 \n,", "7 \u200bD 1 5 \u00a0x\""}},
		{"CR CR LF", Dialect{}, strings.ReplaceAll(head+"A,1,5,2024-01-02\n\nB,2,6,\"2024-01-03\"\nC,1,5,\"2024\r\n\"\n\"D\n\",1,5,2", "\n", "\r\r\n") + "\r\r", []string{"2" + a, "4" + b, "5 C 1 5 2024\r\r\r\n", "7 D\r\r\n 1 5 2"}},
		{"a last column without a name", Dialect{}, head[:len(head)-1] + ",\nA,1,5,2024-01-02\nB,2,6,2024-01-03,\nC,3,7\nD,3,7,5,x\n", []string{"2" + a, "3" + b, "4 too_few_fields", "5 too_many_fields"}},
		{"a last column with a name", Dialect{}, head[:len(head)-1] + ",x\nA,1,5,2024-01-02\n", []string{"2 too_few_fields"}},
		{"bytes that are no text", Dialect{}, "x," + head[:len(head)-1] + ",y\n\xff\x00,A,1,5,2024-01-02,\xe4\n,B\xff,1,5,2024-01-02,\n,B,1,5,2024-01-02\x00,\n,C\xff\n,B,2,6,2024-01-03,é\n",
			[]string{"2" + a, "3 invalid_utf8", "4 nul_byte", "5 invalid_utf8", "6" + b}},
		{"an end-of-file marker", Dialect{}, head + "A,1,5,2024-01-02\nB,2,6,2024-01-03\x1a\r\n\x00\x00\n", []string{"2" + a, "3" + b}},
		{"an end-of-file marker that is long", Dialect{}, head + "A,1,5,2024-01-02\n" + strings.Repeat("\x00", maxMarker), []string{"2" + a}},
		{"an end-of-file marker that is too long", Dialect{}, head + "A,1,5,2024-01-02\n" + strings.Repeat("\x00", maxMarker+1), []string{"2" + a, "3 nul_byte"}},
		{"no end-of-file marker", Dialect{}, head + "A,1,5,2024-01-02\n\x1a\n\x00\nB,2,6,2024-01-03\n", []string{"2" + a, "3 too_few_fields", "4 nul_byte", "5" + b}},
		{"CR", Dialect{}, strings.ReplaceAll("x\n"+head+"A,1,5,2024-01-02\n\n\"B\n\",2,6,2024-01-03\x1a", "\n", "\r"), []string{"3" + a, "5 B\n 2 6 2024-01-03"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for name, text := range map[string]io.Reader{
				"at once":      strings.NewReader(c.content),
				"byte by byte": iotest.OneByteReader(strings.NewReader(c.content)),
				"with the end": iotest.DataErrReader(strings.NewReader(c.content)),
			} {
				r, err := NewReader(text, c.dialect, columns())
				require.NoError(t, err)
				records, err := readAll(r)
				require.NoError(t, err)
				assert.Equal(t, c.want, records, name)
			}
			assert.Equal(t, c.want, readBlocks(t, c.content, c.dialect, columns()).records, "in blocks")
		})
	}
}

func TestReaderCounts(t *testing.T) {
	t.Parallel()
	r := newTestReader(t, strings.NewReader("x\n\n"+head+"\n,,\n\ufeff\nA,1,5,2024-01-02\n"+head))
	_, err := readAll(r)
	require.NoError(t, err)
	assert.EqualValues(t, 1, r.Skipped())
	assert.EqualValues(t, 4, r.EmptyLines())
	assert.EqualValues(t, 1, r.RepeatedHeaders())
	assert.Equal(t, "LF", r.LineEnds())
}

func TestReaderCarriageReturns(t *testing.T) {
	t.Parallel()
	lines := strings.ReplaceAll(head+strings.Repeat("A,1,5,2024-01-02\n", 130_000), "\n", "\r")
	r := newTestReader(t, strings.NewReader(lines))
	records, err := readAll(r)
	require.NoError(t, err)
	assert.Len(t, records, 130_000)
	assert.Equal(t, "130001 A 1 5 2024-01-02", records[129_999])
	assert.Equal(t, "CR", r.LineEnds())

	r = newTestReader(t, strings.NewReader(lines+"B\n"))
	records, err = readAll(r)
	require.EqualError(t, err, "line 130002: mixed_line_ends: the line ends with LF, and those before it with CR (save the file with one kind of line end)")
	assert.Len(t, records, 130_000)
}

// TestReaderOtherHeaders reads files in which the columns change their places.
func TestReaderOtherHeaders(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		head + "A,1,5,2024-01-02\nuser_id,transaction_id,amount,transaction_date\n2,7,6,2024-01-03\n":                    "line 3",
		head + "\"A\n\",1,5,2024-01-02\nx,transaction_id,\"User-ID\",amount,y,transaction_date\n":                        "line 4",
		head[:len(head)-1] + ",a,b\n" + strings.Repeat("A,1,5,2024-01-02,,\n", 16_000) + "amount,," + head[:len(head)-1]: "line 16002",
	} {
		for _, text := range []io.Reader{strings.NewReader(content), iotest.OneByteReader(strings.NewReader(content))} {
			r := newTestReader(t, text)
			_, err := readAll(r)
			require.EqualError(t, err, want+": bad_header: the line is a header with the columns in other places than that of line 1 (make a file of each part)")
			_, again := r.Next()
			require.Equal(t, err, again)
			err = Parallel(t.Context(), newTestReader(t, strings.NewReader(content)), func() func(*Reader) int {
				return func(block *Reader) int {
					part, _ := readAll(block)
					return len(part)
				}
			}, func(int) error { return nil })
			require.EqualError(t, err, again.Error())
		}
	}
}
