package extract

import (
	"fmt"
	"unicode/utf8"
)

// HeaderNone is the setting of a file without a header, whose columns are known by their
// positions.
const HeaderNone = "none"

// Dialect is how a source's files are written. What is empty is detected.
type Dialect struct {
	Delimiter string `json:"delimiter,omitempty" yaml:"delimiter,omitempty"` // one ASCII character, or its name
	Quote     string `json:"quote,omitempty" yaml:"quote,omitempty"`         // one ASCII character, or none; empty is "
	Encoding  string `json:"encoding,omitempty" yaml:"encoding,omitempty"`   // a name of the WHATWG's standard
	Header    string `json:"header,omitempty" yaml:"header,omitempty"`       // none: the first line is a row
}

// Column is a column that is used.
type Column struct {
	Name   string // ours, for messages
	Header string // the file's; without a header its position, "1" is the first; empty is Name
}

const endOfFile = 0x1a // Ctrl-Z, with which DOS ended a text

// delimiters are those that are detected, the likeliest first.
const delimiters = ",;\t|"

// Check checks the settings; its error names the one that is wrong.
func (d Dialect) Check() error {
	delimiter, err := d.delimiter()
	if err != nil {
		return err
	}
	quote, err := d.quote()
	if err != nil {
		return err
	}
	if delimiter == quote && delimiter != 0 {
		return fmt.Errorf("quote and delimiter are both %q, want two characters", quote)
	}
	if d.Encoding != "" {
		if _, _, err := decoderOf(d.Encoding); err != nil {
			return err
		}
	}
	if d.Header != "" && d.Header != HeaderNone {
		return fmt.Errorf("header is %q, want none or no such setting", d.Header)
	}
	return nil
}

// delimiter is the byte that is set; 0: detect it.
func (d Dialect) delimiter() (byte, error) {
	named := map[string]byte{"": 0, "tab": '\t', `\t`: '\t', "space": ' ', "comma": ',', "semicolon": ';', "pipe": '|'}
	if c, ok := named[d.Delimiter]; ok {
		return c, nil
	}
	if len(d.Delimiter) != 1 || !separates(d.Delimiter[0]) {
		return 0, fmt.Errorf("delimiter is %q, want one ASCII character, or tab or space", d.Delimiter)
	}
	return d.Delimiter[0], nil
}

// separates reports whether a byte can separate fields. A control character can, but for
// those that end a line or a file.
func separates(c byte) bool {
	return c != 0 && c != '\n' && c != '\r' && c != endOfFile && c < utf8.RuneSelf
}

// quote is the byte that encloses fields; 0: none does.
func (d Dialect) quote() (byte, error) {
	switch {
	case d.Quote == "":
		return '"', nil
	case d.Quote == "none":
		return 0, nil
	case len(d.Quote) != 1 || d.Quote[0] <= ' ' || d.Quote[0] >= 0x7f:
		return 0, fmt.Errorf("quote is %q, want one ASCII character that is no space, or none", d.Quote)
	}
	return d.Quote[0], nil
}
