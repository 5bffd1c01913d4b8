package extract

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEndsLine(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]bool{
		"": false, "a": false, "\n": true, "a,12": false, "a,12\n": true, "a,12\r\n": true, "a,12\r": true, "a,12\n\x1a": true,
		"\xff\xfe1\x00": false, "\xff\xfe1\x00\n\x00": true, "\xfe\xff\x001": false, "\xfe\xff\x00\n": true,
		"\x1f\x8b\x08\x00rest": true, // a cut is an error of its decompression
	} {
		ends, err := EndsLine(write(t, "a.csv", []byte(content)))
		require.NoError(t, err)
		assert.Equal(t, want, ends, "%q", content)
	}
}
