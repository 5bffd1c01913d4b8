package api

import (
	"encoding/base64"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCursor(t *testing.T) {
	t.Parallel()
	for _, p := range []position{{}, {1, 2}, {-719162, 1}, {math.MaxInt64, math.MinInt64}, {math.MinInt64, math.MaxInt64}} {
		text := p.cursor("list")
		got, err := parseCursor("list", text)
		require.NoError(t, err)
		assert.Equal(t, p, got)
		_, err = parseCursor("list/other", text)
		require.ErrorIs(t, err, errCursor)
	}
}

func TestCursorIsRefusedWhenTampered(t *testing.T) {
	t.Parallel()
	good := position{19753, 4711}.cursor("list")
	raw, err := base64.RawURLEncoding.DecodeString(good)
	require.NoError(t, err)

	bad := []string{"", "x", "!!!!", good + "=", good + "A", good[:len(good)-1], "\n" + good, good[:4] + "\r\n" + good[4:], "AQ", "AQAAAAAAAA"}
	for i := range raw {
		for bit := range 8 {
			changed := append([]byte(nil), raw...)
			changed[i] ^= 1 << bit
			bad = append(bad, base64.RawURLEncoding.EncodeToString(changed))
		}
		bad = append(bad, base64.RawURLEncoding.EncodeToString(raw[:i]))
	}
	for _, text := range bad {
		_, err := parseCursor("list", text)
		require.ErrorIs(t, err, errCursor, "%q", text)
	}
}

func FuzzCursor(f *testing.F) {
	f.Add(position{19753, 4711}.cursor("list"))
	f.Add("AQ")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseCursor("list", text)
		if err == nil && p.cursor("list") != text {
			t.Fatalf("%q is another spelling of %q", text, p.cursor("list"))
		}
	})
}
