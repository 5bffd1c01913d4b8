package extract

import (
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/transform"
)

// utf16Decoder turns UTF-16 into UTF-8. The one of x/text gives U+FFFD for what is no
// character, which would make two transaction ids one. Here half a surrogate pair becomes
// the three bytes that it would have, and half a unit 0xff: the row is invalid_utf8.
type utf16Decoder struct {
	transform.NopResetter
	order binary.ByteOrder
}

// Transform is for transform.NewReader.
func (d utf16Decoder) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	var character [utf8.UTFMax]byte
	for nSrc < len(src) {
		out, size := d.decode(character[:0], src[nSrc:], atEOF)
		if size == 0 {
			return nDst, nSrc, transform.ErrShortSrc
		}
		if nDst+len(out) > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += copy(dst[nDst:], out)
		nSrc += size
	}
	return nDst, nSrc, nil
}

// decode takes one character off src; size 0 asks for more of it.
func (d utf16Decoder) decode(out, src []byte, atEOF bool) (character []byte, size int) {
	if len(src) < 2 {
		if atEOF {
			return append(out, 0xff), 1
		}
		return nil, 0
	}
	unit := rune(d.order.Uint16(src))
	switch {
	case !utf16.IsSurrogate(unit):
		return utf8.AppendRune(out, unit), 2
	case len(src) < 4 && !atEOF:
		return nil, 0
	case len(src) >= 4:
		if pair := utf16.DecodeRune(unit, rune(d.order.Uint16(src[2:]))); pair != utf8.RuneError {
			return utf8.AppendRune(out, pair), 4
		}
	}
	return append(out, byte(0xe0|unit>>12), byte(0x80|unit>>6&0x3f), byte(0x80|unit&0x3f)), 2
}
