package jobs

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDateStart(t *testing.T) {
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
func TestDateStartHasNoGap(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"America/New_York", "Africa/Cairo", "Asia/Beirut", "Australia/Lord_Howe", "Europe/London", "America/Asuncion", "Atlantic/Azores"} {
		z := zone(t, name)
		for d := date(t, "2023-01-01"); d < date(t, "2026-01-01"); d++ {
			start := d.Start(z)
			require.Equal(t, d, DateOf(start), "%s in %s", d, name)
			require.Equal(t, d-1, DateOf(start.Add(-time.Second)), "%s in %s", d, name)
		}
	}
}

func TestDateText(t *testing.T) {
	t.Parallel()
	d := date(t, "1969-12-31")
	assert.Equal(t, Date(-1), d)
	doc, err := json.Marshal(map[string]Date{"date": d})
	require.NoError(t, err)
	assert.JSONEq(t, `{"date":"1969-12-31"}`, string(doc))
	var back map[string]Date
	require.NoError(t, json.Unmarshal(doc, &back))
	assert.Equal(t, d, back["date"])
	for _, wrong := range []string{"", "2024-02-30", "2024-1-1", "01/02/2024", "2024-01-01T00:00:00Z"} {
		_, err := ParseDate(wrong)
		assert.Error(t, err, wrong)
	}
}
