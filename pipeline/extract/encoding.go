package extract

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/transform"
)

// byteOrderMark is U+FEFF.
const byteOrderMark = "\ufeff"

// decodeText decides the encoding: by a byte order mark, by the name that is set, or by
// how NUL bytes alternate with others, as they do in UTF-16 of most languages. An error
// met while looking comes back at the first Read.
func (f *File) decodeText(name string) error {
	text := bufio.NewReaderSize(&f.content, 64<<10)
	start, _ := text.Peek(1 << 10)
	bom := 0
	switch {
	case bytes.HasPrefix(start, []byte(byteOrderMark)):
		f.encoding, name, bom = "UTF-8 with byte order mark", "", 3
	case bytes.HasPrefix(start, []byte{0xff, 0xfe}):
		name, bom = "utf-16le", 2
	case bytes.HasPrefix(start, []byte{0xfe, 0xff}):
		name, bom = "utf-16be", 2
	case name == "":
		name = utf16Name(start)
	}
	_, _ = text.Discard(bom) // it was peeked at
	f.text = text
	if name == "" {
		return nil
	}
	decoder, canonical, err := decoderOf(name)
	if err != nil {
		return fmt.Errorf("open %s: %w", f.path, err)
	}
	if strings.HasPrefix(canonical, "UTF-16") && bom == 0 && len(start) >= 8 && bytes.IndexByte(start, 0) < 0 {
		return &FileError{Path: f.path, Code: CodeUnreadable, Detail: "the file is not " + canonical + ", which the setting encoding names",
			Hint: "remove the setting encoding, or name the file's"}
	}
	f.encoding = canonical
	if decoder != nil {
		f.text = transform.NewReader(text, decoder)
	}
	return nil
}

// utf16Name is the UTF-16 in which every other byte of enough characters is NUL, and few
// of the bytes between are; "" if the text is none.
func utf16Name(start []byte) string {
	var nul [2]int
	for i, c := range start {
		if c == 0 {
			nul[i%2]++
		}
	}
	enough := max(4, len(start)/20)
	switch {
	case nul[1] >= enough && nul[1] >= 8*nul[0]:
		return "utf-16le"
	case nul[0] >= enough && nul[0] >= 8*nul[1]:
		return "utf-16be"
	}
	return ""
}

// decoderOf is the decoder of an encoding, nil for UTF-8, and the name to show.
func decoderOf(name string) (transform.Transformer, string, error) {
	e, err := htmlindex.Get(name)
	if err != nil || e == encoding.Replacement {
		return nil, "", fmt.Errorf("encoding is %q, want a name such as windows-1252, iso-8859-15 or utf-16le", name)
	}
	canonical, err := htmlindex.Name(e)
	if err != nil {
		return nil, "", fmt.Errorf("encoding %q: %w", name, err)
	}
	switch canonical {
	case "utf-8":
		return nil, "UTF-8", nil
	case "utf-16le":
		return utf16Decoder{order: binary.LittleEndian}, "UTF-16LE", nil
	case "utf-16be":
		return utf16Decoder{order: binary.BigEndian}, "UTF-16BE", nil
	}
	return transform.Chain(e.NewDecoder(), noCharacters{}), canonical, nil
}

// noCharacters makes a byte that is no UTF-8 of U+FFFD, as which decoders give what is no
// character. Two transaction ids would become one by it.
type noCharacters struct{ transform.NopResetter }

// Transform is for transform.Chain.
func (noCharacters) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		rest := src[nSrc:]
		size, out := 1, rest[:1]
		switch {
		case rest[0] != 0xef:
		case bytes.HasPrefix(rest, []byte("\uFFFD")):
			size, out = 3, []byte{0xff}
		case !atEOF && !utf8.FullRune(rest):
			return nDst, nSrc, transform.ErrShortSrc
		}
		if nDst == len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		dst[nDst] = out[0]
		nDst++
		nSrc += size
	}
	return nDst, nSrc, nil
}

// LikelyEncoding names the encoding that a cell likely has which is no UTF-8, and gives
// the text that it would be: Windows-1251 if nearly all of its letters are beyond ASCII,
// else Windows-1252.
func LikelyEncoding(cell []byte) (name, text string) {
	high, ascii := 0, 0
	for _, c := range cell {
		switch {
		case c >= 0xc0:
			high++
		case c|' ' >= 'a' && c|' ' <= 'z':
			ascii++
		}
	}
	name, e := "windows-1252", charmap.Windows1252
	if high >= 3 && high > 9*ascii {
		name, e = "windows-1251", charmap.Windows1251
	}
	decoded, err := e.NewDecoder().Bytes(cell)
	if err != nil {
		decoded = cell
	}
	return name, strings.ToValidUTF8(string(decoded), "\uFFFD")
}
