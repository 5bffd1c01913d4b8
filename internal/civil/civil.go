// Package civil counts days and months of the calendar (ISO 8601, years from -399 on),
// as loads do for each row: without a time.Time, which takes several times as long.
package civil

// Leap says whether a year has a 29th of February.
func Leap(year int) bool { return year%4 == 0 && (year%100 != 0 || year%400 == 0) }

// daysBefore counts the days of a common year before each month.
var daysBefore = [13]uint16{1: 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334}

// Day counts the days from 1970-01-01 to a day that is in the calendar.
func Day(year, month, day int) int32 {
	y := uint32(year + 399) // years before this one, and 400 more so that none is negative
	days := y*365 + y/4 - y/100 + y/400 + uint32(daysBefore[month]) + uint32(day)
	if month > 2 && Leap(year) {
		days++
	}
	const epoch = 719163 + 146097 // 1970-01-01 counted from 0001-01-01 as 1, and the 400 years
	return int32(days) - epoch
}

// Month counts the months from year 0 to that of a day, and gives the day of the month.
func Month(days int32) (month, day int) {
	// From days to a civil date, in years that start in March, so that the odd month
	// comes last: http://howardhinnant.github.io/date_algorithms.html
	z := int(days) + 719468 + 146097 // and an era more, so that nothing is negative
	era := z / 146097
	doe := z % 146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	march := (5*doy + 2) / 153 // months since March
	return (yoe+(era-1)*400)*12 + march + 2, doy - (153*march+2)/5 + 1
}

// FirstDay is the first day of a month.
func FirstDay(month int) int32 { return Day(month/12, month%12+1, 1) }
