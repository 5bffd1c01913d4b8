package extract

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
)

// zipped is an archive of files, each by its name and content.
func zipped(t *testing.T, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		f, err := w.Create(files[i])
		require.NoError(t, err)
		_, err = io.WriteString(f, files[i+1])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func TestZIP(t *testing.T) {
	t.Parallel()
	text := head + strings.Repeat("Ä,1,5,2024-01-02\n", 20_000)
	want := Identity{SHA256: sha256.Sum256([]byte(text)), Bytes: int64(len(text))}
	content := zipped(t, "in/", "", "in/a.csv", text, "__MACOSX/in/._a.csv", "x", "in/.DS_Store", "x")
	path := bucket.Path(write(t, "any.name", content))
	id, _, err := Identify(t.Context(), nil, path)
	require.NoError(t, err)
	assert.Equal(t, want, id)
	f, err := Open(t.Context(), nil, path, Dialect{})
	require.NoError(t, err)
	got, err := io.ReadAll(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	assert.Equal(t, text, string(got))
	assert.Equal(t, want, f.Identity())
	assert.Equal(t, "zip", f.Compression())
	assert.Positive(t, f.Position())
	assert.LessOrEqual(t, f.Position(), f.Size())
}

func TestZIPErrors(t *testing.T) {
	t.Parallel()
	whole := zipped(t, "a.csv", strings.Repeat(head, 1000))
	encrypted := bytes.Clone(whole)
	encrypted[bytes.Index(encrypted, []byte("PK\x01\x02"))+8] |= 1
	method := bytes.Clone(whole)
	method[bytes.Index(method, []byte("PK\x01\x02"))+10] = 93
	aes := bytes.Clone(whole)
	aes[bytes.Index(aes, []byte("PK\x01\x02"))+10] = 99
	checksum := bytes.Clone(whole)
	checksum[bytes.Index(checksum, []byte("PK\x01\x02"))+16] ^= 1
	var many []string
	for range 1_200 { // the limit is of bytes
		many = append(many, strings.Repeat("n", 1000), "")
	}
	for _, c := range []struct {
		name, code, detail string
		content            []byte
	}{
		{"several files", CodeUnsupported, "several files: a.csv, b.csv", zipped(t, "a.csv", "x", "b.csv", "y")},
		{"no file", CodeUnsupported, "no file", zipped(t)},
		{"a workbook", CodeUnsupported, "workbook", zipped(t, "[Content_Types].xml", "x", "xl/workbook.xml", "x")},
		{"a workbook of another kind", CodeUnsupported, "workbook", zipped(t, "mimetype", "x", "META-INF/manifest.xml", "x")},
		{"an old workbook", CodeUnsupported, "workbook", []byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")},
		{"encrypted", CodeUnsupported, "encrypted", encrypted},
		{"encrypted with AES", CodeUnsupported, "encrypted", aes},
		{"a text document", CodeUnsupported, "another Office document", zipped(t, "[Content_Types].xml", "x", "word/document.xml", "x")},
		{"another method", CodeUnsupported, "compressed", method},
		{"a directory without end", CodeUnsupported, "too many", zipped(t, many...)},
		{"cut short", CodeTruncated, "cut short", whole[:len(whole)-30]},
		{"damaged", CodeCorrupt, "damaged", checksum},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := write(t, "in.csv", c.content)
			bad := requireCode(t, c.code, drain(path))
			assert.Contains(t, bad.Detail, c.detail)
			id, _, err := Identify(t.Context(), nil, bucket.Path(path))
			requireCode(t, c.code, err)
			assert.Equal(t, Identity{SHA256: sha256.Sum256(c.content), Bytes: int64(len(c.content))}, id, "it is known again")
		})
	}
}
