// Package civil has days and months of the proleptic Gregorian calendar (ISO 8601,
// years 0 to 9999) as numbers: a load computes with them for each row, which with a
// time.Time takes several times as long.
package civil

import (
	"database/sql/driver"
	"fmt"
	"time"
)

const (
	secondsPerDay = 24 * 60 * 60
	// widestOffset is more than any time zone has ever been away from UTC.
	widestOffset = 30 * time.Hour
)

// A Date is a day of the calendar, in no time zone: days since 1970-01-01.
type Date int32

// The first and the last date that both PostgreSQL and four digits of a year have: as
// ends of a range they bound nothing.
const (
	Min Date = -719162 // 0001-01-01
	Max Date = 2932896 // 9999-12-31
)

// New is the date of a year, month and day, and false where the calendar has no such
// day.
func New(year, month, day int) (Date, bool) {
	if uint(year) > 9999 || month < 1 || month > 12 || day < 1 || day > 28 && day > daysIn(year, month) {
		return 0, false
	}
	return dayOf(year, month, day), true
}

// Of is the date that t has in its own location.
func Of(t time.Time) Date {
	year, month, day := t.Date()
	return dayOf(year, int(month), day)
}

// Parse reads YYYY-MM-DD.
func Parse(s string) (Date, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return 0, fmt.Errorf("date %q is not of the form YYYY-MM-DD", s)
	}
	return Of(t), nil
}

// MustParse is Parse of a constant; it panics where that is no date.
func MustParse(s string) Date {
	d, err := Parse(s)
	if err != nil {
		panic("civil: " + err.Error())
	}
	return d
}

// Time is the date's midnight in UTC.
func (d Date) Time() time.Time { return time.Unix(int64(d)*secondsPerDay, 0).UTC() }

// String is YYYY-MM-DD.
func (d Date) String() string { return d.Time().Format(time.DateOnly) }

// Month is the month that the date is in.
func (d Date) Month() Month {
	month, _ := d.Split()
	return month
}

// Day is the day of the month, from 1 on.
func (d Date) Day() int {
	_, day := d.Split()
	return day
}

// Start is the first moment at which zone has the date. It is not always 00:00:
// where the clocks go forward at midnight (Africa/Cairo, Asia/Beirut) the day
// starts at 01:00. The day before ends at that moment.
func (d Date) Start(zone *time.Location) time.Time {
	// time.Date is free to answer with either side of a gap, so the moment is
	// searched for: the date of a moment only ever grows.
	low, high := d.Time().Add(-widestOffset).Unix(), d.Time().Add(widestOffset).Unix()
	for low+1 < high {
		middle := (low + high) / 2
		if Of(time.Unix(middle, 0).In(zone)) >= d {
			high = middle
		} else {
			low = middle
		}
	}
	return time.Unix(high, 0).In(zone)
}

// MarshalText makes a date a JSON string.
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is the reverse of MarshalText.
func (d *Date) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	*d = parsed
	return err
}

// Scan reads a column of type DATE.
func (d *Date) Scan(src any) error {
	switch v := src.(type) {
	case time.Time:
		*d = Of(v)
		return nil
	case string:
		return d.UnmarshalText([]byte(v))
	case []byte:
		return d.UnmarshalText(v)
	}
	return fmt.Errorf("scan %T into a date", src)
}

// Value hands the database text, which no session's time zone can shift.
func (d Date) Value() (driver.Value, error) { return d.String(), nil }

// A Month is a month of the calendar: months since January of the year 0.
type Month int32

// ParseMonth reads YYYY-MM.
func ParseMonth(s string) (Month, error) {
	first, err := Parse(s + "-01")
	if err != nil {
		return 0, fmt.Errorf("month %q is not of the form YYYY-MM", s)
	}
	return first.Month(), nil
}

// First is the month's first day.
func (m Month) First() Date { return dayOf(int(m)/12, int(m)%12+1, 1) }

// Last is the month's last day.
func (m Month) Last() Date { return (m + 1).First() - 1 }

// String is YYYY-MM.
func (m Month) String() string { return fmt.Sprintf("%04d-%02d", m/12, m%12+1) }

// daysBefore counts the days of a common year before each month.
var daysBefore = [13]uint16{1: 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334}

func dayOf(year, month, day int) Date {
	y := uint32(year + 399) // years before this one, and 400 more so that none is negative
	days := y*365 + y/4 - y/100 + y/400 + uint32(daysBefore[month]) + uint32(day)
	if month > 2 && leap(year) {
		days++
	}
	const epoch = 719163 + 146097 // 1970-01-01 counted from 0001-01-01 as 1, and the 400 years
	return Date(days) - epoch
}

// leap reports whether a year has a 29th of February.
func leap(year int) bool { return year%4 == 0 && (year%100 != 0 || year%400 == 0) }

func daysIn(year, month int) int {
	switch {
	case month != 2:
		return 30 + (month+month>>3)&1
	case leap(year):
		return 29
	default:
		return 28
	}
}

// Split is the month and the day of the month.
func (d Date) Split() (Month, int) {
	// From days to a civil date, in years that start in March, so that the odd month
	// comes last: http://howardhinnant.github.io/date_algorithms.html
	z := int(d) + 719468 + 146097 // and an era more, so that nothing is negative
	era := z / 146097
	doe := z % 146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	march := (5*doy + 2) / 153 // months since March
	return Month((yoe+(era-1)*400)*12 + march + 2), doy - (153*march+2)/5 + 1
}
