package report

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestUnits(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"0":           count(0),
		"999":         count(999),
		"1,000":       count(int64(1000)),
		"−12,345,678": count(-12345678),
		"":            Grouped(""),
		"−1,234.50":   Grouped("-1234.50"),
		"0 B":         size(0),
		"1023 B":      size(1023),
		"8.0 KiB":     size(8192),
		"1.5 GiB":     size(3 << 29),
		"512 MiB":     size(512 << 20),
		"−1.0 MiB":    size(-1 << 20),
		"0 ms":        took(0),
		"12.3 µs":     took(12345 * time.Nanosecond),
		"1.23 ms":     took(1234 * time.Microsecond),
		"123 ms":      took(123456 * time.Microsecond),
		"1 min 5 s":   took(65 * time.Second),
		"2 h 30 min":  took(150 * time.Minute),
		"1,000 days":  took(24000 * time.Hour),
		"99.97 %":     share(0.99971),
		"100.0 %":     share(1),
		"12.3 %":      share(0.123),
		"99.98 %":     share(0.99989),
		"never":       moment(time.Time{}),
		"2024-02-29":  day(time.Date(2024, 2, 29, 23, 0, 0, 0, time.UTC)),
	} {
		assert.Equal(t, want, got)
	}
}
