package transform

import (
	"bytes"
	"testing"
	"time"

	"github.com/opentax/tally/internal/civil"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNewDateAgainstTime(t *testing.T) {
	t.Parallel()
	days := 0
	for day := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC); day.Year() <= 9999; day = day.AddDate(0, 0, 1) {
		y, m, d := day.Date()
		date, ok := civil.New(y, int(m), d)
		if want := civil.Date(day.Unix() / 86400); !ok || date != want {
			require.Equal(t, want, date, day)
		}
		days++
	}
	require.Equal(t, 3652425, days)
	for _, c := range [][3]int{{2023, 2, 29}, {1900, 2, 29}, {2024, 2, 30}, {2024, 4, 31}, {2024, 13, 1}, {2024, 0, 1}, {2024, 1, 0}, {2024, 1, 32}, {-1, 1, 1}, {10000, 1, 1}} {
		_, ok := civil.New(c[0], c[1], c[2])
		assert.False(t, ok, c)
	}
}

func TestDateString(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"1970-01-01", "1969-12-31", "2024-02-29", "0000-01-01", "9999-12-31"} {
		d, err := civil.Parse(s)
		require.NoError(t, err)
		assert.Equal(t, s, d.String())
		assert.Equal(t, s, d.Time().Format(time.DateOnly))
	}
	for _, s := range []string{"", "2024/01/01", "2024-1-1", "2024-02-30", "01-01-2024", "2024-01-01 "} {
		_, err := civil.Parse(s)
		assert.Error(t, err, s)
	}
}

func TestParseDate(t *testing.T) {
	t.Parallel()
	usual := Rules{}
	other := Rules{Slash: DayFirst, Dash: MonthFirst, Dot: DayFirst}
	for _, c := range []struct {
		cell    string
		rules   Rules
		want    string // the date, or its fault
		reading reading
	}{
		{"2024-11-07", usual, "2024-11-07", readYearFirst},
		{"2024/06/30", usual, "2024-06-30", readYearFirst},
		{"2024/06/05", usual, "2024-06-05", readYearFirst},
		{" 2024-11-07\u00a0", usual, "2024-11-07", readYearFirst},
		{"2024-02-29", usual, "2024-02-29", readYearFirst},
		{"", usual, "missing_date", readNone},
		{" \t", usual, "missing_date", readNone},

		{"09/18/2024", usual, "2024-09-18", readMonth},
		{"27-11-2024", usual, "2024-11-27", readDay},
		{"10/11/2024", usual, "2024-10-11", readByRule},
		{"10-11-2024", usual, "2024-11-10", readByRule},
		{"1/2/2024", usual, "2024-01-02", readByRule},
		{"1-2-2024", usual, "2024-02-01", readByRule},
		{"1/12/2024", usual, "2024-01-12", readByRule},
		{"12/1/2024", usual, "2024-12-01", readByRule},
		{"05/05/2024", usual, "2024-05-05", readAlike},
		{"5/05/2024", usual, "2024-05-05", readAlike},
		{"10/11/2024", other, "2024-11-10", readByRule},
		{"10-11-2024", other, "2024-10-11", readByRule},
		{"10.11.2024", other, "2024-11-10", readByRule},
		{"27.11.2024", other, "2024-11-27", readDay},
		{"27.11.2024", usual, "invalid_date", readNone},

		// against the rule, but possible in one way only
		{"27/11/2024", usual, "2024-11-27", readDay},
		{"11-27-2024", usual, "2024-11-27", readMonth},

		{"2024-02-30", usual, "impossible_date", readNone},
		{"2023-02-29", usual, "impossible_date", readNone},
		{"2024-13-01", usual, "impossible_date", readNone},
		{"2024-00-10", usual, "impossible_date", readNone},
		{"31/31/2024", usual, "impossible_date", readNone},
		{"02/30/2024", usual, "impossible_date", readNone},
		{"30/02/2024", usual, "impossible_date", readNone},
		{"00/05/2024", usual, "impossible_date", readNone},
		{"05/00/2024", usual, "impossible_date", readNone},
		{"00/00/2024", usual, "impossible_date", readNone},
		{"0/13/2024", usual, "impossible_date", readNone},

		{"2024-1-05", usual, "invalid_date", readNone},
		{"2024-11-0", usual, "invalid_date", readNone},
		{"2024-11-", usual, "invalid_date", readNone},
		{"2024-11", usual, "invalid_date", readNone},
		{"2024-11/07", usual, "invalid_date", readNone},
		{"2024.11.07", other, "invalid_date", readNone},
		{"20241107", usual, "invalid_date", readNone},
		{"09/18/24", usual, "invalid_date", readNone},
		{"09/18/202", usual, "invalid_date", readNone},
		{"09/18/20244", usual, "invalid_date", readNone},
		{"09/18-2024", usual, "invalid_date", readNone},
		{"009/8/2024", usual, "invalid_date", readNone},
		{"9//8/2024", usual, "invalid_date", readNone},
		{"//2024", usual, "invalid_date", readNone},
		{"1111111111", usual, "invalid_date", readNone},
		{"2024-11-07T00:00:00Z", usual, "invalid_date", readNone},
		{"Nov 7, 2024", usual, "invalid_date", readNone},
		{"+1/12/2024", usual, "invalid_date", readNone},
		{"-1-12-2024", usual, "invalid_date", readNone},
		{"45123", usual, "invalid_date", readNone},
		{"٢٠٢٤-١١-٠٧", usual, "invalid_date", readNone},

		{"1900-01-01", usual, "1900-01-01", readYearFirst},
		{"1899-12-31", usual, "date_out_of_window", readYearFirst},
		{"2099-12-31", usual, "2099-12-31", readYearFirst},
		{"2100-01-01", usual, "date_out_of_window", readYearFirst},
		{"0000-01-01", usual, "date_out_of_window", readYearFirst},
		{"9999-12-31", usual, "date_out_of_window", readYearFirst},
		{"13/01/0024", usual, "date_out_of_window", readDay},
		{"2024-06-01", Rules{From: "2024-06-01", To: "2024-06-01"}, "2024-06-01", readYearFirst},
		{"2024-05-31", Rules{From: "2024-06-01", To: "2024-06-01"}, "date_out_of_window", readYearFirst},
	} {
		clean, err := c.rules.compile()
		require.NoError(t, err)
		d := clean.parseDate([]byte(c.cell))
		got := d.fault.String()
		if d.fault == 0 {
			got = d.date.String()
		}
		assert.Equal(t, c.want, got, "%q", c.cell)
		assert.Equal(t, c.reading, d.reading, "%q", c.cell)
	}
}

// FuzzDate holds what is accepted to time.Parse with the layouts that there are.
func FuzzDate(f *testing.F) {
	for _, s := range []string{"2024-11-07", "2024/06/30", "09/18/2024", "27-11-2024", "1/2/2024", "31/31/2024", "2024-02-30", "1.2.2024"} {
		f.Add(s)
	}
	rules := Rules{Dot: DayFirst, From: "0000-01-01", To: "9999-12-31"}
	f.Fuzz(func(t *testing.T, cell string) {
		clean, err := rules.compile()
		require.NoError(t, err)
		got := clean.parseDate([]byte(cell))
		var readings []civil.Date
		for _, layout := range []string{"2006-01-02", "2006/01/02", "1/2/2006", "2/1/2006", "1-2-2006", "2-1-2006", "1.2.2006", "2.1.2006"} {
			if when, err := time.Parse(layout, string(bytes.TrimSpace([]byte(cell)))); err == nil {
				readings = append(readings, civil.Date(when.Unix()/86400))
			}
		}
		if got.fault == 0 {
			require.Contains(t, readings, got.date, "%q", cell)
		} else {
			require.Empty(t, readings, "%q is %s", cell, got.fault)
		}
		if got.reading == readByRule {
			require.Len(t, readings, 2, "%q", cell)
			require.NotEqual(t, readings[0], readings[1], "%q", cell)
		}
	})
}
