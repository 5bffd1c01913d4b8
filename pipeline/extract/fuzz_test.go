package extract

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// sameInAllWays reads content at once, byte by byte and in blocks, and gives its records.
// A file that is refused, is refused each time.
func sameInAllWays(t *testing.T, content []byte, dialect Dialect, columns []Column) (reading, error) {
	t.Helper()
	slow, slowErr := NewReader(iotest.OneByteReader(bytes.NewReader(content)), dialect, columns)
	r, err := NewReader(bytes.NewReader(content), dialect, columns)
	if err != nil {
		var bad *FileError
		require.ErrorAs(t, err, &bad)
		require.EqualError(t, slowErr, err.Error())
		return reading{}, err
	}
	require.NoError(t, slowErr)
	require.Equal(t, r.Sample(3), slow.Sample(3))
	require.Equal(t, r.SignColumn(), slow.SignColumn())
	records, err := readAll(r)
	again, slowErr := readAll(slow)
	if err != nil {
		var bad *FileError
		require.ErrorAs(t, err, &bad)
		require.EqualError(t, slowErr, err.Error())
		require.Equal(t, records, again)
		blocks, blocksErr := NewReader(bytes.NewReader(content), dialect, columns)
		require.NoError(t, blocksErr)
		require.EqualError(t, Parallel(t.Context(), blocks, func() func(*Reader) int {
			return func(block *Reader) int { part, _ := readAll(block); return len(part) }
		}, func(int) error { return nil }), err.Error())
		return reading{}, err
	}
	require.NoError(t, slowErr)
	want := reading{records, countsOf(r)}
	require.Equal(t, want, reading{again, countsOf(slow)})
	require.Equal(t, want, readBlocks(t, string(content), dialect, columns))
	return want, nil
}

// FuzzHeader searches for headers: no panic, every byte accounted for, and the same
// result however the file is read.
func FuzzHeader(f *testing.F) {
	const row = "A,1,5,2024-01-02\n"
	for _, s := range []string{
		head + row, "sep=;\n" + strings.ReplaceAll(head+row, ",", ";"), "x\n\"\n" + head + row + head, "\ufeff\"sep=|\"\r\n" + head + row,
		"Transaction-ID,\"user\nid\", \"AMOUNT\" ,transaction_date,\n" + row, strings.ReplaceAll("x\n"+head+row, "\n", "\r"),
		"\"transaction_id,user_id,amount,transaction_date\"\n", "\"transaction_id,user_id,amount,transaction_date\n" + head + row,
		head + row + "\x1a\n\x00", "kind,transaction_id,user_id,amount,transaction_date\nS,A,1,5,2024-01-02\nH,,,,\n", "A,1,5,2024-01-02\nB;2;6;2024-01-03\n",
	} {
		f.Add([]byte(s), byte(0))
		f.Add([]byte(s), byte(7))
	}
	f.Fuzz(func(t *testing.T, content []byte, setting byte) {
		wanted, dialect := columns(), Dialect{}
		if setting%4 == 1 {
			dialect.Header = HeaderNone
			for i := range wanted {
				wanted[i].Header = string('1' + (setting/4+byte(i))%8)
			}
		}
		account(t, content, delimiters[setting%4], '"')
		_, _ = sameInAllWays(t, content, dialect, wanted)
		_, err := Sample(bytes.NewReader(content), dialect, 5)
		require.NoError(t, err)
	})
}

// FuzzDialect reads with the settings of a dialect.
func FuzzDialect(f *testing.F) {
	for _, s := range []string{"A,1,5,2024-01-02\n", "'A' , '1\n',\t\"5\",2024-01-02,, \n,,,\n", "O'B,1,5,2024-01-02\n''',1,5,x\n", "\ufeff'A','''',5,6\n\xff,\x00,,\n"} {
		f.Add([]byte(s), byte(','), byte('\''), false)
		f.Add([]byte(strings.ReplaceAll(s, ",", " ")), byte(' '), byte('"'), false)
		f.Add([]byte(s), byte(','), byte(0), true)
	}
	f.Fuzz(func(t *testing.T, content []byte, delimiter, quote byte, headless bool) {
		dialect, wanted := Dialect{Delimiter: string(rune(delimiter)), Quote: string(rune(quote))}, columns()
		if quote == 0 {
			dialect.Quote = "none"
		}
		if headless {
			dialect.Header = HeaderNone
			wanted = []Column{{"transaction_id", "1"}, {"user_id", "2"}, {"amount", "1"}, {"transaction_date", "3"}}
		} else {
			content = append([]byte(strings.ReplaceAll(head, ",", string(rune(delimiter)))), content...)
		}
		if dialect.Check() != nil {
			return
		}
		account(t, content, delimiter, quote)
		_, _ = sameInAllWays(t, content, dialect, wanted)
	})
}

// FuzzAgainstEncodingCSV compares files that both read: strict quoting, no CR, and as
// many fields in each row as in the header.
func FuzzAgainstEncodingCSV(f *testing.F) {
	for _, s := range []string{"A,1,5,2024-01-02\n", "\"A\",\"1\",\"5\n\",\"\"\"\"\n", "\n\n,1,5,\n,1,5,\nB,\"\",,x"} {
		f.Add([]byte(s), byte(0))
		f.Add([]byte(strings.ReplaceAll(s, ",", ";")), byte(1))
	}
	f.Fuzz(func(t *testing.T, rows []byte, which byte) {
		delimiter := delimiters[which%4]
		content := append([]byte(strings.ReplaceAll(head, ",", string(delimiter))), rows...)
		if bytes.ContainsAny(rows, "\r\x00\x1a") || !plain(rows) {
			return // what encoding/csv changes, or keeps as text
		}
		r := csv.NewReader(bytes.NewReader(content))
		r.Comma = rune(delimiter)
		want, err := r.ReadAll()
		if err != nil {
			return
		}
		reader, err := NewReader(bytes.NewReader(content), Dialect{Delimiter: string(delimiter)}, columns())
		require.NoError(t, err)
		var got [][]string
		rec, err := reader.Next()
		for ; err == nil; rec, err = reader.Next() {
			require.Zero(t, rec.Fault)
			got = append(got, []string{string(rec.Cell(0)), string(rec.Cell(1)), string(rec.Cell(2)), string(rec.Cell(3))})
		}
		if !errors.Is(err, io.EOF) {
			return // a header in another order
		}
		header := want[0]
		want = slices.DeleteFunc(want, func(row []string) bool { return sameRow(row, header) })
		require.Equal(t, withText(want), withText(got))
	})
}

// sameRow reports whether a row repeats the header.
func sameRow(row, header []string) bool {
	return slices.EqualFunc(row, header, func(a, b string) bool { return fold(a) == fold(b) })
}
