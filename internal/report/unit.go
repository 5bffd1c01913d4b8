package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// Units are the functions by which templates write figures.
func Units() template.FuncMap {
	return template.FuncMap{
		"count": count[int64], "estimate": estimate, "grouped": Grouped, "size": size, "share": share,
		"when": when, "moment": moment, "day": day, "date": date, "ms": milliseconds,
		"rank":  func(i int) string { return count(i + 1) },
		"rows":  func(n float64) string { return count(max(n, 0)) },
		"month": func(t time.Time) string { return t.Format("2006-01") },
		"took":  func(s float64) string { return took(seconds(s)) },
	}
}

// count writes a number with commas between its thousands.
func count[N ~int | ~int64 | ~float64](n N) string { return Grouped(strconv.FormatInt(int64(n), 10)) }

// Grouped writes a decimal with commas between its thousands, and with every digit that it had.
func Grouped(decimal string) string {
	var out strings.Builder
	if positive, negative := strings.CutPrefix(decimal, "-"); negative {
		out.WriteRune('−')
		decimal = positive
	}
	whole, _, _ := strings.Cut(decimal, ".")
	for i, d := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			out.WriteByte(',')
		}
		out.WriteRune(d)
	}
	return out.String() + decimal[len(whole):]
}

// estimate writes the planner's number of rows, which is below zero where it has none.
func estimate(rows float64) string {
	if rows < 0 {
		return "not known"
	}
	return count(rows)
}

// brief writes a number of rows with two or three digits.
func brief(rows float64) string {
	if rows < 0 {
		return "?"
	}
	x, unit := scaled(rows, 1000, "", "k", "M", "G")
	decimals := 0
	if unit != "" && x < 9.95 {
		decimals = 1
	}
	return strconv.FormatFloat(x, 'f', decimals, 64) + unit
}

// size writes bytes in the unit in which they have one to four digits.
func size(bytes int64) string {
	x, unit := scaled(float64(bytes), 1024, "B", "KiB", "MiB", "GiB", "TiB", "PiB")
	decimals := 1
	if unit == "B" || math.Abs(x) >= 100 {
		decimals = 0
	}
	return strings.Replace(strconv.FormatFloat(x, 'f', decimals, 64), "-", "−", 1) + " " + unit
}

// scaled divides by the base until the number, rounded, is below it or has the last unit.
func scaled(x, base float64, units ...string) (float64, string) {
	for len(units) > 1 && math.Abs(x) >= base-0.5 {
		x, units = x/base, units[1:]
	}
	return x, units[0]
}

// took writes a duration with two or three significant digits, and in days where there are days.
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
		return count(math.Round(d.Hours()/24)) + " days"
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func milliseconds(ms float64) string { return took(time.Duration(ms * float64(time.Millisecond))) }

// significant writes a positive number below a thousand with three digits.
func significant(x float64) string {
	decimals := 2
	if math.Abs(x) >= 99.95 {
		decimals = 0
	} else if math.Abs(x) >= 9.995 {
		decimals = 1
	}
	return strconv.FormatFloat(x, 'f', decimals, 64)
}

// share writes a part of one in per cent.
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

// moment writes a time in UTC, as a log does.
func moment(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

func when(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04")
}

func day(t time.Time) string { return t.Format(time.DateOnly) }

func date(t *time.Time) string {
	if t == nil {
		return "–"
	}
	return day(*t)
}

func plural[N ~int | ~int64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}
