package load

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/pipeline/extract"
)

// CodeNewMonths is the code of a file that would create more partitions for next to nothing
// than its source allows.
const CodeNewMonths = "new_months"

// minMonthRows is how many rows make a new month worth a partition: they fill a page.
const minMonthRows = 100

// checkNewMonths fails a file with a few rows in each of many new months. Each partition
// makes every look-up by user slower, for good, and such dates are rarely meant.
func (l *load) checkNewMonths(missing []civil.Month) error {
	sparse := slices.DeleteFunc(slices.Clone(missing), func(m civil.Month) bool { return l.months[m] >= minMonthRows })
	limit := l.request.Rules.WithDefaults().NewMonths
	if len(sparse) <= limit {
		return nil
	}
	line, err := l.firstLine(sparse)
	if err != nil {
		return err
	}
	return &extract.FileError{
		Path: l.path, Code: CodeNewMonths,
		Detail: fmt.Sprintf("%d months that no partition has would get fewer than %d rows each, more than the limit of %d: %s; the first such row is in line %d",
			len(sparse), minMonthRows, limit, nameMonths(sparse), line),
		Hint: fmt.Sprintf("if their dates are wrong, fix the file, or narrow the source's from and to; else load it with tally run --new-months %d, or raise the source's new_months", len(sparse)),
	}
}

// firstLine is the first line of the file with an accepted row of these months.
func (l *load) firstLine(months []civil.Month) (first int64, err error) {
	rows, err := l.accepted.Sorted()
	if err != nil {
		return 0, err
	}
	first = math.MaxInt64
	err = each(rows.Next, func(p packed) error {
		if _, found := slices.BinarySearch(months, p.date().Month()); found {
			first = min(first, p.line())
		}
		return nil
	})
	return first, err
}

// nameMonths names the first and the last of some months.
func nameMonths(months []civil.Month) string {
	const shown = 3
	names := make([]string, 0, 2*shown+1)
	for i, m := range months {
		switch {
		case i < shown || i >= len(months)-shown:
			names = append(names, m.String())
		case i == shown:
			names = append(names, "…")
		}
	}
	return strings.Join(names, ", ")
}

func firstDays(months []civil.Month) []time.Time {
	days := make([]time.Time, len(months))
	for i, m := range months {
		days[i] = m.First().Time()
	}
	return days
}
