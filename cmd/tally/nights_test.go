package main

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/civil"
)

// notation is how a source writes its files.
type notation struct {
	name      string
	delimiter string
	date      string // as time.Format has it
	amount    func(cents int64) string
}

// grouped writes hundredths with a sign for thousands and one for decimals; of an even
// amount it leaves the decimals out where whole says so.
func writtenAs(thousands, decimal string, whole bool) func(int64) string {
	return func(cents int64) string {
		sign := ""
		if cents < 0 {
			sign, cents = "-", -cents
		}
		digits := fmt.Sprint(cents / 100)
		for i := len(digits) - 3; i > 0; i -= 3 {
			digits = digits[:i] + thousands + digits[i:]
		}
		if whole && cents%100 == 0 {
			return sign + digits
		}
		return fmt.Sprintf("%s%s%s%02d", sign, digits, decimal, cents%100)
	}
}

// Five sources that write dates and amounts in ways that contradict each other are read
// night by night over a month in which each day from 1 to 12 comes. What nothing decides
// yet is rejected; nothing is ever read wrong; and once a source has shown how it writes,
// everything is read.
func TestThirtyNightsOfFiveSources(t *testing.T) {
	t.Parallel()
	notations := []notation{
		{"american", ",", "1/2/2006", writtenAs("", ".", true)},
		{"british", ",", "02/01/2006", writtenAs("", ".", false)},
		{"german", ";", "02.01.2006", writtenAs(".", ",", true)},
		{"dutch", ";", "02-01-2006", writtenAs(".", ",", true)},
		{"indian", "|", "02-01-2006", writtenAs(",", ".", true)},
	}
	p := newProgram(t)
	settings := "sources:\n"
	for _, n := range notations {
		settings += fmt.Sprintf("  - {name: %s, path: %q}\n", n.name, filepath.Join(p.dir, n.name, "{date}.csv"))
	}
	p.write("tally.yaml", settings)

	random := rand.New(rand.NewPCG(14, 2024))
	truth := map[string]string{} // user, amount and date by id
	first := civil.MustParse("2024-10-23")
	for night := range 30 {
		day := first + civil.Date(night)
		for _, n := range notations {
			var b strings.Builder
			b.WriteString(strings.Join([]string{"transaction_id", "user_id", "amount", "transaction_date"}, n.delimiter) + "\n")
			for i := range 20 {
				id := fmt.Sprintf("%s-%d-%d", n.name, night, i)
				user, cents := 1+random.IntN(9), random.Int64N(4_000_000)-2_000_000
				if i%4 == 0 {
					cents -= cents % 100 // 1.250, which needs the source's decimal sign
				}
				date := day.Time().AddDate(0, 0, -random.IntN(3))
				amount := n.amount(cents)
				if strings.Contains(amount, n.delimiter) {
					amount = `"` + amount + `"`
				}
				b.WriteString(strings.Join([]string{id, fmt.Sprint(user), amount, date.Format(n.date)}, n.delimiter) + "\n")
				truth[id] = fmt.Sprintf("%d %s %s", user, strings.TrimSuffix(strings.TrimSuffix(fmt.Sprintf("%.2f", float64(cents)/100), "0"), ".0"), date.Format(time.DateOnly))
			}
			p.write(filepath.Join(n.name, day.String()+".csv"), b.String())
		}
		if code, out, stderr := p.run("run", "--date", day.String()); code != exitDone {
			require.Contains(t, out, "reject_limit", stderr) // what nothing decides is more than half of a file
		}
	}
	for _, row := range strings.Split(p.query(`SELECT string_agg(concat_ws(' ', transaction_id, user_id, amount, transaction_date), E'\n') FROM transactions`), "\n") {
		id, values, _ := strings.Cut(row, " ")
		require.Equal(t, truth[id], values, id)
	}
	assert.Equal(t, "0", p.query(`SELECT count(*) FROM etl_files f WHERE faults <> '{}'
		AND EXISTS (SELECT FROM etl_conventions c WHERE c.source = f.source AND c.convention <> 'decimal' AND c.file_id < f.id)
		AND EXISTS (SELECT FROM etl_conventions c WHERE c.source = f.source AND c.convention = 'decimal' AND c.file_id < f.id)`),
		"once both are proven nothing is ambiguous")
	assert.Equal(t, "10", p.query("SELECT count(*) FROM etl_conventions WHERE source <> ''"), "an order and a decimal sign of each")
	code, out, _ := p.run("verify")
	assert.Equal(t, exitDone, code, out)
}
