package extract

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/pipeline/synthetic"
)

// TestScannerIsLinear feeds lines of which each opens a quote that no later
// line closes. Were each searched on its own, this would take a walk of
// MaxRecord bytes per line: over 1 TB in all.
func TestScannerIsLinear(t *testing.T) {
	t.Parallel()
	for name, line := range map[string]string{
		"reopened by each line": "x\",\"\n",
		"a pair in each line":   "\"x\"\"\n",
		"opened by each line":   "\"\"\"x\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const size = 2 << 20 // of 4 bytes a line: were each read on to the limit, it would take minutes
			content := append([]byte(head), bytes.Repeat([]byte(line), size/len(line))...)
			r := newTestReader(t, bytes.NewReader(content))
			start := time.Now()
			records := 0
			rec, err := r.Next()
			for ; err == nil; rec, err = r.Next() {
				if rec.Fault != 0 {
					records++
				}
			}
			require.ErrorIs(t, err, io.EOF)
			require.Equal(t, size/len(line), records)
			require.Less(t, time.Since(start), 30*time.Second)
			require.LessOrEqual(t, len(r.scan.buf), lastBuffer)
		})
	}
}

// TestScannerLimits puts records right at the limit and just past it.
func TestScannerLimits(t *testing.T) {
	t.Parallel()
	const next = "B,2,6,2024-01-03\n"
	for _, end := range []string{"\n", "\r\n"} {
		for _, over := range []int{0, 1} {
			plain := strings.Repeat("x", MaxRecord-len(",1,5,2024-01-02")+over) + ",1,5,2024-01-02"
			quoted := `"` + strings.Repeat("x\n", (MaxRecord-20)/2)
			quoted += strings.Repeat("y", MaxRecord-len(quoted)-len(`",1,5,2024-01-02`)+over) + `",1,5,2024-01-02`
			closing := `1,5,2024-01-02,"` + strings.Repeat("\n", MaxRecord-17+over) + `"`
			for i, content := range []string{plain, quoted, closing} {
				require.Len(t, content, MaxRecord+over)
				r := newTestReader(t, strings.NewReader(head+content+end+next))
				rec, err := r.Next()
				require.NoError(t, err)
				if over > 0 {
					want := []Fault{FaultRowTooLong, FaultUnclosedQuote, FaultUnclosedQuote}[i]
					assert.Equal(t, want, rec.Fault, "%d %q over %d", i, end, over)
				} else {
					assert.Zero(t, rec.Fault, "%d %q", i, end)
					cells := string(rec.Cell(0)) + "," + string(rec.Cell(1)) + "," + string(rec.Cell(2)) + "," + string(rec.Cell(3))
					assert.Equal(t, strings.ReplaceAll(content, `"`, ""), cells, "%d %q", i, end)
				}
				var last string
				for rec, err = r.Next(); err == nil; rec, err = r.Next() {
					last = rec.Fault.String()
					if rec.Fault == 0 {
						last = string(rec.Cell(0))
					}
				}
				require.ErrorIs(t, err, io.EOF)
				assert.Equal(t, "B", last, "%d %q over %d", i, end, over)
			}
		}
	}
}

// TestScannerMemory reads a line of 16 MB.
func TestScannerMemory(t *testing.T) {
	t.Parallel()
	long := io.LimitReader(repeated('x'), 16<<20)
	r := newTestReader(t, io.MultiReader(strings.NewReader(head), long, strings.NewReader("\nA,1,5,2024-01-02\n")))
	rows, err := readAll(r)
	require.NoError(t, err)
	require.Equal(t, []string{"2 row_too_long", "3 A 1 5 2024-01-02"}, rows)
	require.LessOrEqual(t, len(r.scan.buf), lastBuffer)
	require.LessOrEqual(t, cap(r.scan.cut), 2*MaxRaw)
}

type repeated byte

func (c repeated) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(c)
	}
	return len(p), nil
}

// TestReaderAllocatesNothing counts what reading a record costs.
func TestReaderAllocatesNothing(t *testing.T) {
	content := generated(t, synthetic.File{Rows: 20_000, Seed: 3})
	content = append(content, "\"Ä\"\"B\",\"1\",\"5\",\"2024-01-02\"\n"...)
	r := newTestReader(t, bytes.NewReader(content))
	perThousand := testing.AllocsPerRun(10, func() {
		for range 1000 {
			_, err := r.Next()
			require.NoError(t, err)
		}
	})
	require.Less(t, perThousand, 1.0)
}

// account adds up where every byte of a stream went, and fails where one is missing: a
// record starts where the one before it ended, but for empty lines and byte order marks,
// and the file ends with the last one, but for its marker.
func account(t *testing.T, content []byte, delimiter, quote byte) (records [][]string) {
	t.Helper()
	s := newScanner(bytes.NewReader(content))
	s.delimiter, s.quote, s.keep = delimiter, quote, MaxRecord
	marker := bytes.TrimLeft(content[len(bytes.TrimRight(content, "\x00\x1a\r\n")):], "\r\n")
	content = content[:len(content)-len(marker)]
	var rec Record
	offset, lines, ends := 0, int64(0), int64(0)
	for {
		err := s.next(&rec)
		for n := emptyLine(content[offset:], delimiter); n > 0; n = emptyLine(content[offset:], delimiter) {
			offset += n
			lines++
			ends++
		}
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			break
		}
		for rec.Fault != FaultRowTooLong && bytes.HasPrefix(content[offset:], []byte(byteOrderMark)) {
			offset += len(byteOrderMark)
		}
		require.Equal(t, lines+1, rec.Line)
		require.Positive(t, rec.Length)
		require.True(t, bytes.HasPrefix(content[offset:], rec.raw))
		raw := content[offset : offset+int(rec.Length)]
		lines += int64(bytes.Count(raw, []byte{'\n'}))
		offset += int(rec.Length)
		offset += len(content[offset:]) - len(bytes.TrimLeft(content[offset:], "\r"))
		if offset < len(content) {
			require.EqualValues(t, '\n', content[offset], "a record ends at a line end or the file's")
			offset++
		}
		lines++
		ends++
		records = append(records, fieldsOf(t, &rec))
	}
	require.Len(t, content, offset, "every byte is accounted for")
	require.EqualValues(t, len(marker), s.read-s.end)
	require.Equal(t, lines, s.lines)
	require.Equal(t, ends, s.lf+s.crlf+unended(content), "each record and empty line has its line end")
	return records
}

// emptyLine is the length of a line that is no row, with its line end; 0 if there is none.
func emptyLine(text []byte, delimiter byte) int {
	line, _, ended := bytes.Cut(text, []byte{'\n'})
	n := len(line)
	for bytes.HasPrefix(line, []byte(byteOrderMark)) {
		line = line[len(byteOrderMark):]
	}
	if len(bytes.Trim(line, " \t\v\f\r"+string(delimiter))) > 0 {
		return 0
	}
	if ended {
		n++
	}
	return n
}

// unended is 1 if the last line ends with the file.
func unended(content []byte) int64 {
	if len(content) == 0 || bytes.HasSuffix(content, []byte{'\n'}) {
		return 0
	}
	return 1
}

// fieldsOf are the fields of a record, or its fault.
func fieldsOf(t *testing.T, rec *Record) []string {
	t.Helper()
	if rec.Fault != 0 {
		return []string{"fault", rec.Fault.String()}
	}
	require.Len(t, rec.fields, rec.count)
	require.NotEmpty(t, rec.fields)
	return rec.cells()
}

// TestScannerAgainstEncodingCSV reads what encoding/csv wrote, and random texts
// that both take for well-formed.
func TestScannerAgainstEncodingCSV(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 6))
	const letters = "ab\"\",,\n \r\né;"
	wellFormed := 0
	for range 6_000 {
		content := make([]byte, random.IntN(24))
		for i := range content {
			content[i] = letters[random.IntN(len(letters))]
		}
		got := account(t, content, ',', '"')
		r := csv.NewReader(bytes.NewReader(content))
		r.FieldsPerRecord = -1
		want, err := r.ReadAll()
		if err != nil || bytes.ContainsRune(content, '\r') || !plain(content) {
			continue // encoding/csv refuses quotes in unquoted fields, and changes CR LF in quoted ones
		}
		want, got = withText(want), withText(got) // which do not differ in what is no row
		wellFormed++
		require.Equal(t, want, got, "%q", content)
	}
	require.Greater(t, wellFormed, 600)

	var b bytes.Buffer
	w := csv.NewWriter(&b)
	var want [][]string
	for range 2_000 {
		row := make([]string, 1+random.IntN(6))
		for i := range row {
			row[i] = [...]string{"", "x", "é\"", "\n", "a,b", "\"\"", "x\r\ny", "long " + strings.Repeat("z", random.IntN(300))}[random.IntN(8)]
		}
		row[0] = "not empty"
		require.NoError(t, w.Write(row))
		want = append(want, row)
	}
	w.Flush()
	require.Equal(t, want, account(t, b.Bytes(), ',', '"'))
}

// FuzzReader looks for panics, for bytes that are in no row, and for results
// that depend on how the bytes come in.
func FuzzReader(f *testing.F) {
	for _, s := range []string{
		"A,1,5,2024-01-02\n", "\"A\",1,\"1,234.5\",1/2/2024\r\n", "\"A\n\"\"B\",1,5,2024-01-02\n", "\"A,1\nB\",\"\nC", "\"A\"x\n\n\n\"",
		"\x00\n\xff,,,\n,,,,,\n", "A,1,5,\"", "\r\n\r", "x\",\"\nx\",\"\n", "A,1,(5),27/11/2024\nA,1,5,1.2.2024",
	} {
		f.Add([]byte(head+s), byte(0))
		f.Add([]byte(s), byte(3))
	}
	f.Fuzz(func(t *testing.T, content []byte, delimiter byte) {
		account(t, content, ",;\t|"[delimiter%4], '"')
		r, err := NewReader(bytes.NewReader(content), Dialect{}, columns())
		if err != nil {
			var bad *FileError
			require.ErrorAs(t, err, &bad)
			return
		}
		records, readErr := readAll(r)
		slow, err := NewReader(iotest.OneByteReader(bytes.NewReader(content)), Dialect{}, columns())
		require.NoError(t, err)
		again, slowErr := readAll(slow)
		require.Equal(t, readErr, slowErr)
		require.Equal(t, records, again)
		require.Equal(t, fmt.Sprint(r.scan.lines, r.scan.blanks), fmt.Sprint(slow.scan.lines, slow.scan.blanks))
	})
}

// withText are the rows that have anything but space.
func withText(rows [][]string) [][]string {
	kept := [][]string{}
	for _, row := range rows {
		if strings.Trim(strings.Join(row, ""), " \t\v\f\r\n") != "" {
			kept = append(kept, row)
		}
	}
	return kept
}
