package civil_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/civil"
)

func date(t *testing.T, s string) civil.Date {
	t.Helper()
	d, err := civil.Parse(s)
	require.NoError(t, err)
	return d
}

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	require.NoError(t, err)
	return z
}

// Every day that a date can be, against package time.
func TestEveryDay(t *testing.T) {
	t.Parallel()
	const secondsPerDay = 24 * 60 * 60
	days := 0
	for day := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC); day.Year() <= 9999; day = day.AddDate(0, 0, 1) {
		y, m, d := day.Date()
		got, ok := civil.New(y, int(m), d)
		want := civil.Date(day.Unix() / secondsPerDay)
		if !ok || got != want || got.Day() != d || got.Month() != civil.Month(12*y+int(m)-1) || d == 1 && got.Month().First() != got {
			require.Equal(t, want, got, day)
			require.Equal(t, d, got.Day(), day)
			require.Equal(t, civil.Month(12*y+int(m)-1), got.Month(), day)
			require.Equal(t, got, got.Month().First(), day)
		}
		days++
	}
	require.Equal(t, 3652425, days)
	for _, c := range [][3]int{{2023, 2, 29}, {1900, 2, 29}, {2024, 2, 30}, {2024, 4, 31}, {2024, 13, 1}, {2024, 0, 1}, {2024, 1, 0}, {2024, 1, 32}, {-1, 1, 1}, {10000, 1, 1}} {
		_, ok := civil.New(c[0], c[1], c[2])
		assert.False(t, ok, c)
	}
}

func TestMonth(t *testing.T) {
	t.Parallel()
	m := date(t, "2024-02-17").Month()
	assert.Equal(t, "2024-02", m.String())
	assert.Equal(t, "2024-02-01", m.First().String())
	assert.Equal(t, "2024-02-29", m.Last().String())
	assert.Equal(t, "0007-12", date(t, "0007-12-31").Month().String())
	parsed, err := civil.ParseMonth("2024-02")
	require.NoError(t, err)
	assert.Equal(t, m, parsed)
	for _, s := range []string{"", "2024", "2024-13", "2024-02-01"} {
		_, err := civil.ParseMonth(s)
		require.ErrorContains(t, err, "YYYY-MM", s)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"1970-01-01", "1969-12-31", "2024-02-29", "0000-01-01", "9999-12-31"} {
		d := date(t, s)
		assert.Equal(t, s, d.String())
		assert.Equal(t, s, d.Time().Format(time.DateOnly))
		var scanned civil.Date
		for _, src := range []any{s, []byte(s), d.Time()} {
			require.NoError(t, scanned.Scan(src))
			assert.Equal(t, d, scanned)
		}
		value, err := d.Value()
		require.NoError(t, err)
		assert.Equal(t, s, value)
	}
	for _, s := range []string{"", "2024/01/01", "2024-1-1", "2024-02-30", "01-01-2024", "01/02/2024", "2024-01-01 ", "2024-01-01T00:00:00Z"} {
		_, err := civil.Parse(s)
		assert.Error(t, err, s)
	}
	assert.Equal(t, "0001-01-01", civil.Min.String())
	assert.Equal(t, "9999-12-31", civil.Max.String())
	var d civil.Date
	require.Error(t, d.Scan(int64(3)))
	assert.Equal(t, civil.Date(-1), date(t, "1969-12-31"))
	doc, err := json.Marshal(map[string]civil.Date{"date": -1})
	require.NoError(t, err)
	assert.JSONEq(t, `{"date":"1969-12-31"}`, string(doc))
	var back map[string]civil.Date
	require.NoError(t, json.Unmarshal(doc, &back))
	assert.Equal(t, civil.Date(-1), back["date"])
}

func TestStart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ zone, date, start string }{
		{"UTC", "2024-03-10", "2024-03-10T00:00:00Z"},
		{"America/New_York", "2024-03-10", "2024-03-10T05:00:00Z"}, // forward at 02:00
		{"America/New_York", "2024-03-11", "2024-03-11T04:00:00Z"}, // after 23 hours
		{"America/New_York", "2024-11-03", "2024-11-03T04:00:00Z"}, // back at 02:00
		{"America/New_York", "2024-11-04", "2024-11-04T05:00:00Z"}, // after 25 hours
		{"Africa/Cairo", "2024-04-26", "2024-04-25T22:00:00Z"},     // 00:00 is 01:00
		{"Asia/Beirut", "2024-03-31", "2024-03-30T22:00:00Z"},      // 00:00 is 01:00
		{"Asia/Beirut", "2024-10-27", "2024-10-26T22:00:00Z"},      // 24:00 is 23:00 again
		{"America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z"},
		{"America/Havana", "2024-11-03", "2024-11-03T04:00:00Z"}, // has 00:00 twice
		{"Asia/Kathmandu", "2024-05-01", "2024-04-30T18:15:00Z"},
		{"Pacific/Kiritimati", "2024-05-01", "2024-04-30T10:00:00Z"},
		{"Pacific/Pago_Pago", "2024-05-01", "2024-05-01T11:00:00Z"},
		{"Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z"}, // a day that never was
	} {
		z := zone(t, c.zone)
		start := date(t, c.date).Start(z)
		assert.Equal(t, c.start, start.UTC().Format(time.RFC3339), "%s in %s", c.date, c.zone)
		assert.Equal(t, z, start.Location())
	}
}

// Every day of some years starts when the day before ends.
func TestStartHasNoGap(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"America/New_York", "Africa/Cairo", "Asia/Beirut", "Australia/Lord_Howe", "Europe/London", "America/Asuncion", "Atlantic/Azores"} {
		z := zone(t, name)
		for d := date(t, "2023-01-01"); d < date(t, "2026-01-01"); d++ {
			start := d.Start(z)
			require.Equal(t, d, civil.Of(start), "%s in %s", d, name)
			require.Equal(t, d-1, civil.Of(start.Add(-time.Second)), "%s in %s", d, name)
		}
	}
}
