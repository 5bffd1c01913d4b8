package extract

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"github.com/opentax/tally/internal/bucket"
)

func TestFileEncodings(t *testing.T) {
	t.Parallel()
	encode := func(name, text string) []byte {
		e, err := htmlindex.Get(name)
		require.NoError(t, err)
		b, err := e.NewEncoder().Bytes([]byte(text))
		require.NoError(t, err)
		return b
	}
	western, japanese := head+"Ä€,1,5,2024-01-02\n", head+strings.Repeat("注文,1,5,2024-01-02\n", 20_000)
	mixed := western + strings.Repeat("─😀,1,5,2024-01-02\n", 9)
	little := encodeUTF16(t, western, unicode.LittleEndian, unicode.IgnoreBOM)
	for _, c := range []struct {
		name, set, want, text string
		content               []byte
	}{
		{"UTF-16LE by its NUL bytes", "", "UTF-16LE", western, little},
		{"UTF-16BE by its NUL bytes", "", "UTF-16BE", western, encodeUTF16(t, western, unicode.BigEndian, unicode.IgnoreBOM)},
		{"UTF-16LE with characters whose low byte is NUL", "", "UTF-16LE", mixed, encodeUTF16(t, mixed, unicode.LittleEndian, unicode.IgnoreBOM)},
		{"UTF-16BE with characters whose low byte is NUL", "", "UTF-16BE", mixed, encodeUTF16(t, mixed, unicode.BigEndian, unicode.IgnoreBOM)},
		{"UTF-16 as set", "utf-16", "UTF-16LE", western, little},
		{"Windows-1252", "cp1252", "windows-1252", western, encode("windows-1252", western)},
		{"Latin 9", "iso-8859-15", "iso-8859-15", western, encode("iso-8859-15", western)},
		{"Shift JIS", "shift_jis", "shift_jis", japanese, encode("shift_jis", japanese)},
		{"GB 18030", "gb18030", "gb18030", western, encode("gb18030", western)},
		{"UTF-8 as set", "utf-8", "UTF-8", western + "\ufffd\xff", []byte(western + "\ufffd\xff")},
		{"a byte order mark wins", "windows-1252", "UTF-8 with byte order mark", western, []byte("\ufeff" + western)},
		{"a byte order mark of UTF-16 wins", "windows-1252", "UTF-16LE", western, encodeUTF16(t, western, unicode.LittleEndian, unicode.UseBOM)},
		{"what is no character is no text", "euc-jp", "euc-jp", "a\xffb\xff", []byte("a\xffb\x8f")},
		{"NUL bytes of another kind", "", "UTF-8", "A,\x00\x00,1,5,\x00", []byte("A,\x00\x00,1,5,\x00")},
	} {
		f, err := Open(t.Context(), nil, bucket.Path(write(t, "in.csv", c.content)), Dialect{Encoding: c.set})
		require.NoError(t, err)
		text, err := io.ReadAll(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		assert.Equal(t, c.want, f.Encoding(), c.name)
		assert.Equal(t, c.text, string(text), c.name)
	}
	_, err := Open(t.Context(), nil, bucket.Path(write(t, "in.csv", nil)), Dialect{Encoding: "replacement"})
	assert.ErrorContains(t, err, `encoding is "replacement"`)
	_, err = Open(t.Context(), nil, bucket.Path(write(t, "in.csv", []byte(western))), Dialect{Encoding: "utf-16"})
	assert.Equal(t, "the file is not UTF-16LE, which the setting encoding names", requireCode(t, CodeUnreadable, err).Detail)
}

func TestNoCharacters(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a\ufffdb\ufffd": "a\xffb\xff", "\ufffc\uffffé\ufeff": "\ufffc\uffffé\ufeff", "\xef\xbf": "\xef\xbf", "\xef": "\xef", "\xefa": "\xefa",
	} {
		for _, r := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text))} {
			got, err := io.ReadAll(transform.NewReader(r, noCharacters{}))
			require.NoError(t, err)
			assert.Equal(t, want, string(got))
		}
	}
}

func TestLikelyEncoding(t *testing.T) {
	t.Parallel()
	for cell, want := range map[string][2]string{
		"M\xfcller":                        {"windows-1252", "Müller"},
		"\x80 5":                           {"windows-1252", "€ 5"},
		"\xe9":                             {"windows-1252", "é"},
		"\xcf\xf0\xe8\xe2\xe5\xf2, 12":     {"windows-1251", "Привет, 12"},
		"\xcf\xf0\xe8\xe2\xe5\xf2 to some": {"windows-1252", "Ïðèâåò to some"},
	} {
		name, text := LikelyEncoding([]byte(cell))
		assert.Equal(t, want, [2]string{name, text})
	}
}

// TestTwoIDsStayTwo reads ids that differ only in what is no character.
func TestTwoIDsStayTwo(t *testing.T) {
	t.Parallel()
	content := append([]byte(head), "A\x81\x20,1,5,2024-01-02\nA\x81\x21,1,5,2024-01-02\n"...)
	f, err := Open(t.Context(), nil, bucket.Path(write(t, "in.csv", content)), Dialect{Encoding: "shift_jis"})
	require.NoError(t, err)
	r, err := NewReader(f, Dialect{}, columns())
	require.NoError(t, err)
	records, err := readAll(r)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	assert.Equal(t, []string{"2 invalid_utf8", "3 invalid_utf8"}, records)
}
