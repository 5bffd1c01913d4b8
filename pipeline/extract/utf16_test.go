package extract

import (
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/transform"
)

func units(order binary.ByteOrder, us ...uint16) string {
	var b []byte
	for _, u := range us {
		b = append(b, 0, 0)
		order.PutUint16(b[len(b)-2:], u)
	}
	return string(b)
}

func TestUTF16KeepsWhatIsNoCharacterApart(t *testing.T) {
	t.Parallel()
	decode := func(order binary.ByteOrder, s string) string {
		// One byte at a time, so that every unit is cut.
		text, err := io.ReadAll(transform.NewReader(&oneByte{strings.NewReader(s)}, utf16Decoder{order: order}))
		require.NoError(t, err)
		return string(text)
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		assert.Equal(t, "aé€😀", decode(order, units(order, 'a', 'é', '€', 0xd83d, 0xde00)))
		first, second := decode(order, units(order, 'L', 0xd800)), decode(order, units(order, 'L', 0xd801))
		assert.NotEqual(t, first, second)
		for _, s := range []string{first, second, decode(order, units(order, 0xde00, 'a')), decode(order, units(order, 'a')+"x")} {
			assert.False(t, utf8.ValidString(s), "%q", s)
		}
		assert.Equal(t, "\ufffd", decode(order, units(order, 0xfffd)), "the character itself is one")
	}
}

// oneByte reads a byte at a time.
type oneByte struct{ r io.Reader }

func (o *oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(1, len(p))]) }
