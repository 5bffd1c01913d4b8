package parquet

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"

	"github.com/apache/thrift/lib/go/thrift"
	"github.com/klauspost/compress/zstd"
	"github.com/xitongsys/parquet-go-source/writerfile"
	"github.com/xitongsys/parquet-go/common"
	"github.com/xitongsys/parquet-go/layout"
	"github.com/xitongsys/parquet-go/parquet"
	"github.com/xitongsys/parquet-go/writer"
)

// This file alone knows xitongsys/parquet-go, which is no longer maintained. Of it Tally
// takes the format's structures, the schema, the row groups, the indexes and the footer.
// Its pages are made here: the library boxes each value, counts NULLs wrongly, and
// writes neither column orders nor the encodings that were used. docs/performance.md
// has what its own pages cost.

const (
	// rowsPerPage is what parquet-mr's pages have at most, so that an engine that reads
	// the page index skips in steps of 20,000 rows.
	rowsPerPage = 20_000
	// rowsPerGroup makes groups of some 15 MB: a month of a million rows has one, a larger
	// one something for every core of a reader.
	rowsPerGroup = 1_000_000
	// createdBy has the form that readers parse, in which they look for versions whose
	// statistics are wrong. It does not change with Tally's version, since the bytes
	// would.
	createdBy = "tally version 1.0.0 (build parquet-go)"
)

// file writes one Parquet file.
type file struct {
	columns []*column
	schema  []*parquet.SchemaElement // of each column
	w       *writer.ParquetWriter
	zstd    *zstd.Encoder
	thrift  *thrift.TSerializer
	inPage  int
	inGroup int
	rows    int64
	pages   [][]pageOf // of the group, by column
	sort    []int      // the columns that the rows are in the order of
	plain   []byte
}

// pageOf is a page's entry in the indexes: minimum and maximum as the format has them, and
// the length with the header, which the library's offset index leaves out.
type pageOf struct {
	minimum, maximum []byte
	bytes            int32
}

// newFile begins a file of a table's rows, which come in the table's order.
func newFile(to io.Writer, t table, encoder *zstd.Encoder) (*file, error) {
	columns := t.newColumns()
	f := &file{columns: columns, sort: t.sort, zstd: encoder, thrift: thrift.NewTSerializer()}
	f.thrift.Protocol = thrift.NewTCompactProtocolFactoryConf(nil).GetProtocol(f.thrift.Transport)
	root := &parquet.SchemaElement{Name: "schema", NumChildren: new(int32(len(columns)))}
	for _, c := range columns {
		f.schema = append(f.schema, c.element())
	}
	w, err := writer.NewParquetWriter(writerfile.NewWriterFile(to), append([]*parquet.SchemaElement{root}, f.schema...), 1)
	if err != nil {
		return nil, fmt.Errorf("begin a Parquet file: %w", err)
	}
	w.CompressionType = parquet.CompressionCodec_ZSTD
	w.Footer.CreatedBy = new(createdBy)
	for range columns {
		w.Footer.ColumnOrders = append(w.Footer.ColumnOrders, &parquet.ColumnOrder{TYPE_ORDER: parquet.NewTypeDefinedOrder()})
	}
	f.w = w
	f.beginGroup()
	return f, nil
}

// element is the column in the schema: every one is required.
func (c *column) element() *parquet.SchemaElement {
	e := &parquet.SchemaElement{Name: c.name, RepetitionType: new(parquet.FieldRepetitionType_REQUIRED)}
	decimal := func(digits int32) {
		e.ConvertedType, e.Precision, e.Scale = new(parquet.ConvertedType_DECIMAL), new(digits), new(int32(decimals))
		e.LogicalType = &parquet.LogicalType{DECIMAL: &parquet.DecimalType{Precision: digits, Scale: decimals}}
	}
	switch c.kind {
	case integer:
		e.Type = new(parquet.Type_INT32)
	case date:
		e.Type, e.ConvertedType = new(parquet.Type_INT32), new(parquet.ConvertedType_DATE)
		e.LogicalType = &parquet.LogicalType{DATE: parquet.NewDateType()}
	case bigint:
		e.Type = new(parquet.Type_INT64)
	case text:
		e.Type, e.ConvertedType = new(parquet.Type_BYTE_ARRAY), new(parquet.ConvertedType_UTF8)
		e.LogicalType = &parquet.LogicalType{STRING: parquet.NewStringType()}
	case amount:
		e.Type = new(parquet.Type_INT64)
		decimal(amountDigits)
	case total:
		e.Type, e.TypeLength = new(parquet.Type_FIXED_LEN_BYTE_ARRAY), new(int32(totalBytes))
		decimal(totalDigits)
	}
	return e
}

// encoding is what readers know: of integers DELTA_BINARY_PACKED, a quarter smaller and
// read by Spark since 3.3; of strings PLAIN, since DELTA_LENGTH_BYTE_ARRAY saves 2 % and
// fewer readers have it.
func (c *column) encoding() parquet.Encoding {
	switch c.kind {
	case integer, date, bigint:
		return parquet.Encoding_DELTA_BINARY_PACKED
	}
	return parquet.Encoding_PLAIN
}

// addRow takes a row's values in PostgreSQL's binary form, in the order of the columns.
func (f *file) addRow(values [][]byte) error {
	for i, c := range f.columns {
		if err := c.add(values[i]); err != nil {
			return &ValueError{f.key(values), err}
		}
	}
	f.inPage++
	f.rows++
	if f.inPage < rowsPerPage {
		return nil
	}
	if err := f.endPage(); err != nil {
		return err
	}
	if f.inGroup < rowsPerGroup {
		return nil
	}
	return f.endGroup()
}

// key names a row by its first column, or its transaction id.
func (f *file) key(values [][]byte) string {
	i := slices.IndexFunc(f.columns, func(c *column) bool { return c.kind == text })
	if i >= 0 {
		return fmt.Sprintf("%s %s", f.columns[i].name, values[i])
	}
	if len(values[0]) != 4 {
		return f.columns[0].name
	}
	key := int32(binary.BigEndian.Uint32(values[0]))
	if f.columns[0].kind == date {
		return f.columns[0].name + " " + civil.Date(key+postgresEpoch).String()
	}
	return fmt.Sprintf("%s %d", f.columns[0].name, key)
}

func (f *file) endPage() error {
	if f.inPage == 0 {
		return nil
	}
	for i, c := range f.columns {
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

// page makes a data page of the column's values: a header, then the values, compressed.
// A required column has no levels.
func (f *file) page(i int, c *column) (*layout.Page, error) {
	f.plain = c.encode(f.plain[:0])
	compressed := f.zstd.EncodeAll(f.plain, nil)
	minimum, maximum := c.bounds()
	of := pageOf{minimum: plainBytes(minimum), maximum: plainBytes(maximum)}

	header := parquet.NewPageHeader()
	header.Type = parquet.PageType_DATA_PAGE
	header.UncompressedPageSize, header.CompressedPageSize = int32(len(f.plain)), int32(len(compressed))
	header.Crc = new(int32(crc32.ChecksumIEEE(compressed)))
	header.DataPageHeader = parquet.NewDataPageHeader()
	header.DataPageHeader.NumValues = int32(f.inPage)
	header.DataPageHeader.Encoding = c.encoding()
	header.DataPageHeader.DefinitionLevelEncoding = parquet.Encoding_RLE
	header.DataPageHeader.RepetitionLevelEncoding = parquet.Encoding_RLE
	header.DataPageHeader.Statistics = of.statistics()
	raw, err := f.thrift.Write(context.Background(), header)
	if err != nil {
		return nil, err
	}
	page := layout.NewPage()
	page.Header, page.RawData = header, slices.Concat(raw, compressed)
	page.Schema, page.CompressType = f.schema[i], parquet.CompressionCodec_ZSTD
	page.Path = common.StrToPath(f.w.SchemaHandler.IndexMap[int32(i+1)])
	page.MinVal, page.MaxVal, page.NullCount = minimum, maximum, new(int64)
	of.bytes = int32(len(page.RawData))
	f.pages[i] = append(f.pages[i], of)
	return page, nil
}

// statistics are those that readers trust: not the old fields, which compare strings
// and decimals in an undefined order.
func (p pageOf) statistics() *parquet.Statistics {
	return &parquet.Statistics{MinValue: p.minimum, MaxValue: p.maximum, NullCount: new(int64)}
}

func (f *file) beginGroup() {
	f.inGroup = 0
	f.pages = make([][]pageOf, len(f.columns))
}

// endGroup writes the group's pages, and puts right what the library says of them.
func (f *file) endGroup() error {
	if f.inGroup == 0 {
		return nil
	}
	f.w.NumRows = int64(f.inGroup)
	if err := f.w.Flush(true); err != nil {
		return err
	}
	group := f.w.Footer.RowGroups[len(f.w.Footer.RowGroups)-1]
	indexes := f.w.ColumnIndexes[len(f.w.ColumnIndexes)-len(f.columns):]
	offsets := f.w.OffsetIndexes[len(f.w.OffsetIndexes)-len(f.columns):]
	group.TotalCompressedSize, group.FileOffset = new(int64), new(group.Columns[0].MetaData.DataPageOffset)
	group.Ordinal = new(int16(len(f.w.Footer.RowGroups) - 1))
	for _, i := range f.sort {
		group.SortingColumns = append(group.SortingColumns, &parquet.SortingColumn{ColumnIdx: int32(i)})
	}
	for i, c := range f.columns {
		chunk := group.Columns[i].MetaData
		*group.TotalCompressedSize += chunk.TotalCompressedSize
		chunk.Encodings = []parquet.Encoding{c.encoding(), parquet.Encoding_RLE}
		chunk.Statistics.Min, chunk.Statistics.Max = nil, nil
		index := indexes[i]
		index.NullCounts = make([]int64, len(f.pages[i]))
		for page, of := range f.pages[i] {
			index.MinValues[page], index.MaxValues[page] = of.minimum, of.maximum
			offsets[i].PageLocations[page].CompressedPageSize = of.bytes
		}
		if i == f.sort[0] {
			index.BoundaryOrder = parquet.BoundaryOrder_ASCENDING
		}
	}
	f.beginGroup()
	return nil
}

// close writes what is left and the footer. The file may be without rows.
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

// plainBytes is a value as statistics have it: PLAIN, without a string's length.
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

// sum is the exact sum of the amounts or totals.
func (f *file) sum() money.Sum {
	var sum money.Sum
	for _, c := range f.columns {
		sum = sum.Plus(c.sum)
	}
	return sum
}
