package extract

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/unicode"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/pipeline/synthetic"
)

// write puts content into a read-only file.
func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, content, 0o400))
	return path
}

func gzipped(t *testing.T, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func zstandard(t *testing.T, content []byte, options ...zstd.EOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, options...)
	require.NoError(t, err)
	_, err = w.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func encodeUTF16(t *testing.T, text string, order unicode.Endianness, bom unicode.BOMPolicy) []byte {
	t.Helper()
	b, err := unicode.UTF16(order, bom).NewEncoder().Bytes([]byte(text))
	require.NoError(t, err)
	return b
}

func TestFileDecodes(t *testing.T) {
	t.Parallel()
	text := head + strings.Repeat("Ä😀,1,5,2024-01-02\r\n", 20_000)
	plain := []byte(text)
	marked := append([]byte("\ufeff"), plain...)
	little := encodeUTF16(t, text, unicode.LittleEndian, unicode.UseBOM)
	big := encodeUTF16(t, text, unicode.BigEndian, unicode.UseBOM)
	for _, c := range []struct {
		name, compression, encoding string
		disk, content               []byte
	}{
		{"plain", "", "UTF-8", plain, plain},
		{"UTF-8 with mark", "", "UTF-8 with byte order mark", marked, marked},
		{"UTF-16LE", "", "UTF-16LE", little, little},
		{"UTF-16BE", "", "UTF-16BE", big, big},
		{"gzip", "gzip", "UTF-8", gzipped(t, plain), plain},
		{"gzip in two members", "gzip", "UTF-8", append(gzipped(t, plain[:1000]), gzipped(t, plain[1000:])...), plain},
		{"gzip with zeros", "gzip", "UTF-8", slices.Concat(gzipped(t, plain[:1000]), make([]byte, 700), gzipped(t, plain[1000:]), make([]byte, 9)), plain},
		{"gzip of UTF-16", "gzip", "UTF-16LE", gzipped(t, little), little},
		{"zstd", "zstd", "UTF-8", zstandard(t, plain), plain},
		{"zstd in two frames", "zstd", "UTF-8", append(zstandard(t, plain[:1000]), zstandard(t, plain[1000:])...), plain},
		{"zstd after a frame to be skipped", "zstd", "UTF-8", append([]byte("\x50\x2a\x4d\x18\x02\x00\x00\x00xx"), zstandard(t, plain)...), plain},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := write(t, "any.name", c.disk) // told by content, not by name
			want := Identity{SHA256: sha256.Sum256(c.content), Bytes: int64(len(c.content))}
			id, _, err := Identify(t.Context(), nil, bucket.Path(path))
			require.NoError(t, err)
			require.Equal(t, want, id)

			f, err := Open(t.Context(), nil, bucket.Path(path), Dialect{})
			require.NoError(t, err)
			got, err := io.ReadAll(f)
			require.NoError(t, err)
			require.Equal(t, text, string(got))
			assert.Equal(t, want, f.Identity())
			assert.Equal(t, c.compression, f.Compression())
			assert.Equal(t, c.encoding, f.Encoding())
			assert.Equal(t, int64(len(c.disk)), f.Size())
			assert.Equal(t, f.Size(), f.Position())
			assert.Equal(t, path, f.Path())
			require.NoError(t, f.Close())

			after, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, c.disk, after, "the source is as it was")
		})
	}
}

func TestFileRecords(t *testing.T) {
	t.Parallel()
	const text = head + "Ä,1,5,2024-01-02\r\n"
	for name, content := range map[string][]byte{
		"mark":                []byte("\ufeff" + text),
		"mark before a quote": []byte("\ufeff\"transaction_id\",user_id,amount,transaction_date\nÄ,1,5,2024-01-02\n"),
		"UTF-16LE":            encodeUTF16(t, text, unicode.LittleEndian, unicode.UseBOM),
		"UTF-16BE":            encodeUTF16(t, text, unicode.BigEndian, unicode.UseBOM),
		"gzip":                gzipped(t, []byte("\ufeff"+text)),
		"zstd":                zstandard(t, []byte(text)),
	} {
		f, err := Open(t.Context(), nil, bucket.Path(write(t, "in.csv", content)), Dialect{})
		require.NoError(t, err)
		r, err := NewReader(f, Dialect{}, columns())
		require.NoError(t, err, name)
		records, err := readAll(r)
		require.NoError(t, err, name)
		assert.Equal(t, []string{"2 Ä 1 5 2024-01-02"}, records, name)
		require.NoError(t, f.Close())
	}
	cut := encodeUTF16(t, head+"A,1,5,2024-01-02", unicode.LittleEndian, unicode.UseBOM)
	f, err := Open(t.Context(), nil, bucket.Path(write(t, "in.csv", cut[:len(cut)-1])), Dialect{})
	require.NoError(t, err)
	r, err := NewReader(f, Dialect{}, columns())
	require.NoError(t, err)
	records, err := readAll(r)
	require.NoError(t, err)
	assert.Equal(t, []string{"2 invalid_utf8"}, records, "half a character is no text")
	require.NoError(t, f.Close())
}

// drain opens and reads a file, and gives the error of either.
func drain(path string) error {
	f, err := Open(context.Background(), nil, bucket.Path(path), Dialect{})
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, f)
	return errors.Join(err, f.Close())
}

func requireCode(t *testing.T, code string, err error) *FileError {
	t.Helper()
	var bad *FileError
	require.ErrorAs(t, err, &bad)
	require.Equal(t, code, bad.Code, err)
	require.NotEmpty(t, bad.Path)
	return bad
}

// TestFileTruncated cuts compressed files at every byte.
func TestFileTruncated(t *testing.T) {
	t.Parallel()
	content := generated(t, synthetic.File{Rows: 12, Seed: 1})
	for name, whole := range map[string][]byte{
		"gzip":             gzipped(t, content),
		"zstd":             zstandard(t, content),
		"zstd, no CRC":     zstandard(t, content, zstd.WithEncoderCRC(false)),
		"zstd, known size": zstandard(t, content, zstd.WithSingleSegment(true)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.NoError(t, drain(write(t, "whole", whole)))
			for n := 4; n < len(whole); n++ {
				path := write(t, "cut", whole[:n])
				bad := requireCode(t, CodeTruncated, drain(path))
				require.NotEmpty(t, bad.Hint)
				_, _, err := Identify(t.Context(), nil, bucket.Path(path))
				requireCode(t, CodeTruncated, err)
			}
		})
	}
}

func TestFileCorrupt(t *testing.T) {
	t.Parallel()
	content := generated(t, synthetic.File{Rows: 1000, Seed: 1})
	for name, whole := range map[string][]byte{"gzip": gzipped(t, content), "zstd": zstandard(t, content)} {
		damaged := bytes.Clone(whole)
		damaged[len(damaged)/2] ^= 0x40
		err := drain(write(t, "damaged", damaged))
		var bad *FileError
		require.ErrorAs(t, err, &bad, name)
		assert.Contains(t, []string{CodeCorrupt, CodeTruncated}, bad.Code, name)

		requireCode(t, CodeCorrupt, drain(write(t, "followed", append(bytes.Clone(whole), "and more, which is no part of it"...))))
		checksum := bytes.Clone(whole)
		checksum[len(checksum)-6] ^= 0x40 // of gzip the checksum, of zstd the end of the last block
		require.Error(t, drain(write(t, "checksum", checksum)), name)
	}
	requireCode(t, CodeCorrupt, drain(write(t, "method", []byte("\x1f\x8b\x07\x00\x00\x00\x00\x00\x00\x00"))))
	// A frame that asks for a window of 2 GiB.
	bad := requireCode(t, CodeUnreadable, drain(write(t, "window", []byte("\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00"))))
	assert.Contains(t, bad.Hint, "window")
}

// TestFileOfNoText tells by its content, also within another file, what no text is.
func TestFileOfNoText(t *testing.T) {
	t.Parallel()
	archive := zipped(t, "a.csv", head)
	for detail, content := range map[string][]byte{
		"the content of the gzip file is compressed again with gzip": gzipped(t, gzipped(t, []byte(head))),
		"the content of the zstd file is compressed again with zip":  zstandard(t, archive),
		"the content of the zip file is compressed again with zstd":  zipped(t, "a.csv.zst", string(zstandard(t, []byte(head)))),
		"it is compressed with bzip2":                                []byte("BZh91AY&SYxxxx"),
		"it is compressed with xz":                                   []byte("\xfd7zXZ\x00\x00"),
		"it is a 7z archive":                                         gzipped(t, []byte("7z\xbc\xaf\x27\x1c")),
		"it is a Parquet file":                                       zipped(t, "x", "PAR1\x15\x00"),
		"it is a PDF document":                                       []byte("%PDF-1.4\n"),
		"it is a tar archive":                                        gzipped(t, append(make([]byte, 257), "ustar\x0000"...)),
	} {
		bad := requireCode(t, CodeUnsupported, drain(write(t, "in.csv", content)))
		assert.Equal(t, detail, bad.Detail)
		assert.NotEmpty(t, bad.Hint)
	}
	for _, text := range []string{"BZh,PAR1\n", "PAR1,x\n", "7z", "PK,x"} {
		require.NoError(t, drain(write(t, "in.csv", []byte(text))))
	}
}

func TestFileUnreadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := Open(t.Context(), nil, bucket.Path(filepath.Join(dir, "none.csv")), Dialect{})
	requireCode(t, CodeNotFound, err)
	_, _, err = Identify(t.Context(), nil, bucket.Path(filepath.Join(dir, "none.csv")))
	requireCode(t, CodeNotFound, err)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Open(t.Context(), nil, bucket.Path(dir), Dialect{})
	assert.Contains(t, requireCode(t, CodeUnreadable, err).Hint, "source")
	_, err = Open(t.Context(), nil, bucket.Path(os.DevNull), Dialect{})
	requireCode(t, CodeUnreadable, err)
	if os.Geteuid() != 0 { // root may read everything
		path := write(t, "secret.csv", []byte(head))
		require.NoError(t, os.Chmod(path, 0))
		_, err = Open(t.Context(), nil, bucket.Path(path), Dialect{})
		requireCode(t, CodeUnreadable, err)
	}
}

func TestFileErrorsNameTheFile(t *testing.T) {
	t.Parallel()
	for code, content := range map[string][]byte{
		CodeEmptyFile:     nil,
		CodeMissingColumn: []byte("a,b\n"),
		CodeTruncated:     gzipped(t, []byte(head))[:20],
	} {
		f, err := Open(t.Context(), nil, bucket.Path(write(t, "in.csv", content)), Dialect{})
		require.NoError(t, err)
		_, err = NewReader(f, Dialect{}, columns())
		bad := requireCode(t, code, err)
		assert.Equal(t, f.Path(), bad.Path)
		require.NoError(t, f.Close())
	}
}

func TestFileThatChanges(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "in.csv")
	content := generated(t, synthetic.File{Rows: 20_000, Seed: 1}) // more than is buffered
	require.NoError(t, os.WriteFile(path, content, 0o600))
	before, _, err := Identify(t.Context(), nil, bucket.Path(path))
	require.NoError(t, err)
	f, err := Open(t.Context(), nil, bucket.Path(path), Dialect{})
	require.NoError(t, err)
	_, err = io.CopyN(io.Discard, f, 1000)
	require.NoError(t, err)
	other, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	_, err = other.WriteString("TXN1,1,5,2024-01-02\n")
	require.NoError(t, errors.Join(err, other.Close()))
	_, err = io.Copy(io.Discard, f)
	require.NoError(t, errors.Join(err, f.Close()))
	assert.NotEqual(t, before, f.Identity(), "what was read is not what was identified")
	assert.Equal(t, before.Bytes+20, f.Identity().Bytes)
}

func TestIdentifyStops(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the night is over")
	cancel(why)
	_, _, err := Identify(ctx, nil, bucket.Path(write(t, "in.csv", []byte(head))))
	require.ErrorIs(t, err, why)
}

// TestFileBomb reads 256 MB that are a few kB on disk: nothing grows with it.
func TestFileBomb(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(head))
	require.NoError(t, err)
	_, err = io.Copy(w, io.LimitReader(repeated('x'), 32<<20))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	f, err := Open(t.Context(), nil, bucket.Path(write(t, "bomb.gz", b.Bytes())), Dialect{})
	require.NoError(t, err)
	r, err := NewReader(f, Dialect{}, columns())
	require.NoError(t, err)
	rec, err := r.Next()
	require.NoError(t, err)
	assert.EqualValues(t, 32<<20, rec.Length)
	assert.Len(t, rec.Raw(), MaxRaw)
	assert.LessOrEqual(t, len(r.scan.buf), lastBuffer)
	_, err = r.Next()
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, f.Close())
}
