package transform

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/unicode"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/pipeline/extract"
)

// dialect is a way in which programs write a table, and the settings that it needs.
type dialect struct {
	extract.Dialect

	delimiter, quote, end string
	always                bool // each field is quoted
	spaced                bool // spaces stand around quoted fields
	trailing              bool // rows end with a delimiter
	preamble, blanks      bool
	repeated              bool // a header again among the rows
	separator             bool // a first line sep=;
	encoding              encoding.Encoding
	packing               string
}

func dialects(random *rand.Rand) dialect {
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	coin := func() bool { return random.IntN(3) == 0 }
	d := dialect{
		delimiter: pick(",", ";", "\t", "|", "^", "~", "\x01"), quote: pick(`"`, `"`, `"`, "'", ""), end: pick("\n", "\r\n", "\r"),
		always: coin(), spaced: coin(), trailing: coin(), preamble: coin(), blanks: coin(), repeated: coin(), packing: pick("", "", "gzip", "zstd", "zip"),
	}
	switch d.quote {
	case "'":
		d.Quote = "'"
	case "":
		d.Quote = "none"
	}
	detected := strings.Contains(",;\t|", d.delimiter)
	if !detected {
		d.Delimiter = d.delimiter
	}
	d.separator = !d.preamble && detected && coin()
	if coin() {
		d.Header, d.preamble, d.repeated, d.Delimiter, d.separator = extract.HeaderNone, false, false, d.delimiter, false
	}
	switch random.IntN(7) {
	case 0:
		d.encoding = unicode.UTF8BOM
	case 1:
		d.encoding = unicode.UTF16(unicode.LittleEndian, unicode.UseBOM)
	case 2:
		d.encoding = unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)
	case 3:
		d.encoding, d.Encoding = charmap.Windows1252, "windows-1252"
	case 4:
		d.encoding, d.Encoding = japanese.ShiftJIS, "shift_jis"
	default:
		d.encoding = encoding.Nop
	}
	return d
}

// field writes a cell, quoted where it has to be.
func (d dialect) field(s string) string {
	needed := strings.ContainsAny(s, d.delimiter+d.quote+"\r\n") || s != strings.TrimSpace(s)
	if d.quote == "" || !d.always && !needed {
		return s
	}
	s = d.quote + strings.ReplaceAll(s, d.quote, d.quote+d.quote) + d.quote
	if d.spaced && d.delimiter != " " {
		s = " " + s + " "
	}
	return s
}

func (d dialect) record(b *strings.Builder, cells []string) {
	for i, cell := range cells {
		if i > 0 {
			b.WriteString(d.delimiter)
		}
		b.WriteString(d.field(cell))
	}
	if d.trailing {
		b.WriteString(d.delimiter)
	}
	b.WriteString(d.end)
}

// text is the table in the dialect; the columns are in the order of the header.
func (d dialect) text(header []string, rows [][]string) string {
	var b strings.Builder
	if d.separator {
		b.WriteString("sep=" + d.delimiter + d.end)
	}
	if d.preamble {
		b.WriteString("Account" + d.delimiter + "1234" + d.end + d.end + "Statement of June" + d.end)
	}
	if d.Header == "" {
		d.record(&b, header)
	}
	for i, row := range rows {
		d.record(&b, row)
		if d.blanks && i%4 == 1 {
			b.WriteString(strings.Repeat(d.delimiter, len(header)-1) + d.end + d.end)
		}
		if d.repeated && i == len(rows)/2 && d.Header == "" {
			d.record(&b, header)
		}
	}
	return b.String()
}

func (d dialect) pack(t *testing.T, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch d.packing {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zstd":
		z, err := zstd.NewWriter(&b)
		require.NoError(t, err)
		w = z
	case "zip":
		z := zip.NewWriter(&b)
		member, err := z.Create("table.csv")
		require.NoError(t, err)
		_, err = member.Write(content)
		require.NoError(t, err)
		require.NoError(t, z.Close())
		return b.Bytes()
	default:
		return content
	}
	_, err := w.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

// TestDialects writes tables in every dialect, encoding and packing, with the columns in
// any order and under any name, and reads them back: each row is itself.
func TestDialects(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(14, 7))
	path := filepath.Join(t.TempDir(), "table")
	for range 500 {
		d := dialects(random)
		header, rows, rules := tableFor(d, random)
		rules.Dialect = d.Dialect
		text, err := d.encoding.NewEncoder().String(d.text(header, rows))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, d.pack(t, []byte(text)), 0o600))
		require.Equal(t, exactIDs(header, rows), readTable(t, path, rules), "%+v\n%s", d, d.text(header, rows))
	}
}

// tableFor is a table whose cells can be written in the dialect.
func tableFor(d dialect, random *rand.Rand) (header []string, rows [][]string, rules Rules) {
	header = []string{"transaction_id", "user_id", "amount", "transaction_date", "note"}
	if random.IntN(2) == 0 {
		header = []string{"Transaction ID", "USER-ID", "Betrag", "Datum", "note"}
		rules.Columns = Columns{Amount: AmountColumns{Value: "Betrag"}, TransactionDate: "datum"}
	}
	order := random.Perm(len(header))
	if d.Header != "" {
		place := func(column int) string { return strconv.Itoa(slices.Index(order, column) + 1) }
		rules.Columns = Columns{TransactionID: place(0), UserID: place(1), Amount: AmountColumns{Value: place(2)}, TransactionDate: place(3)}
	}
	notes := []string{"", "a note", "ü"}
	if d.quote != "" {
		notes = append(notes, "x"+d.delimiter+"y", "say "+d.quote+"no"+d.quote, "two\nlines", "4,5;6|7")
	}
	if d.Encoding == "shift_jis" {
		notes[2] = "ソ表" // with bytes of a backslash
	}
	if d.end == "\r" {
		notes = slices.DeleteFunc(notes, func(s string) bool { return strings.Contains(s, "\n") })
	}
	for i := range 8 {
		id := fmt.Sprintf("T%d", i)
		if i%3 == 0 && d.quote != "" && d.delimiter >= " " {
			id += d.delimiter + d.quote + "x"
		}
		cells := []string{id, strconv.Itoa(i + 1), fmt.Sprintf("%d.5", 100+i), "2024-01-02", notes[random.IntN(len(notes))]}
		row := make([]string, len(order))
		for at, column := range order {
			row[at] = cells[column]
		}
		rows = append(rows, row)
	}
	shuffled := make([]string, len(order))
	for at, column := range order {
		shuffled[at] = header[column]
	}
	return shuffled, rows, rules
}

// exactIDs is what a table says: id, user and amount of each row.
func exactIDs(header []string, rows [][]string) (all []string) {
	at := func(row []string, names ...string) string {
		return row[slices.IndexFunc(header, func(name string) bool { return slices.Contains(names, name) })]
	}
	for _, row := range rows {
		all = append(all, fmt.Sprint(at(row, "transaction_id", "Transaction ID"), " ", at(row, "user_id", "USER-ID"), " ", at(row, "amount", "Betrag")))
	}
	return all
}

func readTable(t *testing.T, path string, rules Rules) (all []string) {
	t.Helper()
	f, err := extract.Open(t.Context(), nil, bucket.Path(path), rules.Dialect)
	require.NoError(t, err)
	defer f.Close()
	reader, err := extract.NewReader(f, rules.Dialect, rules.Wanted())
	require.NoError(t, err)
	cleaner, err := NewCleaner(Reading{Rules: rules, LogicalDate: logicalDate})
	require.NoError(t, err)
	for {
		rec, err := reader.Next()
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			return all
		}
		var row Row
		cleaner.Clean(rec, &row)
		require.Zero(t, row.Faults, "%s: %v", row.Raw, row.Faults.Strings())
		all = append(all, fmt.Sprintf("%s %d %s", row.ID, row.UserID, row.Amount))
	}
}
