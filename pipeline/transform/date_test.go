package transform

import (
	"fmt"
	"testing"
	"time"

	"github.com/opentax/tally/internal/civil"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// logicalDate is that of all files in tests.
var logicalDate = civil.MustParse("2024-12-31")

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

// read is a date as text, or its fault, and what it shows of a convention.
func (d dateCell) read() string {
	text := d.fault.String()
	if d.fault == 0 {
		text = d.date.String()
	}
	if d.shows == showsNothing {
		return text
	}
	return text + " " + d.convention.String() + [...]string{"", " mdy", " dmy", " alike", " either"}[d.shows]
}

func TestParseDate(t *testing.T) {
	t.Parallel()
	none := Rules{}
	monthFirst := Rules{Slash: "mdy", Dash: "mdy", Dot: "mdy"}
	dayFirst := Rules{Slash: "dmy", Dash: "dmy", Dot: "dmy"}
	short := Rules{TwoDigitYears: 1970}
	for _, c := range []struct {
		cell  string
		rules Rules
		want  string // the date, or its fault, and what it shows
	}{
		// year first
		{"2024-11-07", none, "2024-11-07"},
		{"2024/06/30", none, "2024-06-30"},
		{"2024/06/05", none, "2024-06-05"},
		{"2024.06.05", none, "2024-06-05"},
		{"2024/4/1", none, "2024-04-01"},
		{"2024-4-15", none, "2024-04-15"},
		{"2024.4.1", none, "2024-04-01"},
		{"2024-1-05", none, "2024-01-05"},
		{"2024-01-1", none, "invalid_date"}, // cut short
		{"20241104", none, "2024-11-04"},
		{"20240229", none, "2024-02-29"},
		{" 2024-11-07\u00a0", none, "2024-11-07"},
		{"\ufeff2024-11-07", none, "2024-11-07"},
		{`="2024-11-07"`, none, "2024-11-07"},
		{"'2024-11-07", none, "2024-11-07"},
		{"2024-02-29", none, "2024-02-29"},

		// blanks
		{"", none, "missing_date"},
		{" \t", none, "missing_date"},
		{"\u200b", none, "missing_date"},
		{"NaT", none, "missing_date"},
		{"NULL", none, "missing_date"},
		{`\N`, none, "missing_date"},
		{"#N/A", none, "missing_date"},

		// year last, one order possible
		{"09/18/2024", none, "2024-09-18 slash mdy"},
		{"27-11-2024", none, "2024-11-27 dash dmy"},
		{"27.11.2024", none, "2024-11-27 dot dmy"},
		{"9.18.2024", none, "2024-09-18 dot mdy"},
		{"05/05/2024", none, "2024-05-05 slash alike"},
		{"5/05/2024", none, "2024-05-05 slash alike"},
		{"06.06.2024", none, "2024-06-06 dot alike"},

		// year last, two orders possible
		{"10/11/2024", none, "ambiguous_date slash either"},
		{"10-11-2024", none, "ambiguous_date dash either"},
		{"1.2.2024", none, "ambiguous_date dot either"},
		{"1/12/2024", none, "ambiguous_date slash either"},
		{"10/11/2024", monthFirst, "2024-10-11 slash either"},
		{"10-11-2024", monthFirst, "2024-10-11 dash either"},
		{"10.11.2024", monthFirst, "2024-10-11 dot either"},
		{"1/2/2024", monthFirst, "2024-01-02 slash either"},
		{"12/1/2024", monthFirst, "2024-12-01 slash either"},
		{"10/11/2024", dayFirst, "2024-11-10 slash either"},
		{"10-11-2024", dayFirst, "2024-11-10 dash either"},
		{"10.11.2024", dayFirst, "2024-11-10 dot either"},
		{"1-2-2024", dayFirst, "2024-02-01 dash either"},
		{"1/12/2024", dayFirst, "2024-12-01 slash either"},

		// against the convention, but possible in one order only
		{"27/11/2024", monthFirst, "2024-11-27 slash dmy"},
		{"11-27-2024", dayFirst, "2024-11-27 dash mdy"},

		// spaces around the separators, and other dashes
		{"27. 11. 2024", none, "2024-11-27 dot dmy"},
		{"27.11.2024.", none, "2024-11-27 dot dmy"},
		{"2024. 11. 05.", none, "2024-11-05"},
		{"2024. 11. 5", none, "2024-11-05"},
		{"2024. 11. 05. 10:30", none, "2024-11-05"},
		{"27 / 11 / 2024", none, "2024-11-27 slash dmy"},
		{"2024 - 11 - 05", none, "2024-11-05"},
		{"1. 2. 2024", none, "ambiguous_date dot either"},
		{"27. 11.24", short, "2024-11-27 dot dmy"},
		{"2024\u201011\u201005", none, "2024-11-05"},
		{"27\u201011\u20102024", none, "2024-11-27 dash dmy"},
		{"2024. 01. 1.", none, "invalid_date"},
		{"2024-11-05-", none, "invalid_date"},
		{"2024-11-05.", none, "invalid_date"},
		{"27. 11 2024", none, "invalid_date"},
		{"27 / 11 - 2024", none, "invalid_date"},
		{"27 / / 2024", none, "invalid_date"},

		// names of months
		{"29-Jun-2024", none, "2024-06-29"},
		{"01 NOV 2024", none, "2024-11-01"},
		{"7-Nov-2024", none, "2024-11-07"},
		{"21 June 2024", none, "2024-06-21"},
		{"29/jun/2024", none, "2024-06-29"},
		{"29.Jun.2024", none, "2024-06-29"},
		{"29. June 2024", none, "2024-06-29"},
		{"Dec 24, 2024", none, "2024-12-24"},
		{"Dec 24 2024", none, "2024-12-24"},
		{"december 24, 2024", none, "2024-12-24"},
		{"Jun. 5, 2024", none, "2024-06-05"},
		{"Sept 5, 2024", none, "2024-09-05"},
		{"Sep-05-2024", none, "2024-09-05"},
		{"2024-Jun-29", none, "2024-06-29"},
		{"2024 Jun 5", none, "2024-06-05"},
		{"May 1, 2024", none, "2024-05-01"},
		{"1 May, 2024", none, "2024-05-01"},
		{"29\u00a0Jun\u202f2024", none, "2024-06-29"},
		{"21Jun2024", none, "2024-06-21"},
		{"Nov  4 2024", none, "2024-11-04"},
		{"30-Feb-2024", none, "impossible_date"},
		{"0-Jun-2024", none, "impossible_date"},
		{"29 Jun. 2024.", none, "invalid_date"},
		{"November 5th, 2024", none, "2024-11-05"},
		{"5TH November 2024", none, "2024-11-05"},
		{"1st Nov 2024", none, "2024-11-01"},
		{"22nd-Nov-2024", none, "2024-11-22"},
		{"2024 Nov 3rd", none, "2024-11-03"},
		{"5th/11/2024", none, "invalid_date"},
		{"2024-11-5th", none, "invalid_date"},
		{"5 Nov 2024th", none, "invalid_date"},
		{"5xx Nov 2024", none, "invalid_date"},
		{"1stNov 2024", none, "invalid_date"},
		{"Wed Nov 27 2024", none, "2024-11-27"},
		{"Tuesday, November 5th, 2024", none, "2024-11-05"},
		{"tue. 5-Nov-2024", none, "2024-11-05"},
		{"Thurs 2024-11-07", none, "2024-11-07"},
		{"Thu, 27/11/2024", none, "2024-11-27 slash dmy"},
		{"Tue2024-11-05", none, "invalid_date"},
		{"Die 5 Nov 2024", none, "invalid_date"},
		{"Tue", none, "invalid_date"},
		{"Tue, ", none, "invalid_date"},
		{"5\u2010Nov\u20102024", none, "2024-11-05"},
		{"29-Juni-2024", none, "invalid_date"},
		{"29-Jux-2024", none, "invalid_date"},
		{"29-Jun 2024", none, "invalid_date"},
		{"29-Jun/2024", none, "invalid_date"},
		{"29 -Jun-2024", none, "invalid_date"},
		{"29--Jun-2024", none, "invalid_date"},
		{"Jun-2024", none, "invalid_date"},
		{"Jun 2024 5", none, "invalid_date"},
		{"Jun Jun 2024", none, "invalid_date"},
		{"5 2024 Jun", none, "invalid_date"},
		{"29-Jun-202", none, "invalid_date"},
		{"129-Jun-2024", none, "invalid_date"},
		{"29-Jun-2024-", none, "invalid_date"},
		{"JunJun2024", none, "invalid_date"},

		// years of two digits
		{"23.11.99", none, "invalid_date"},
		{"09/18/24", none, "invalid_date"},
		{"29-Jun-24", none, "invalid_date"},
		{"23.11.99", short, "1999-11-23 dot dmy"},
		{"31/10/88", short, "1988-10-31 slash dmy"},
		{"22-04-75", short, "1975-04-22 dash dmy"},
		{"4/23/24", short, "2024-04-23 slash mdy"},
		{"5.11.99", short, "ambiguous_date dot either"},
		{"5.11.99", Rules{TwoDigitYears: 1970, Dot: "dmy"}, "1999-11-05 dot either"},
		{"5.5.70", short, "1970-05-05 dot alike"},
		{"5.5.69", short, "date_out_of_window dot alike"},
		{"13.5.69", Rules{TwoDigitYears: 1969}, "1969-05-13 dot dmy"},
		{"29-Jun-24", short, "2024-06-29"},
		{"Jun 29, 24", short, "2024-06-29"},
		{"31.02.99", short, "impossible_date"},
		{"24-Jun-05", short, "2005-06-24"},
		{"241104", short, "invalid_date"},
		{"99.1", short, "invalid_date"},
		{"2024-11-24", short, "2024-11-24"},

		// impossible, which shows nothing
		{"2024-02-30", none, "impossible_date"},
		{"2023-02-29", none, "impossible_date"},
		{"2024-13-01", none, "impossible_date"},
		{"2024-00-10", none, "impossible_date"},
		{"2024-11-0", none, "impossible_date"},
		{"2024-01-0", none, "invalid_date"},
		{"20241301", none, "impossible_date"},
		{"04112024", none, "impossible_date"},
		{"31/31/2024", none, "impossible_date"},
		{"02/30/2024", none, "impossible_date"},
		{"30/02/2024", none, "impossible_date"},
		{"00/05/2024", none, "impossible_date"},
		{"05/00/2024", none, "impossible_date"},
		{"00/00/2024", none, "impossible_date"},
		{"0/13/2024", none, "impossible_date"},
		{"29/02/2023", none, "impossible_date"},

		// of no form
		{"2024-11-", none, "invalid_date"},
		{"2024-11", none, "invalid_date"},
		{"2024-11/07", none, "invalid_date"},
		{"2024-111-7", none, "invalid_date"},
		{"2024 11 07", none, "invalid_date"},
		{"2024,11,07", none, "invalid_date"},
		{"09/18/202", none, "invalid_date"},
		{"09/18/20244", none, "invalid_date"},
		{"09/18-2024", none, "invalid_date"},
		{"09.18/2024", none, "invalid_date"},
		{"009/8/2024", none, "invalid_date"},
		{"9//8/2024", none, "invalid_date"},
		{"//2024", none, "invalid_date"},
		{"10+11+2024", none, "invalid_date"},
		{"10 11 2024", none, "invalid_date"},
		{"1111111111", none, "invalid_date"},
		{"1730704275", none, "invalid_date"},
		{"1730704275123", none, "invalid_date"},
		{"45600", none, "invalid_date"},
		{"45600.5", none, "invalid_date"},
		{"2024110", none, "invalid_date"},
		{"20241104073115", none, "invalid_date"},
		{"+1/12/2024", none, "invalid_date"},
		{"-1-12-2024", none, "invalid_date"},
		{"pending", none, "invalid_date"},
		{"2024\u00ad11\u00ad07", none, "invalid_date"},
		{"٢٠٢٤-١١-٠٧", none, "invalid_date"},

		// the window
		{"1900-01-01", none, "1900-01-01"},
		{"1899-12-31", none, "date_out_of_window"},
		{"2025-12-31", none, "2025-12-31"}, // a year after the logical date
		{"2026-01-01", none, "date_out_of_window"},
		{"2099-12-31", Rules{To: "2099-12-31"}, "2099-12-31"},
		{"0000-01-01", none, "date_out_of_window"},
		{"9999-12-31", none, "date_out_of_window"},
		{"13/01/0024", none, "date_out_of_window slash dmy"},
		{"1/2/1850", none, "ambiguous_date slash either"},
		{"1/2/1850", dayFirst, "date_out_of_window slash either"},
		{"2024-06-01", Rules{From: "2024-06-01", To: "2024-06-01"}, "2024-06-01"},
		{"2024-05-31", Rules{From: "2024-06-01", To: "2024-06-01"}, "date_out_of_window"},
	} {
		assert.Equal(t, c.want, parserOf(t, c.rules).parseDate([]byte(c.cell)).read(), "%q", c.cell)
	}
}

func TestParseTimeOfDay(t *testing.T) {
	t.Parallel()
	p := parserOf(t, Rules{Slash: "mdy"})
	for _, cell := range []string{
		"T07:31:15Z", "T23:59:59.123Z", "T00:00:00Z", " 01:15:04", " 00:00:00", " 13:45", " 00:00:00.000000", " 1:45:00 PM", " 12:00:00 AM",
		", 10:15 AM", " 10:15 a.m.", " 10:15:30 P.M.", " 10:15PM", "  7:05", "T07:31", "t07:31z", " 07:31:15,5", " 07:31 UTC", " 07:31:15 GMT",
		"T07:31:15+02:00", "T07:31:15+0200", "T07:31:15+02", " 07:31:15.123456+00", " 07:31:15 -0530", "T07:31:15-14:00", " 1:45\u202fPM",
		"\u00a007:31", " 10.30", " 10.30.00", ", 10.30 Uhr", " 10.30.00 AM", " 10.30.00.000000", "-10.30.00.000000", "-10.30.00", "T10.30.00Z", "T1030", "T103000Z",
		"T233000,5+01:00", "t103000-0500", " 10.30.00.000000000 AM +01:00", " 07:31 CET", " 07:31CET", " 07:31 ET", " 07:31 utc", " 07:31 gmt", " 07:31 GMT+2", " 07:31 UTC -5",
		" 07:31 +0000 UTC", " 07:31:15.123 +0100 CET", "T07:31:15+01:00[Europe/Paris]", " 07:31:15[Europe/Berlin]", " 07:31 America/New_York", " 07:31 +5:30",
		"T07:31:15\u221205:00", " 10:30:00 GMT+0100 (Central European Standard Time)", " 7:31 AMT", " 7:31 AM AMT", " 07:31 z",
	} {
		for _, c := range [][2]string{
			{"2024-11-04", "2024-11-04"}, {"20241104", "2024-11-04"}, {"11/4/2024", "2024-11-04 slash either"}, {"04.11.2024", "ambiguous_date dot either"},
			{"26.10.2024", "2024-10-26 dot dmy"}, {"26. 10. 2024", "2024-10-26 dot dmy"}, {"2024. 11. 04", "2024-11-04"}, {"Mon, 04 Nov 2024", "2024-11-04"}, {"Nov 4, 2024", "2024-11-04"}, {"4-Nov-2024", "2024-11-04"}, {"2024-02-30", "impossible_date"},
		} {
			assert.Equal(t, c[1], p.parseDate([]byte(c[0]+cell)).read(), "%q", c[0]+cell)
		}
	}
	for _, cell := range []string{
		"T24:00", " 25:61", " 12:60", " 12:00:60", " 13:00 PM", " 0:30 AM", " 00:30 PM", "T", "T07", " 07", " 7", " 07:3", " 07:311", " 07:31:1", " 07:31:155",
		":07:31", "-07:31", "07:31", ",07:31", " 07:31:15.", " 07:31.5", " 07:31 XM", " 07:31 +2", " 07:31+02:0", " 07:31+02:60", " 07:31+15:00",
		" 07:31+02:00:00", " 07:31+020", " 07:31 PM PM", "TT07:31", "Z", "+02:00", "T07:31:15Zx", " 07:31:15[]", " 07:31 GMT+15", " 07:31 GMT+2:0", " 07:31 +0100 +0100",
		" 07:31 Z+02", " 07:31 CET 2024", " 07:31 (CET", " 07:31 -", " 24.00", " 24.00.00", "-24.00.00", " 25.61", " 10.3", " 10.300", " 10.30.5", " 10.30.", "-10.30",
		"T2400", "T240000", "T103060", "T10300", "T1030 PM PM", " 1030", " 103000", " 13.30 PM", " 13:30 p.m.", "  -10.30.00", "t-10.30.00", "\r10.30.00", " 123:45", " : ", ":",
	} {
		assert.Equal(t, "invalid_date", p.parseDate([]byte("2024-11-04"+cell)).read(), "%q", cell)
	}
}

func TestDateInZone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ zone, cell, want string }{
		{"", "2024-11-04T23:30:00Z", "2024-11-04"},
		{"", "2024-11-04T23:30:00-05:00", "2024-11-04"},
		{"Europe/Berlin", "2024-11-04T23:30:00Z", "2024-11-05"},
		{"Europe/Berlin", "2024-11-04 22:59:59.999+00", "2024-11-04"},
		{"Europe/Berlin", "2024-07-04T22:00:00Z", "2024-07-05"}, // summer
		{"Europe/Berlin", "2024-11-04T23:30:00+01:00", "2024-11-04"},
		{"Europe/Berlin", "2024-11-04T00:30:00+02:00", "2024-11-03"},
		{"America/New_York", "2024-11-04T04:59:00Z", "2024-11-03"},
		{"America/New_York", "11/14/2024 4:59 AM UTC", "2024-11-13 slash mdy"},
		{"America/New_York", "14 Nov 2024, 04:59 GMT", "2024-11-13"},
		{"Europe/Berlin", "2024-11-04T23:30:00", "2024-11-04"}, // no offset: as written
		{"Europe/Berlin", "2024-11-04", "2024-11-04"},
		{"", "2024-11-04 23:30 CET", "2024-11-04"},
		{"Europe/Berlin", "2024-11-04 23:30 CET", "invalid_date"}, // CST is one of three
		{"Europe/Berlin", "2024-11-04 23:30[Europe/Berlin]", "invalid_date"},
		{"Europe/Berlin", "20241104T233000Z", "2024-11-05"},
		{"Europe/Berlin", "2024-11-04 23:30 utc", "2024-11-05"},
		{"Europe/Berlin", "2024-11-04 23.30 GMT", "2024-11-05"},
		{"Europe/Berlin", "2024-11-04 00:30 GMT+2", "2024-11-03"},
		{"Europe/Berlin", "2024-11-04 23:30:00 +0000 UTC", "2024-11-05"},
		{"Europe/Berlin", "2024-11-04T23:30:00+01:00[Europe/Paris]", "2024-11-04"},
		{"Europe/Berlin", "2024-11-04 04:00 +5:30", "2024-11-03"},
		{"Europe/Berlin", "2024-11-04T18:30:00\u221205:00", "2024-11-05"},
		{"Europe/Berlin", "Mon Nov 04 2024 23:30:00 GMT-0500 (Eastern Standard Time)", "2024-11-05"},
		{"Europe/Berlin", "1/2/2024 23:30Z", "ambiguous_date slash either"},
		{"Europe/Berlin", "2025-12-31T23:30:00Z", "date_out_of_window"},
	} {
		assert.Equal(t, c.want, parserOf(t, Rules{TimeZone: c.zone}).parseDate([]byte(c.cell)).read(), "%s in %s", c.cell, c.zone)
	}
}

// FuzzDate compares what is accepted with time.Parse: plain forms are read as it reads
// them. What a value shows, and an unambiguous value, do not depend on the conventions,
// and a date that is written plainly is itself.
func FuzzDate(f *testing.F) {
	for _, s := range []string{
		"2024-11-07", "2024/06/30", "09/18/2024", "27-11-2024", "1/2/2024", "31/31/2024", "2024-02-30", "1.2.2024", "20241104", "2024/4/1", "29-Jun-2024",
		"Dec 24, 2024", "2024-11-04T07:31:15Z", "11/27/2024 1:45:00 PM", "23.11.99", "2024-11-04 07:31:15.123+05:30", "45600.5", "21Jun2024",
		"2024. 11. 05.", "27 / 11 / 2024", "Tue, 05 Nov 2024 10:30:00 GMT", "November 5th, 2024", "2024-11-05-10.30.00.000000", "27-NOV-2024 10.30.00 AM",
		"20241105T233000Z", "2024-11-05 10:30 CET", "2024-11-05T10:30:00+01:00[Europe/Paris]", "5.11.2024 10.30 +5:30", "Wed Nov 27 2024 10:30:00 GMT+0100 (CET)",
	} {
		f.Add(s)
	}
	window := Rules{From: "0000-01-01", To: "9999-12-31", TwoDigitYears: 1970}
	month, day := window, window
	month.Slash, month.Dash, month.Dot = "mdy", "mdy", "mdy"
	day.Slash, day.Dash, day.Dot = "dmy", "dmy", "dmy"
	unknown, monthFirst, dayFirst := parserOf(f, window), parserOf(f, month), parserOf(f, day)
	f.Fuzz(func(t *testing.T, cell string) {
		a, b, c := unknown.parseDate([]byte(cell)), monthFirst.parseDate([]byte(cell)), dayFirst.parseDate([]byte(cell))
		require.Equal(t, a.shows, b.shows, "%q", cell)
		require.Equal(t, a.shows, c.shows, "%q", cell)
		requireLikeTime(t, cell, b, "2006-01-02", "2006/01/02", "20060102", "1/2/2006", "1-2-2006", "1.2.2006", "2-Jan-2006", "Jan 2, 2006", time.RFC3339)
		requireLikeTime(t, cell, c, "2/1/2006", "2-1-2006", "2.1.2006", "2 January 2006", "2006-01-02 15:04:05")
		if a.shows == showsEither {
			require.Equal(t, FaultAmbiguousDate, a.fault, "%q", cell)
			require.Zero(t, b.fault|c.fault, "%q", cell)
			require.NotEqual(t, b.date, c.date, "%q", cell)
			return
		}
		require.Equal(t, a, b, "%q", cell)
		require.Equal(t, a, c, "%q", cell)
		if a.fault != 0 {
			require.Contains(t, []Fault{FaultMissingDate, FaultInvalidDate, FaultImpossibleDate}, a.fault)
			require.Equal(t, showsNothing, a.shows)
			return
		}
		require.Equal(t, dateCell{date: a.date}, unknown.parseDate([]byte(a.date.String())), "%q", cell)
	})
}

// requireLikeTime requires that a date is what time.Parse reads, where that reads it.
func requireLikeTime(t *testing.T, cell string, got dateCell, layouts ...string) {
	t.Helper()
	for _, layout := range layouts {
		when, err := time.Parse(layout, cell)
		if err != nil || got.fault == FaultMissingDate {
			continue
		}
		if year := when.Year(); year < 0 || year > 9999 {
			continue
		}
		if got.shows == showsFirst || got.shows == showsSecond {
			continue // in the other order it is none
		}
		require.Zero(t, got.fault, "%q is %s", cell, layout)
		require.Equal(t, fmt.Sprint(civil.Of(when)), got.date.String(), "%q is %s", cell, layout)
	}
}
