package extract

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestDialectCheck(t *testing.T) {
	t.Parallel()
	for _, d := range []Dialect{
		{}, {Delimiter: ","}, {Delimiter: "tab"}, {Delimiter: `\t`}, {Delimiter: "\t"}, {Delimiter: "space"}, {Delimiter: " "},
		{Delimiter: "\x1f"}, {Quote: "'"}, {Quote: "none"}, {Encoding: "windows-1252"}, {Encoding: "latin1"}, {Header: "none"},
	} {
		assert.NoError(t, d.Check(), d)
	}
	for want, d := range map[string]Dialect{
		`delimiter is "ab", want one ASCII character, or tab or space`:                    {Delimiter: "ab"},
		`delimiter is "\n", want one ASCII character, or tab or space`:                    {Delimiter: "\n"},
		`delimiter is "¦", want one ASCII character, or tab or space`:                     {Delimiter: "¦"},
		`quote is "''", want one ASCII character that is no space, or none`:               {Quote: "''"},
		`quote is " ", want one ASCII character that is no space, or none`:                {Quote: " "},
		`quote and delimiter are both '\'', want two characters`:                          {Delimiter: "'", Quote: "'"},
		`quote and delimiter are both '"', want two characters`:                           {Delimiter: `"`},
		`encoding is "ebcdic", want a name such as windows-1252, iso-8859-15 or utf-16le`: {Encoding: "ebcdic"},
		`header is "yes", want none or no such setting`:                                   {Header: "yes"},
	} {
		assert.EqualError(t, d.Check(), want)
	}
}
