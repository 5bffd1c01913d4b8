package extract

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/pipeline/synthetic"
)

// again records a file's layout, reads it back, and returns a reader of its rows.
func again(t *testing.T, r *Reader, encoding string, dialect Dialect, columns []Column) (*RowReader, error) {
	t.Helper()
	recorded, err := json.Marshal(r.Layout(encoding))
	require.NoError(t, err)
	var layout Layout
	require.NoError(t, json.Unmarshal(recorded, &layout))
	return layout.Reader(dialect, columns)
}

func cells(rec *Record) string {
	if rec.Fault != 0 {
		return rec.Fault.String()
	}
	var text []string
	for i := range rec.place {
		text = append(text, string(rec.Cell(i)))
	}
	return strings.Join(text, "|")
}

// A row that is read again by its text alone has the cells and the fault that it had in its
// file.
func TestRowsReadAgainAreTheSame(t *testing.T) {
	t.Parallel()
	odd := head + "A,1,5,2024-01-02\n" + "B,2,\"1,5\",2024-01-02\n" + "C,\"x\ny\",6,2024-01-02\n" + "D,1\n" + "E,1,5,2024-01-02,,\n" + "F,1,5,2024-01-02,x\n" +
		"G,\"1\"2,5,2024-01-02\n" + "\"H\"\"\",1,5,2024-01-02\n" + "\xff,1,5,2024-01-02\n" + "J\x00,1,5,2024-01-02\n" + "K,\"1,5,2024-01-02\n"
	for name, c := range map[string]struct {
		content string
		dialect Dialect
		columns []Column
	}{
		"odd rows":  {odd, Dialect{}, columns()},
		"many rows": {string(generated(t, synthetic.File{Rows: 2000, Users: 50, Seed: 3})), Dialect{}, columns()},
		"preamble":  {"Report\n\nsep=;\n" + strings.ReplaceAll(odd, ",", ";"), Dialect{}, columns()},
		"positions": {"A;1;5;2024-01-02;x\nB;2;6;2024-01-02;y\nC;3;7\n", Dialect{Header: HeaderNone},
			[]Column{{"transaction_id", "1"}, {"user_id", "2"}, {"amount", "3"}, {"transaction_date", "4"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := NewReader(strings.NewReader(c.content), c.dialect, c.columns)
			require.NoError(t, err)
			rows, err := again(t, r, "UTF-8", c.dialect, c.columns)
			require.NoError(t, err)
			n := 0
			for ; ; n++ {
				rec, err := r.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				require.NoError(t, err)
				want, line := cells(rec), rec.Line
				got, err := rows.Read(bytes.Clone(rec.Raw()), rec.Line)
				require.NoError(t, err)
				assert.Equal(t, want, cells(got))
				assert.Equal(t, line, got.Line)
			}
			assert.Positive(t, n)
		})
	}
}

// Settings that are made later hold: another encoding, other quotes, other columns.
func TestRowsReadAgainUnderOtherSettings(t *testing.T) {
	t.Parallel()
	read := func(content, encoding string, dialect Dialect, columns []Column, raw string) string {
		r, err := NewReader(strings.NewReader(content), Dialect{}, columns)
		require.NoError(t, err)
		rows, err := again(t, r, encoding, dialect, columns)
		require.NoError(t, err)
		rec, err := rows.Read([]byte(raw), 7)
		require.NoError(t, err)
		return cells(rec)
	}
	assert.Equal(t, "Ä|1|5|2024-01-02", read(head, "UTF-8", Dialect{Encoding: "windows-1252"}, columns(), "\xc4,1,5,2024-01-02"))
	assert.Equal(t, "Ä|1|5|2024-01-02", read(head, "windows-1252", Dialect{Encoding: "windows-1252"}, columns(), "Ä,1,5,2024-01-02"), "it was decoded before")
	assert.Equal(t, `A"|1|5|2024-01-02`, read(head, "UTF-8", Dialect{Quote: "none"}, columns(), `A",1,5,2024-01-02`))
	assert.Equal(t, "bad_quote", read(head, "UTF-8", Dialect{Quote: "none"}, columns(), "A,1,5,2024-01-02\nB,2,6,2024-01-02"), "two rows in one")

	r, err := NewReader(strings.NewReader(head), Dialect{}, columns())
	require.NoError(t, err)
	_, err = again(t, r, "windows-1252", Dialect{Encoding: "utf-16le"}, columns())
	assert.ErrorContains(t, err, "was read as windows-1252")
	_, err = again(t, r, "UTF-8", Dialect{}, []Column{{"transaction_id", "ref"}})
	assert.Error(t, err)
	_, err = again(t, r, "UTF-8", Dialect{Header: HeaderNone}, []Column{{"transaction_id", "9"}})
	assert.ErrorContains(t, err, "no position in a file of 4 columns")
}
