package extract

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/opentax/tally/internal/bucket"
)

// maxWindow bounds the memory that a .zst file can ask for, as the zstd program does.
const maxWindow = 128 << 20

// Identity identifies content under any name, decompressed and not decoded.
type Identity struct {
	SHA256 [sha256.Size]byte
	Bytes  int64
}

// Identify reads a file once and identifies its content. Beside the error of content that
// cannot be decompressed, or is no text, it identifies the file's bytes as they are, so
// that the same bad file is known again. Its errors are those of Open and of reading.
//
// The version is that of the content: whenever the file has this version again, it has this
// content. It is zero where that cannot be said, since the file has just been written.
func Identify(ctx context.Context, stores *bucket.Stores, location bucket.Location) (Identity, bucket.Version, error) {
	id, version, _, err := IdentifyLines(ctx, stores, location)
	return id, version, err
}

// IdentifyLines also returns what the number of lines is at most, by the bytes that can be
// line ends.
func IdentifyLines(ctx context.Context, stores *bucket.Stores, location bucket.Location) (id Identity, version bucket.Version, maxLines int64, err error) {
	id, version, maxLines, err = identify(ctx, stores, location)
	bad, ok := errors.AsType[*FileError](err)
	if !ok || bad.Code != CodeTruncated && bad.Code != CodeCorrupt && bad.Code != CodeUnsupported {
		return id, version, maxLines, err
	}
	begun := time.Now()
	raw, opened, openErr := openRaw(ctx, stores, location)
	if openErr != nil {
		return Identity{}, bucket.Version{}, 0, err
	}
	defer raw.Close() //nolint:errcheck // it was only read
	sum := sha256.New()
	if id.Bytes, openErr = io.Copy(sum, raw); openErr != nil {
		return Identity{}, bucket.Version{}, 0, err
	}
	sum.Sum(id.SHA256[:0])
	return id, versionRead(raw, opened, begun), 0, err
}

func identify(ctx context.Context, stores *bucket.Stores, location bucket.Location) (id Identity, version bucket.Version, maxLines int64, err error) {
	begun := time.Now()
	f, err := openContent(ctx, stores, location)
	if err != nil {
		return Identity{}, bucket.Version{}, 0, err
	}
	buf := make([]byte, 256<<10)
	var lf, cr int
	for err == nil && ctx.Err() == nil {
		var n int
		n, err = f.content.Read(buf)
		lf += bytes.Count(buf[:n], []byte{'\n'})
		cr += bytes.Count(buf[:n], []byte{'\r'})
	}
	id, version = f.Identity(), versionRead(f.raw, f.opened, begun)
	closing := f.Close()
	switch {
	case err == nil:
		return Identity{}, version, 0, fmt.Errorf("identify %s: %w", f.path, context.Cause(ctx))
	case !errors.Is(err, io.EOF):
		return Identity{}, version, 0, f.explain(err)
	default:
		return id, version, int64(max(lf, cr)) + 1, closing // the last line may have no end
	}
}

// File is a source file, or an object of a store, opened for reading it as UTF-8 text
// without a byte order mark. Errors of Read and Open are *FileError, but for a store that is
// unavailable (see [bucket.ErrUnavailable]) or not set up, and for a context that is over.
type File struct {
	ctx         context.Context // of the reading
	path        string
	opened      bucket.Version // when it was opened
	compression string
	encoding    string

	raw     io.ReadCloser
	read    atomic.Int64
	broken  error // of raw, whatever the decompression makes of it
	release func()
	content hashed
	text    io.Reader
}

// Open opens a regular file or an object; ctx holds for its reading. Close it after use.
func Open(ctx context.Context, stores *bucket.Stores, location bucket.Location, dialect Dialect) (*File, error) {
	f, err := openContent(ctx, stores, location)
	if err != nil {
		return nil, err
	}
	if err := f.decodeText(dialect.Encoding); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// openContent opens a file up to its decompressed bytes.
func openContent(ctx context.Context, stores *bucket.Stores, location bucket.Location) (*File, error) {
	f := &File{ctx: ctx, path: location.String(), encoding: "UTF-8", release: func() {}}
	var err error
	if f.raw, f.opened, err = openRaw(ctx, stores, location); err != nil {
		return nil, f.explain(err)
	}
	if err := f.decompress(); err != nil {
		f.release()
		_ = f.raw.Close() // nothing was written; the first error is the one that counts
		return nil, f.explain(err)
	}
	return f, nil
}

// openRaw opens the bytes as they are stored, and finds their version.
func openRaw(ctx context.Context, stores *bucket.Stores, location bucket.Location) (io.ReadCloser, bucket.Version, error) {
	path, local := location.Local()
	if !local {
		object, err := stores.Read(ctx, location)
		if err != nil {
			return nil, bucket.Version{}, err
		}
		return object, object.Version(), nil
	}
	info, err := os.Stat(path) // before opening: opening a pipe would wait for a writer
	if err != nil {
		return nil, bucket.Version{}, err
	}
	if !info.Mode().IsRegular() {
		e := &FileError{Path: path, Code: CodeUnreadable, Detail: "it is no regular file"}
		if info.IsDir() {
			e.Detail, e.Hint = "it is a folder", "name a file in it, or make the folder a source"
		}
		return nil, bucket.Version{}, e
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, bucket.Version{}, err
	}
	if info, err = file.Stat(); err != nil {
		return nil, bucket.Version{}, errors.Join(err, file.Close())
	}
	return file, bucket.VersionOf(info), nil
}

func (f *File) decompress() error {
	source := bufio.NewReaderSize(&counted{f}, 128<<10)
	magic, err := source.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	f.content = hashed{r: source, hash: sha256.New()}
	if f.compression = compressionOf(magic); f.compression != "" {
		if err := f.decompressor(source); err != nil {
			return err
		}
		source = bufio.NewReaderSize(f.content.r, 4<<10)
		f.content.r = source
	}
	start, _ := source.Peek(512) // an error comes again
	return noText(start, f.compression)
}

func (f *File) decompressor(source *bufio.Reader) (err error) {
	switch f.compression {
	case "gzip":
		m := &members{source: source}
		m.Reader, err = gzip.NewReader(source)
		if err == nil {
			m.Multistream(false)
		}
		f.content.r = m
	case "zstd":
		// One block at a time: no goroutines to leak, and no more memory than a window.
		var z *zstd.Decoder
		if z, err = zstd.NewReader(source, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow)); err == nil {
			f.content.r, f.release = z, z.Close
		}
	default:
		return f.unzip(source)
	}
	return endsEarly(err)
}

// compressionOf knows a compression by the first bytes.
func compressionOf(magic []byte) string {
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return "gzip"
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}),
		len(magic) >= 4 && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:4], []byte{0x2a, 0x4d, 0x18}): // a frame to be skipped
		return "zstd"
	case bytes.HasPrefix(magic, []byte("PK\x03\x04")), bytes.HasPrefix(magic, []byte("PK\x05\x06")):
		return "zip"
	}
	return ""
}

// noText is the error of content that is no text, as it starts.
func noText(start []byte, compression string) error {
	if inner := compressionOf(start); inner != "" && compression != "" {
		return unsupported("the content of the "+compression+" file is compressed again with "+inner, "unpack it once")
	}
	for _, kind := range []struct {
		at                  int
		magic, detail, hint string
	}{
		{0, "\xd0\xcf\x11\xe0", "a workbook or another document of Microsoft Office", saveAsCSV},
		{0, "PAR1\x15", "a Parquet file", "export it as CSV"},
		{0, "%PDF-", "a PDF document", "export it as CSV"},
		{0, "\xfd7zXZ\x00", "compressed with xz", "compress it with gzip or zstd, or unpack it"},
		{4, "1AY&SY", "compressed with bzip2", "compress it with gzip or zstd, or unpack it"},
		{0, "7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"},
		{257, "ustar", "a tar archive", "unpack it"},
	} {
		if bytes.HasPrefix(start[min(kind.at, len(start)):], []byte(kind.magic)) {
			return unsupported("it is "+kind.detail, kind.hint)
		}
	}
	return nil
}

// members reads the members of a gzip file, and skips the zeros that may pad them.
type members struct {
	*gzip.Reader
	source *bufio.Reader
}

// Read reads on.
func (m *members) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	next, err := m.source.ReadByte()
	for err == nil && next == 0 {
		next, err = m.source.ReadByte()
	}
	if err != nil {
		return n, err
	}
	_ = m.source.UnreadByte() // it was read
	err = m.Reset(m.source)
	m.Multistream(false)
	return n, endsEarly(err)
}

// endsEarly is for errors of a compressed file's header, where its end is one too.
func endsEarly(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Read reads UTF-8 text.
func (f *File) Read(p []byte) (int, error) {
	n, err := f.text.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = f.explain(err)
	}
	return n, err
}

// Close ends the reading.
func (f *File) Close() error {
	f.release()
	if err := f.raw.Close(); err != nil {
		return fmt.Errorf("close %s: %w", f.path, err)
	}
	return nil
}

// Path is the name that the file was opened by, without a URL's parameters.
func (f *File) Path() string { return f.path }

// Size is the file's length as it is stored when it was opened, in bytes.
func (f *File) Size() int64 { return f.opened.Size }

// Position is how many of those bytes were read. Another goroutine may read.
func (f *File) Position() int64 { return f.read.Load() }

// Compression is "gzip", "zstd", "zip", or "" for none.
func (f *File) Compression() string { return f.compression }

// Encoding names the character encoding, as set or as the file's first bytes show.
func (f *File) Encoding() string { return f.encoding }

// Identity is that of what was read. If it is not what Identify said after io.EOF, the
// file has changed in between.
func (f *File) Identity() Identity {
	id := Identity{Bytes: f.content.length}
	f.content.hash.Sum(id.SHA256[:0])
	return id
}

// explain makes a FileError of an error of opening or reading that is about the file.
func (f *File) explain(err error) error {
	if f.broken != nil {
		err = f.broken
	}
	var known *FileError
	var path *fs.PathError
	e := &FileError{Path: f.path, Err: err}
	switch {
	case errors.As(err, &known):
		known.Path = f.path
		return known
	case errors.Is(err, bucket.ErrUnavailable), errors.Is(err, bucket.ErrSetup), errors.Is(err, errSpool), f.ctx.Err() != nil && errors.Is(err, context.Cause(f.ctx)):
		return err
	case errors.Is(err, bucket.ErrChanged):
		e.Code, e.Hint = CodeFileChanged, "write it under another name, and under this one when it is complete"
	case errors.Is(err, bucket.ErrShort):
		e.Code, e.Hint = CodeTruncated, "copy the file to the store again"
	case errors.Is(err, fs.ErrNotExist):
		e.Code, e.Hint = CodeNotFound, "check the path"
	case errors.Is(err, fs.ErrPermission):
		e.Code, e.Hint = CodeUnreadable, "let the user that runs tally read it"
	case errors.As(err, &path), f.broken != nil:
		e.Code = CodeUnreadable
	case errors.Is(err, io.ErrUnexpectedEOF):
		e.Code, e.Detail = CodeTruncated, "the "+f.compression+" content is cut short, or other bytes follow it"
		e.Hint = "copy the file again"
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		e.Code, e.Hint = CodeUnreadable, "compress it again with a window of at most 128 MiB"
	case f.compression != "":
		e.Code, e.Detail = CodeCorrupt, "the "+f.compression+" content is damaged"
		e.Hint = "copy the file again"
	default:
		e.Code = CodeUnreadable
	}
	return e
}

// counted counts the bytes read as they are stored, and remembers what ended them.
type counted struct{ f *File }

// Read reads on and counts.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.f.raw.Read(p)
	c.f.read.Add(int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		c.f.broken = err
	}
	return n, err
}

// hashed keeps the identity of what passes through.
type hashed struct {
	r      io.Reader
	hash   hash.Hash
	length int64
}

// Read reads on, and takes what it read into the checksum.
func (h *hashed) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.hash.Write(p[:n])
	h.length += int64(n)
	return n, err
}
