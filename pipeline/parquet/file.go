package parquet

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/opentax/tally/internal/money"

	"github.com/apache/thrift/lib/go/thrift"
	"github.com/klauspost/compress/zstd"
	"github.com/xitongsys/parquet-go-source/writerfile"
	"github.com/xitongsys/parquet-go/common"
	"github.com/xitongsys/parquet-go/layout"
	"github.com/xitongsys/parquet-go/parquet"
	"github.com/xitongsys/parquet-go/writer"
)

// Only this file uses xitongsys/parquet-go, which is no longer maintained: its structures of
// the format, schema, row groups, indexes and footer. Pages are made here, since the library
// boxes each value, counts NULLs wrongly, and writes neither column orders nor the encodings in
// use. docs/performance.md has the cost of its own pages.

const (
	// rowsPerPage is the maximum of parquet-mr: an engine that reads the page index skips in
	// steps of it.
	rowsPerPage = 20_000
	// rowsPerGroup makes groups of some 15 MB: one of a month of a million rows, and of a
	// larger month one for every core of a reader.
	rowsPerGroup = 1_000_000
	// createdBy has the form in which readers look for versions with wrong statistics. It does
	// not change with Tally's version, since the bytes would.
	createdBy = "tally version 1.0.0 (build parquet-go)"
)

type file struct {
	columns []column
	sort    []int                    // the columns that the rows are sorted by
	schema  []*parquet.SchemaElement // of each column
	w       *writer.ParquetWriter
	zstd    *zstd.Encoder
	thrift  *thrift.TSerializer
	inPage  int
	inGroup int
	rows    int64
	pages   [][]pageOf // of the group, by column
	plain   []byte
}

// pageOf is a page's entry in the indexes: minimum and maximum as the format has them, and
// the length with the header, which the library's offset index leaves out.
type pageOf struct {
	minimum, maximum []byte
	bytes            int32
}

// newFile begins a file of a table's rows, which are added in the table's order.
func newFile(to io.Writer, t table, encoder *zstd.Encoder) (*file, error) {
	f := &file{columns: slices.Clone(t.columns), sort: t.sort, zstd: encoder, thrift: thrift.NewTSerializer(), pages: make([][]pageOf, len(t.columns))}
	f.thrift.Protocol = thrift.NewTCompactProtocolFactoryConf(nil).GetProtocol(f.thrift.Transport)
	root := &parquet.SchemaElement{Name: "schema", NumChildren: new(int32(len(f.columns)))}
	for i := range f.columns {
		f.schema = append(f.schema, f.columns[i].element())
	}
	w, err := writer.NewParquetWriter(writerfile.NewWriterFile(to), append([]*parquet.SchemaElement{root}, f.schema...), 1)
	if err != nil {
		return nil, fmt.Errorf("begin a Parquet file: %w", err)
	}
	w.CompressionType = parquet.CompressionCodec_ZSTD
	w.Footer.CreatedBy = new(createdBy)
	for range f.columns {
		w.Footer.ColumnOrders = append(w.Footer.ColumnOrders, &parquet.ColumnOrder{TYPE_ORDER: parquet.NewTypeDefinedOrder()})
	}
	f.w = w
	return f, nil
}

// element is the column in the schema: every one is required.
func (c *column) element() *parquet.SchemaElement {
	types := [...]parquet.Type{
		integer: parquet.Type_INT32, bigint: parquet.Type_INT64, date: parquet.Type_INT32,
		text: parquet.Type_BYTE_ARRAY, amount: parquet.Type_INT64, total: parquet.Type_FIXED_LEN_BYTE_ARRAY,
	}
	e := &parquet.SchemaElement{Name: c.name, RepetitionType: new(parquet.FieldRepetitionType_REQUIRED), Type: new(types[c.kind])}
	decimal := func(digits int32) {
		e.ConvertedType, e.Precision, e.Scale = new(parquet.ConvertedType_DECIMAL), new(digits), new(int32(decimals))
		e.LogicalType = &parquet.LogicalType{DECIMAL: &parquet.DecimalType{Precision: digits, Scale: decimals}}
	}
	switch c.kind {
	case date:
		e.ConvertedType, e.LogicalType = new(parquet.ConvertedType_DATE), &parquet.LogicalType{DATE: parquet.NewDateType()}
	case text:
		e.ConvertedType, e.LogicalType = new(parquet.ConvertedType_UTF8), &parquet.LogicalType{STRING: parquet.NewStringType()}
	case amount:
		decimal(amountDigits)
	case total:
		e.TypeLength = new(int32(totalBytes))
		decimal(totalDigits)
	}
	return e
}

// encoding is one that readers support: of integers DELTA_BINARY_PACKED, a quarter smaller and
// read by Spark since 3.3; of strings PLAIN, since DELTA_LENGTH_BYTE_ARRAY saves 2 % and fewer
// readers support it.
func (c *column) encoding() parquet.Encoding {
	switch c.kind {
	case integer, date, bigint:
		return parquet.Encoding_DELTA_BINARY_PACKED
	}
	return parquet.Encoding_PLAIN
}

// addRow takes a row's values in PostgreSQL's binary form, in the order of the columns.
func (f *file) addRow(values [][]byte) error {
	for i := range f.columns {
		if err := f.columns[i].add(values[i]); err != nil {
			return &ValueError{f.key(values), err}
		}
	}
	f.inPage++
	f.rows++
	if f.inPage < rowsPerPage {
		return nil
	}
	if err := f.endPage(); err != nil || f.inGroup < rowsPerGroup {
		return err
	}
	return f.endGroup()
}

// key names a row by its transaction id, or by its first column.
func (f *file) key(values [][]byte) string {
	i := max(0, slices.IndexFunc(f.columns, func(c column) bool { return c.kind == text }))
	c, value := f.columns[i], values[i]
	switch {
	case c.kind == text:
		return c.name + " " + string(value)
	case len(value) != 4:
		return c.name
	case c.kind == date:
		day, _ := parseDate(value) // of 4 bytes
		return c.name + " " + day.String()
	}
	return fmt.Sprintf("%s %d", c.name, int32(binary.BigEndian.Uint32(value)))
}

func (f *file) endPage() error {
	if f.inPage == 0 {
		return nil
	}
	for i := range f.columns {
		c := &f.columns[i]
		page, err := f.page(i, c)
		if err != nil {
			return fmt.Errorf("column %s: %w", c.name, err)
		}
		name := f.w.SchemaHandler.IndexMap[int32(i+1)]
		f.w.PagesMapBuf[name] = append(f.w.PagesMapBuf[name], page)
		c.clear()
	}
	f.inGroup += f.inPage
	f.inPage = 0
	return nil
}

// page makes a data page: a header, then the values, compressed. A required column has no levels.
func (f *file) page(i int, c *column) (*layout.Page, error) {
	f.plain = c.encode(f.plain[:0])
	compressed := f.zstd.EncodeAll(f.plain, nil)
	minimum, maximum := c.bounds()
	entry := pageOf{minimum: plainBytes(minimum), maximum: plainBytes(maximum)}
	header := &parquet.PageHeader{
		Type:                 parquet.PageType_DATA_PAGE,
		UncompressedPageSize: int32(len(f.plain)), CompressedPageSize: int32(len(compressed)),
		Crc: new(int32(crc32.ChecksumIEEE(compressed))),
		DataPageHeader: &parquet.DataPageHeader{
			NumValues: int32(f.inPage), Encoding: c.encoding(),
			// Readers trust these: the order of Min and Max is undefined for strings and decimals.
			Statistics:              &parquet.Statistics{MinValue: entry.minimum, MaxValue: entry.maximum, NullCount: new(int64)},
			DefinitionLevelEncoding: parquet.Encoding_RLE, RepetitionLevelEncoding: parquet.Encoding_RLE,
		},
	}
	raw, err := f.thrift.Write(context.Background(), header)
	if err != nil {
		return nil, err
	}
	page := layout.NewPage()
	page.Header, page.RawData = header, slices.Concat(raw, compressed)
	page.Schema, page.CompressType = f.schema[i], parquet.CompressionCodec_ZSTD
	page.Path = common.StrToPath(f.w.SchemaHandler.IndexMap[int32(i+1)])
	page.MinVal, page.MaxVal, page.NullCount = minimum, maximum, new(int64)
	entry.bytes = int32(len(page.RawData))
	f.pages[i] = append(f.pages[i], entry)
	return page, nil
}

// endGroup writes the group's pages, and corrects the library's metadata of them.
func (f *file) endGroup() error {
	if f.inGroup == 0 {
		return nil
	}
	f.w.NumRows = int64(f.inGroup)
	if err := f.w.Flush(true); err != nil {
		return err
	}
	group := f.w.Footer.RowGroups[len(f.w.Footer.RowGroups)-1]
	first := len(f.w.ColumnIndexes) - len(f.columns)
	indexes, offsets := f.w.ColumnIndexes[first:], f.w.OffsetIndexes[first:]
	group.TotalCompressedSize, group.FileOffset = new(int64), new(group.Columns[0].MetaData.DataPageOffset)
	group.Ordinal = new(int16(len(f.w.Footer.RowGroups) - 1))
	for _, i := range f.sort {
		group.SortingColumns = append(group.SortingColumns, &parquet.SortingColumn{ColumnIdx: int32(i)})
	}
	for i := range f.columns {
		chunk := group.Columns[i].MetaData
		*group.TotalCompressedSize += chunk.TotalCompressedSize
		chunk.Encodings = []parquet.Encoding{f.columns[i].encoding(), parquet.Encoding_RLE}
		chunk.Statistics.Min, chunk.Statistics.Max = nil, nil
		index := indexes[i]
		index.NullCounts = make([]int64, len(f.pages[i]))
		for page, entry := range f.pages[i] {
			index.MinValues[page], index.MaxValues[page] = entry.minimum, entry.maximum
			offsets[i].PageLocations[page].CompressedPageSize = entry.bytes
		}
		if i == f.sort[0] {
			index.BoundaryOrder = parquet.BoundaryOrder_ASCENDING
		}
	}
	f.inGroup, f.pages = 0, make([][]pageOf, len(f.columns))
	return nil
}

// close writes the last page and group, and the footer. The file may have no rows.
func (f *file) close() error {
	if err := f.endPage(); err != nil {
		return err
	}
	if err := f.endGroup(); err != nil {
		return err
	}
	f.w.Footer.NumRows = f.rows
	return f.w.WriteStop()
}

// plainBytes is a value in statistics: PLAIN, without a string's length.
func plainBytes(value any) []byte {
	switch v := value.(type) {
	case int32:
		return binary.LittleEndian.AppendUint32(nil, uint32(v))
	case int64:
		return binary.LittleEndian.AppendUint64(nil, uint64(v))
	case string:
		return []byte(v)
	}
	return nil
}

func (f *file) sum() money.Sum {
	var sum money.Sum
	for i := range f.columns {
		sum = sum.Plus(f.columns[i].sum)
	}
	return sum
}
