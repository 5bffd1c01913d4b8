package extract

import (
	"bytes"
	"encoding/binary"
	"io"
	"unicode/utf8"
)

const (
	firstBuffer = 64 << 10
	lastBuffer  = 2*MaxRecord + 4 // a record, its line end, and room to read on
	maxMarker   = MaxRecord / 2   // bytes of an end-of-file marker
	maxEmpty    = 100             // reads without data before the source is given up
)

// at is the content in [lo, hi).
func (s *scanner) at(lo, hi int64) []byte { return s.buf[lo-s.base : hi-s.base] }

// fill reads more, and reports whether there is any. s.err says why not.
func (s *scanner) fill() bool {
	if s.err != nil {
		return false
	}
	before := s.end
	for empty := 0; empty < maxEmpty; {
		if s.read-s.base == int64(len(s.buf)) && !s.makeRoom() {
			s.reveal(s.read)
			return true
		}
		n, err := s.r.Read(s.buf[s.read-s.base:])
		s.read += int64(n)
		s.err = err
		s.reveal(s.read - s.marker(int64(n)))
		if s.end > before || err != nil {
			return s.end > before
		}
		if empty++; n > 0 {
			empty = 0
		}
	}
	s.err = io.ErrNoProgress
	return false
}

// makeRoom drops what was handed out, or doubles the buffer, and reports whether there is room.
func (s *scanner) makeRoom() bool {
	rest := s.at(s.pos, s.read)
	if len(rest) == lastBuffer {
		return false
	}
	if len(rest) > len(s.buf)/2 {
		s.buf = make([]byte, min(2*len(s.buf), lastBuffer))
	}
	copy(s.buf, rest)
	s.base = s.pos
	return true
}

// ahead reads until there are n bytes from a place on, if the stream and the buffer have them.
func (s *scanner) ahead(from, n int64) {
	for more := true; more && s.end-from < n && s.read-s.pos < 2*MaxRecord; {
		more = s.fill()
	}
}

// marker is the length of an end-of-file marker (Ctrl-Z or NUL, and line ends) at the end
// of what was read, last n bytes. One that is too long to be kept back is text.
func (s *scanner) marker(n int64) int64 {
	const ends, marks = "\r\n", "\x00\x1a"
	text, kept := s.at(s.read-n, s.read), s.read-n-s.end
	tail := text[len(bytes.TrimRight(text, ends+marks)):]
	length := int64(len(bytes.TrimLeft(tail, ends)))
	if len(tail) == len(text) && s.long {
		return 0
	}
	if len(tail) == len(text) && kept > 0 {
		length = kept + n
	}
	if s.long = length > maxMarker; s.long {
		return 0
	}
	return length
}

// reveal makes what was read text up to a place.
func (s *scanner) reveal(end int64) {
	s.note(s.at(s.end, end))
	s.end = end
}

// note remembers where new content is not plain ASCII: other rows need no look of their own.
func (s *scanner) note(b []byte) {
	if plain(b) {
		return
	}
	if s.oddTo <= s.pos {
		s.oddFrom = s.end
	}
	s.oddTo = s.end + int64(len(b))
}

func plain(b []byte) bool {
	if bytes.IndexByte(b, 0) >= 0 {
		return false
	}
	for ; len(b) >= 8; b = b[8:] {
		if binary.LittleEndian.Uint64(b)&0x8080808080808080 != 0 {
			return false
		}
	}
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
