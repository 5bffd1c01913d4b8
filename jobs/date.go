package jobs

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

// ParseDate reads YYYY-MM-DD.
func ParseDate(s string) (Date, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return 0, fmt.Errorf("date %q is not of the form YYYY-MM-DD", s)
	}
	return DateOf(t), nil
}

// DateOf is the date that t has in its own location.
func DateOf(t time.Time) Date {
	y, m, d := t.Date()
	return Date(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / secondsPerDay)
}

// Time is the date's midnight in UTC.
func (d Date) Time() time.Time { return time.Unix(int64(d)*secondsPerDay, 0).UTC() }

// String is YYYY-MM-DD.
func (d Date) String() string { return d.Time().Format(time.DateOnly) }

// Start is the first moment at which zone has the date. It is not always 00:00:
// where the clocks go forward at midnight (Africa/Cairo, Asia/Beirut) the day
// starts at 01:00. The day before ends at that moment.
func (d Date) Start(zone *time.Location) time.Time {
	// time.Date is free to answer with either side of a gap, so the moment is
	// searched for: the date of a moment only ever grows.
	low, high := d.Time().Add(-widestOffset).Unix(), d.Time().Add(widestOffset).Unix()
	for low+1 < high {
		middle := (low + high) / 2
		if DateOf(time.Unix(middle, 0).In(zone)) >= d {
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
	parsed, err := ParseDate(string(text))
	*d = parsed
	return err
}

// Scan reads a column of type DATE.
func (d *Date) Scan(src any) error {
	switch v := src.(type) {
	case time.Time:
		*d = DateOf(v)
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
