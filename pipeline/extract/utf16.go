package extract

import (
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/transform"
)

// utf16Decoder turns UTF-16 into UTF-8. Unlike the decoder of x/text it does not
// turn what is no character into U+FFFD, which would make two different
// transaction ids one: half a surrogate pair becomes the three bytes that it
// would have in UTF-8, and half a unit at the end becomes 0xff. Neither is valid
// UTF-8, so the row is rejected as invalid_utf8.
type utf16Decoder struct {
	transform.NopResetter
	order binary.ByteOrder
}

// Transform is for transform.NewReader.
func (d utf16Decoder) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		out, size := d.decode(src[nSrc:], atEOF)
		if size == 0 {
			return nDst, nSrc, transform.ErrShortSrc
		}
		if nDst+len(out.bytes()) > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += copy(dst[nDst:], out.bytes())
		nSrc += size
	}
	return nDst, nSrc, nil
}

// encoded is one character's bytes.
type encoded struct {
	b [utf8.UTFMax]byte
	n int
}

func (e *encoded) bytes() []byte { return e.b[:e.n] }

// decode takes one character off src; size 0 asks for more of it.
func (d utf16Decoder) decode(src []byte, atEOF bool) (e encoded, size int) {
	if len(src) < 2 {
		if atEOF {
			e.b[0], e.n, size = 0xff, 1, 1
		}
		return e, size
	}
	unit := rune(d.order.Uint16(src))
	if !utf16.IsSurrogate(unit) {
		e.n = utf8.EncodeRune(e.b[:], unit)
		return e, 2
	}
	if len(src) < 4 && !atEOF {
		return e, 0
	}
	if len(src) >= 4 {
		if pair := utf16.DecodeRune(unit, rune(d.order.Uint16(src[2:]))); pair != utf8.RuneError {
			e.n = utf8.EncodeRune(e.b[:], pair)
			return e, 4
		}
	}
	e.b[0], e.b[1], e.b[2], e.n = byte(0xe0|unit>>12), byte(0x80|unit>>6&0x3f), byte(0x80|unit&0x3f), 3
	return e, 2
}
