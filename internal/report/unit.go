package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// count writes a number with commas between its thousands.
func count[N ~int | ~int32 | ~int64](n N) string {
	return grouped(strconv.FormatInt(int64(n), 10))
}

// grouped is a decimal with commas between its thousands, and every digit that it had.
func grouped(decimal string) string {
	var out strings.Builder
	if strings.HasPrefix(decimal, "-") {
		out.WriteRune('−')
		decimal = decimal[1:]
	}
	whole, decimals, _ := strings.Cut(decimal, ".")
	for i, d := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			out.WriteByte(',')
		}
		out.WriteRune(d)
	}
	if decimals != "" {
		out.WriteString("." + decimals)
	}
	return out.String()
}

// size writes bytes in the unit in which they have one to four digits.
func size(bytes int64) string {
	x, unit := float64(bytes), 0
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	for math.Abs(x) >= 1024 && unit < len(units)-1 {
		x, unit = x/1024, unit+1
	}
	decimals := 1
	if unit == 0 || math.Abs(x) >= 100 {
		decimals = 0
	}
	return strings.Replace(strconv.FormatFloat(x, 'f', decimals, 64), "-", "−", 1) + " " + units[unit]
}

// took writes a duration with two or three digits that count, and days where there
// are days.
func took(d time.Duration) string {
	switch abs := d.Abs(); {
	case abs == 0:
		return "0 ms"
	case abs < time.Millisecond:
		return significant(float64(d)/float64(time.Microsecond)) + " µs"
	case abs < time.Second:
		return significant(float64(d)/float64(time.Millisecond)) + " ms"
	case abs < time.Minute:
		return significant(d.Seconds()) + " s"
	case abs < time.Hour:
		d = d.Round(time.Second)
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case abs < 48*time.Hour:
		d = d.Round(time.Minute)
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%s days", count(int64(math.Round(d.Hours()/24))))
	}
}

// significant writes a positive number below a thousand with three digits.
func significant(x float64) string {
	decimals := 2
	if math.Abs(x) >= 9.995 {
		decimals = 1
	}
	if math.Abs(x) >= 99.95 {
		decimals = 0
	}
	return strconv.FormatFloat(x, 'f', decimals, 64)
}

// share writes a share of one in per cent.
func share(x float64) string {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return "–"
	}
	decimals := 1
	if x > 0.999 && x < 1 { // 99.97 % is not 100
		decimals = 2
	}
	return strconv.FormatFloat(math.Floor(x*1e4+1e-9)/100, 'f', decimals, 64) + " %"
}

// moment writes a time as a reader of logs knows it, in UTC.
func moment(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// day writes the date of a time.
func day(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.Format(time.DateOnly)
}
