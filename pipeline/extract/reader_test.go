package extract

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/pipeline/synthetic"
)

const head = "transaction_id,user_id,amount,transaction_date\n"

func columns() []Column {
	return []Column{
		{"transaction_id", "transaction_id"}, {"user_id", "user_id"},
		{"amount", "amount"}, {"transaction_date", "transaction_date"},
	}
}

func newTestReader(t *testing.T, r io.Reader) *Reader {
	t.Helper()
	reader, err := NewReader(r, Dialect{}, columns())
	require.NoError(t, err)
	return reader
}

func generated(tb testing.TB, f synthetic.File) []byte {
	tb.Helper()
	var b bytes.Buffer
	require.NoError(tb, synthetic.Write(tb.Context(), &b, f))
	return b.Bytes()
}

// readAll reads a file's records as one line of text each: the line, then the cells or
// the fault.
func readAll(r *Reader) ([]string, error) {
	records := []string{}
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return records, nil
		}
		if err != nil {
			return records, err
		}
		s := fmt.Sprintf("%d ", rec.Line)
		if rec.Fault != 0 {
			s += rec.Fault.String()
		} else {
			s += fmt.Sprintf("%s %s %s %s", rec.Cell(0), rec.Cell(1), rec.Cell(2), rec.Cell(3))
		}
		records = append(records, s)
	}
}

func TestReaderHeaderErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, content, code, column, hint string
	}{
		{"empty file", "", CodeEmptyFile, "", ""},
		{"only empty lines", "\n\r\n\n", CodeEmptyFile, "", ""},
		{"missing column", "transaction_id,user_id,amount\n", CodeMissingColumn, "transaction_date", ""},
		{"missing columns", "id;amount;x\n", CodeMissingColumn, "transaction_id, user_id, transaction_date", ""},
		{"no header", "TXN1,1,5,2024-01-02\n", CodeMissingColumn, "transaction_id, user_id, amount, transaction_date", "first line"},
		{"repeated column", "transaction_id,user_id,amount,Amount,transaction_date,USER_ID\n", CodeRepeatedColumn, "user_id, amount", ""},
		{"UTF-16 without a byte order mark", strings.ReplaceAll(head, "", "\x00"), CodeMissingColumn, "transaction_id, user_id, amount, transaction_date", "UTF-16"},
		{"CR as line end, and one LF", strings.ReplaceAll(head+"A,1,5,2024-01-02\n", "\n", "\r") + "\n", CodeBadHeader, "", "LF"},
		{"CR as line end, and one LF, and a last column that is not used", strings.ReplaceAll("transaction_id,user_id,amount,transaction_date,x\nA,1,5,2024-01-02,\n", "\n", "\r") + "\n", CodeBadHeader, "", "LF"},
		{"unclosed quote", "\"transaction_id,user_id,amount,transaction_date\nA,1,5,2024-01-02\n", CodeBadHeader, "", ""},
		{"bad quote", "\"transaction_id\"x,user_id,amount,transaction_date\nA,1,5,2024-01-02\n", CodeBadHeader, "", ""},
		{"too long", strings.Repeat("x", 2*MaxRecord+1) + "\n" + head, CodeBadHeader, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := NewReader(strings.NewReader(c.content), Dialect{}, columns())
			var bad *FileError
			require.ErrorAs(t, err, &bad)
			assert.Equal(t, c.code, bad.Code)
			assert.Equal(t, c.column, bad.Column)
			assert.Contains(t, bad.Hint, c.hint)
			assert.Less(t, len(err.Error()), 600, "a hostile header makes no endless message")
		})
	}
}

func TestReaderRaw(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 40_000)
	content := head + "A,1,,\"2024\n-01\"\r\n\xff,1,5,2024-01-02\nx" + long + "\n" + strings.Repeat("z", 3<<20) + "\r\nB,2,6,2024-01-03\n"
	r := newTestReader(t, strings.NewReader(content))
	var rec *Record
	next := func() {
		var err error
		rec, err = r.Next()
		require.NoError(t, err)
	}

	next()
	assert.Equal(t, "A,1,,\"2024\n-01\"", string(rec.Raw()))
	assert.EqualValues(t, 15, rec.Length)
	next()
	assert.Equal(t, "\xff,1,5,2024-01-02", string(rec.Raw()), "to the byte")
	next()
	assert.Equal(t, "x"+long[:MaxRaw-2], string(rec.Raw()), "no character is cut through")
	assert.EqualValues(t, 80_001, rec.Length)
	next()
	assert.Equal(t, strings.Repeat("z", MaxRaw), string(rec.Raw()))
	assert.EqualValues(t, 3<<20, rec.Length)
	assert.Equal(t, FaultRowTooLong, rec.Fault)
	next()
	assert.Equal(t, "B,2,6,2024-01-03", string(rec.Raw()))
	assert.EqualValues(t, 7, rec.Line)
	for range 2 {
		_, err := r.Next()
		require.ErrorIs(t, err, io.EOF)
	}
}

func TestReaderRawOfNoText(t *testing.T) {
	t.Parallel()
	r := newTestReader(t, strings.NewReader(head+strings.Repeat("\x80", MaxRaw+9)))
	rec, err := r.Next()
	require.NoError(t, err)
	assert.Equal(t, "invalid_utf8", rec.Fault.String())
	assert.Len(t, rec.Raw(), MaxRaw-4, "a cut is moved by a character at most")
	assert.EqualValues(t, MaxRaw+9, rec.Length)
}

func TestReaderColumns(t *testing.T) {
	t.Parallel()
	r, err := NewReader(strings.NewReader("\"a\"\"b\";transaction_id; User_ID ;amount;transaction_date;\"x\"y\"\n"), Dialect{}, columns())
	var bad *FileError
	require.ErrorAs(t, err, &bad)
	require.Nil(t, r)
	r, err = NewReader(strings.NewReader("\"a\"\"b\";transaction_id; User_ID ;amount;transaction_date;c\"\n"), Dialect{}, columns())
	require.NoError(t, err)
	assert.Equal(t, []string{`a"b`, "transaction_id", "User_ID", "amount", "transaction_date", `c"`}, r.Columns())
	assert.Equal(t, byte(';'), r.Delimiter())
}
