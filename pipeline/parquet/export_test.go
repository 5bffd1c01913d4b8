package parquet_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/money"
	tally "github.com/opentax/tally/pipeline/parquet"
	"github.com/opentax/tally/summaries"
)

// odd are rows that are easily lost or changed.
const odd = `TXN-ZERO,1,0,2024-02-29
TXN-NEGATIVE,1,-0.0001,2024-02-29
TXN-FOUR,1,1234.5678,2024-03-01
TXN-LARGE,2147483647,99999999999.9999,2024-12-31
TXN-LARGEST,2147483647,9999999999999,2024-12-31
TXN-SMALLEST,2,-9999999999999,2024-12-31
"a ""quoted"", id",3,3,1999-12-31
Überweisung€50,3,3.5,2000-01-01
aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,3,-3.25,2038-01-20
`

// statements select each table as text in the order of the file, of the month $1 where it
// has months.
func statements() map[string]string {
	all := map[string]string{"transactions": `SELECT concat_ws('|', id, transaction_id, user_id, amount::numeric(18, 4), transaction_date - DATE '1970-01-01', file_id, line)
		FROM transactions WHERE date_trunc('month', transaction_date) = $1::date ORDER BY user_id, transaction_date, id`}
	for _, r := range summaries.Rollups() {
		var columns, keys []string
		where := ""
		for _, k := range r.Keys {
			column := k.Column()
			keys = append(keys, column)
			switch {
			case k == summaries.ByUser:
				columns = append(columns, column)
			case exported()[r.Table]:
				where = " WHERE date_trunc('month', " + column + ") = $1::date"
				if k == summaries.ByMonth {
					continue // the folder has it
				}
				fallthrough
			default:
				columns = append(columns, column+" - DATE '1970-01-01'")
			}
		}
		columns = append(columns, "total_transactions", "total_amount::numeric(28, 4)")
		if r.Versioned {
			columns = append(columns, "version", "file_id")
		}
		all[r.Table] = "SELECT concat_ws('|', " + strings.Join(columns, ", ") + ") FROM " + r.Table + where + " ORDER BY " + strings.Join(keys, ", ")
	}
	return all
}

// An independent reader finds every row of every table, digit for digit and in order.
func TestEveryRowIsThere(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.load(odd)
	l.generate(30_000, 1)
	result := l.export()
	m := l.manifest()
	assert.Len(t, m.Files, result.Files)
	assert.Equal(t, result.Files, result.Written)
	months := map[string]int{}
	for _, f := range m.Files {
		var args []any
		if f.Month != "" {
			args = append(args, f.Month)
			months[f.Table]++
			assert.Contains(t, f.Path, f.Table+"/month="+f.Month+"/part-")
		}
		read := rows(t, l.open(f.Path))
		assert.Equal(t, l.stored(statements()[f.Table], args...), read, f.Path)
		assert.Len(t, read, int(f.Rows))
	}
	want := len(l.stored("SELECT DISTINCT date_trunc('month', transaction_date)::text FROM transactions"))
	for table, monthly := range exported() {
		if monthly {
			assert.Equal(t, want, months[table], table)
		}
	}
	for _, table := range []string{"transactions", "user_months", "daily_totals"} {
		assert.True(t, exported()[table], table)
	}
	for _, table := range m.Tables {
		assert.Equal(t, l.stored("SELECT trim_scale(sum(amount::numeric))::text FROM transactions")[0], table.Sum, table.Table)
	}
	assert.True(t, l.check().Clean())
}

func TestSchemaOfFiles(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.load(odd)
	l.export()
	// The reader calls an integer without a logical type by its size.
	want := map[string]string{
		"transactions": `required int64 id (INT(64,true))
	required binary transaction_id (STRING)
	required int32 user_id (INT(32,true))
	required int64 amount (DECIMAL(18,4))
	required int32 transaction_date (DATE)
	required int64 file_id (INT(64,true))
	required int64 line (INT(64,true))`,
		"user_months": `required int32 user_id (INT(32,true))
	required int64 total_transactions (INT(64,true))
	required fixed_len_byte_array(12) total_amount (DECIMAL(28,4))`,
		"daily_totals": `required int32 transaction_date (DATE)
	required int64 total_transactions (INT(64,true))
	required fixed_len_byte_array(12) total_amount (DECIMAL(28,4))
	required int64 version (INT(64,true))
	required int64 file_id (INT(64,true))`,
		"user_summary": `required int32 user_id (INT(32,true))
	required int64 total_transactions (INT(64,true))
	required fixed_len_byte_array(12) total_amount (DECIMAL(28,4))
	required int64 version (INT(64,true))
	required int64 file_id (INT(64,true))`,
	}
	for _, f := range l.manifest().Files {
		if want[f.Table] == "" { // another rollup: of the same kinds of columns
			continue
		}
		got := strings.ReplaceAll(l.open(f.Path).Schema().String(), ";", "")
		assert.Equal(t, "message schema {\n\t"+want[f.Table]+"\n}", got, f.Path)
	}
}

// The metadata that engines skip by is correct: counts of NULLs, bounds of groups and pages, and the
// order, in files of several pages and of none.
func TestStatisticsAreCorrect(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.load(odd)
	var many strings.Builder
	for i := range 45_000 {
		fmt.Fprintf(&many, "P%d,%d,%d.%02d,2024-05-%02d\n", i*7919%45_000, i%997+1, i%5000-2500, i%100, i%31+1)
	}
	l.load(many.String())
	l.export()
	several := false
	for _, entry := range l.manifest().Files {
		f := l.open(entry.Path)
		meta := f.Metadata()
		assert.Equal(t, "tally version 1.0.0 (build parquet-go)", meta.CreatedBy)
		assert.Len(t, meta.ColumnOrders, len(f.Schema().Fields()))
		assert.Equal(t, entry.Rows, meta.NumRows)
		for i, group := range meta.RowGroups {
			assert.EqualValues(t, i, group.Ordinal)
			assert.NotEmpty(t, group.SortingColumns)
			for j, chunk := range group.Columns {
				checkOffsets(t, f, i, j, chunk.MetaData)
				assert.Equal(t, format.Zstd, chunk.MetaData.Codec)
				several = checkChunk(t, f, i, j, chunk.MetaData) || several
			}
		}
	}
	assert.True(t, several, "a file of several pages")
}

// checkOffsets compares the offsets of a chunk's pages with the chunk: each begins where
// the one before it ends, header and all, and together they are the chunk.
func checkOffsets(t *testing.T, f *parquet.File, group, column int, meta format.ColumnMetaData) {
	t.Helper()
	offsets, err := f.RowGroups()[group].ColumnChunks()[column].OffsetIndex()
	require.NoError(t, err)
	next, row := meta.DataPageOffset, int64(0)
	for i := range offsets.NumPages() {
		assert.Equal(t, next, offsets.Offset(i))
		assert.Equal(t, row, offsets.FirstRowIndex(i))
		next, row = next+offsets.CompressedPageSize(i), row+20_000
	}
	assert.Equal(t, meta.DataPageOffset+meta.TotalCompressedSize, next)
}

// checkChunk compares the bounds of a column's chunk and of its pages with its values.
func checkChunk(t *testing.T, f *parquet.File, group, column int, meta format.ColumnMetaData) (several bool) {
	t.Helper()
	chunk := f.RowGroups()[group].ColumnChunks()[column]
	kind := chunk.Type()
	compare := kind.Compare
	if kind.Kind() == parquet.FixedLenByteArray { // which that reader compares without a sign
		compare = func(a, b parquet.Value) int { return signed(a.ByteArray()).Cmp(signed(b.ByteArray())) }
	}
	index, err := chunk.ColumnIndex()
	require.NoError(t, err)
	pages := chunk.Pages()
	defer pages.Close()
	var minimum, maximum parquet.Value
	ascending := true
	n := 0
	for ; ; n++ {
		page, err := pages.ReadPage()
		if err != nil {
			break
		}
		values := make([]parquet.Value, page.NumValues())
		read, _ := page.Values().ReadValues(values)
		require.Len(t, values, read)
		low, high := slices.MinFunc(values, compare), slices.MaxFunc(values, compare)
		assert.Equal(t, low.String(), index.MinValue(n).String())
		assert.Equal(t, high.String(), index.MaxValue(n).String())
		assert.Zero(t, index.NullCount(n))
		assert.False(t, index.NullPage(n))
		if n == 0 || compare(low, minimum) < 0 {
			minimum = low.Clone()
		}
		if n > 0 && compare(low, maximum) < 0 {
			ascending = false
		}
		if n == 0 || compare(high, maximum) > 0 {
			maximum = high.Clone()
		}
	}
	assert.Equal(t, n, index.NumPages())
	if index.IsAscending() {
		assert.True(t, ascending)
	}
	assert.Zero(t, meta.Statistics.NullCount)
	assert.Equal(t, minimum.Bytes(), meta.Statistics.MinValue)
	assert.Equal(t, maximum.Bytes(), meta.Statistics.MaxValue)
	assert.Empty(t, meta.Statistics.Min)
	assert.Len(t, meta.Encoding, 2, "the value's encoding, and that of the levels")
	return n > 1
}

// A second export of the same data writes nothing; another folder gets the same bytes.
func TestTheSameDataIsTheSameBytes(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.load(odd)
	l.generate(10_000, 1)
	l.export()
	before := l.contents()
	again := l.export()
	assert.Zero(t, again.Written)
	assert.Zero(t, again.Removed)
	assert.Zero(t, again.BytesWritten)
	assert.Equal(t, again.Files, again.Kept)
	assert.Equal(t, before, l.contents())

	other := t.TempDir()
	l.config.Target = folder(t, other)
	l.export()
	assert.Equal(t, before, contents(t, other))

	l.config.Replace = true
	replaced := l.export()
	assert.Equal(t, replaced.Files, replaced.Written)
	assert.Equal(t, replaced.Files, replaced.Removed, "no file was written over")
	after := contents(t, other)
	delete(before, tally.ManifestName)
	for path := range before {
		assert.NotContains(t, after, path)
	}
	delete(after, tally.ManifestName)
	assert.ElementsMatch(t, slices.Collect(maps.Values(before)), slices.Collect(maps.Values(after)))
}

// Golden bytes: if another library or encoding gives others, Format must change.
func TestFormatIsTheBytes(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.load(odd)
	l.export()
	got := map[string]string{}
	for _, f := range l.manifest().Files {
		if f.Month == "2024-02-01" || f.Month == "" {
			got[f.Table] = f.SHA256
		}
	}
	assert.Equal(t, 1, tally.Format)
	for table, want := range map[string]string{
		"transactions": "5ddf0b91892493df7a37955422e430ca782a571dfd04c65dacfb4e5237ea81ed",
		"user_months":  "2ca7299b30a5eced9bd346076cb297ed6341c7aa4daf2d0526d4e97eb2a3250b",
		"daily_totals": "376e9aa5eef3aedbbe7ea41ce894a90dfcf1c8868bae363a4d8c82a28a1e71b8",
		"user_summary": "defee4fc5ec261227de4861f51382cd16cff3cdfae14b7397664a3f869a7a440",
	} {
		assert.Equal(t, want, got[table], table)
	}
}

// A night's file rewrites only its own months and the tables without months; the files that it
// replaces are removed.
func TestOneNightRewritesItsMonths(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.load(odd)
	l.generate(5_000, 1)
	l.export()
	before := l.contents()
	l.load("NIGHT-1,77,5,2024-05-30\nNIGHT-2,77,5,2024-06-01\n")
	result := l.export()
	after := l.contents()
	changed := map[string]bool{}
	for path, content := range after {
		if before[path] != content {
			changed[path[:strings.LastIndex(path, "/")+1]] = true
		}
	}
	want := map[string]bool{"": true} // the manifest
	for table, monthly := range exported() {
		if monthly {
			want[table+"/month=2024-05-01/"], want[table+"/month=2024-06-01/"] = true, true
		} else {
			want[table+"/"] = true
		}
	}
	assert.Equal(t, want, changed)
	assert.Len(t, after, len(before))
	assert.Equal(t, filesOf(2), result.Written)
	assert.Equal(t, filesOf(2), result.Removed)
	assert.True(t, l.check().Clean())
}

// A correction that moves a transaction to another month rewrites both; a month without transactions
// is removed from the export.
func TestCorrectionsMoveBetweenMonths(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.load("A,1,1,2024-01-15\nB,1,2,2024-02-15\nC,2,3,2024-02-15\n")
	l.export()
	l.rules.Corrections = "replace"
	l.load("A,1,1,2024-02-16\n") // January has none any more
	l.export()
	for _, f := range l.manifest().Files {
		assert.NotEqual(t, "2024-01-01", f.Month)
	}
	for path := range l.contents() {
		assert.NotContains(t, path, "2024-01-01")
	}
	assert.True(t, l.check().Clean())

	before := l.manifest()
	l.load("B,2,2,2024-02-15\nC,1,3,2024-02-15\n") // the day's count and sum are as before
	assert.Equal(t, filesOf(1), l.export().Written)
	assert.NotEqual(t, before, l.manifest())
	assert.True(t, l.check().Clean())
}

// An empty database has an export, too: tables without rows, whose columns can be read.
func TestEmptyDatabase(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	assert.Equal(t, "0", l.export().TotalAmount)
	m := l.manifest()
	require.Len(t, m.Files, filesOf(1))
	for _, f := range m.Files {
		opened := l.open(f.Path)
		assert.Zero(t, opened.NumRows())
		assert.NotEmpty(t, opened.Schema().Fields())
		assert.Empty(t, rows(t, opened))
	}
	assert.True(t, l.check().Clean())
	assert.Zero(t, l.export().Written)

	l.load(odd)
	l.export()
	for path := range l.contents() {
		assert.NotContains(t, path, "__HIVE_DEFAULT_PARTITION__")
	}
	assert.True(t, l.check().Clean())
}

// No amount that a load accepts can fail an export.
func TestEveryAcceptedAmountCanBeExported(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.rules.RejectLimit = "100%"
	r := rand.New(rand.NewPCG(5, 6))
	var content strings.Builder
	for i := range 5000 {
		a := money.Amount{Unscaled: r.Int64N(1e15) >> r.IntN(20), Scale: uint8(r.IntN(5))}
		if r.IntN(2) == 0 {
			a.Unscaled = -a.Unscaled
		}
		fmt.Fprintf(&content, "T%d,%d,%s,2024-01-15\n", i, 1+i%7, a)
	}
	content.WriteString("MOST,8,9999999999999,2024-01-15\nLEAST,9,-9999999999999,2024-01-15\n")
	loaded := l.load(content.String())
	assert.Positive(t, loaded.Rejected, "there are larger ones")
	assert.Equal(t, map[string]int64{"amount_out_of_range": loaded.Rejected}, loaded.Faults)
	l.export()
	assert.True(t, l.check().Clean())
	for _, f := range l.manifest().Files {
		if f.Table == "transactions" {
			assert.Equal(t, l.stored(statements()["transactions"], f.Month), rows(t, l.open(f.Path)))
		}
	}
}

func TestAmountThatDoesNotFit(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.load("A,1,1,2024-01-15\n")
	l.export()
	before := l.contents()
	l.load("B,1,2,2024-01-15\n") // as an earlier version could have loaded it
	l.exec("DO $$ BEGIN PERFORM set_config('tally.writer', 'tally', true); UPDATE transactions SET amount = 1e14 WHERE transaction_id = 'B'; END $$")
	_, err := tally.Export(t.Context(), l.config)
	require.ErrorContains(t, err, "transactions: transaction_id B: amount 100000000000000 does not fit DECIMAL(18,4)")
	assert.Equal(t, before, l.contents())
}
