package extract

import (
	"bytes"
	"io"
)

// settleLineEnds makes CR the line end of a file that has no LF, as far as the buffer
// shows. The scanner gets LF for it.
func (s *scanner) settleLineEnds(path string) {
	for seen := s.pos; ; {
		if bytes.IndexByte(s.at(seen, s.read), '\n') >= 0 {
			return
		}
		seen = s.read
		if s.ahead(s.pos, s.end-s.pos+1); s.read == seen {
			break
		}
	}
	text := s.at(s.pos, s.read)
	s.cr = bytes.IndexByte(text, '\r') >= 0
	if s.cr {
		returns := &carriageReturns{r: s.r, path: path, line: 1}
		_, _ = returns.translate(text)
		s.r = returns
	}
}

// carriageReturns turns CR into LF. An LF is an error: up to there the file had none.
type carriageReturns struct {
	r    io.Reader
	path string
	line int64
}

// Read reads on.
func (c *carriageReturns) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if n, bad := c.translate(p[:n]); bad != nil {
		return n, bad
	}
	return n, err
}

func (c *carriageReturns) translate(p []byte) (int, error) {
	for i, b := range p {
		switch b {
		case '\r':
			p[i] = '\n'
			c.line++
		case '\n':
			return i, &FileError{Path: c.path, Line: c.line, Code: CodeMixedLineEnds,
				Detail: "the line ends with LF, and those before it with CR", Hint: "save the file with one kind of line end"}
		}
	}
	return len(p), nil
}
