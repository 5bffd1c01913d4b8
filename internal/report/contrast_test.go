package report

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every text stands out from what it stands on by 4.5 to 1 (WCAG 2.2, 1.4.3), on light
// pages and on dark ones.
func TestContrast(t *testing.T) {
	t.Parallel()
	themes := strings.Split(styleSheet, "@media (prefers-color-scheme: dark)")
	require.Len(t, themes, 2)
	for at, theme := range themes {
		colors := map[string]float64{}
		for _, m := range regexp.MustCompile(`--(\w+): #([0-9a-f]{6});`).FindAllStringSubmatch(theme, -1) {
			colors[m[1]] = luminance(t, m[2])
		}
		require.Len(t, colors, 10)
		for _, of := range []string{"ink", "quiet", "bad", "warning", "note", "good", "link"} {
			for _, on := range []string{"page", "raised"} {
				lighter, darker := max(colors[of], colors[on]), min(colors[of], colors[on])
				assert.GreaterOrEqual(t, (lighter+0.05)/(darker+0.05), 4.5, "theme %d: %s on %s", at, of, on)
			}
		}
	}
}

func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		part, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		require.NoError(t, err)
		c := float64(part) / 255
		if c <= 0.04045 {
			sum += weight * c / 12.92
		} else {
			sum += weight * math.Pow((c+0.055)/1.055, 2.4)
		}
	}
	return sum
}
