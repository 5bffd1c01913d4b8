package transform

import (
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/opentax/tally/internal/money"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
)

// TestAmountSurvivesFloat shows that an amount can be had back from the double
// that is stored, digit for digit.
func TestAmountSurvivesFloat(t *testing.T) {
	t.Parallel()
	p := parserOf(t, Rules{Decimal: "point"})
	random := rand.New(rand.NewPCG(1, 2))
	for range 40_000 {
		a := normalised(random.Int64N(maxAmount)>>random.IntN(50), random.IntN(maxDecimals+1), random.IntN(2) == 0)
		f := a.Float64()
		exact, ok := new(big.Rat).SetString(a.String())
		require.True(t, ok, a)
		nearest, _ := exact.Float64()
		require.Equal(t, nearest, f, "%s is rounded correctly", a)
		back, err := decimal.NewFromString(strconv.FormatFloat(f, 'g', 15, 64))
		require.NoError(t, err)
		require.Equal(t, a.String(), back.String(), "15 digits of it are the amount")
		again := p.parseAmount([]byte(a.String()))
		require.Equal(t, Fault(0), again.fault, a)
		require.Equal(t, a, again.amount)
	}
}

func normalised(u int64, scale int, negative bool) money.Amount {
	for scale > 0 && u%10 == 0 {
		u, scale = u/10, scale-1
	}
	if negative {
		u = -u
	}
	return money.Amount{Unscaled: u, Scale: uint8(scale)}
}

// TestPlainAmountAgrees compares the fast path with the slow path.
func TestPlainAmountAgrees(t *testing.T) {
	t.Parallel()
	p := parserOf(t, Rules{})
	random := rand.New(rand.NewPCG(3, 4))
	const letters = "0019.-$,"
	fast := 0
	for range 60_000 {
		cell := make([]byte, random.IntN(12))
		for i := range cell {
			cell[i] = letters[random.IntN(len(letters))]
		}
		if _, form := plainAmount(cell); form == notPlain {
			continue
		}
		fast++
		require.Equal(t, p.parseFormattedAmount(cell), p.parseAmount(cell), "%q", cell)
	}
	require.Greater(t, fast, 2_000)
}

// FuzzAmount compares what is accepted with shopspring/decimal: the digits make the same
// number under the decimal sign that the amount shows, within the bounds. Neither that
// sign nor an unambiguous value depends on the convention, and a value that is written
// plainly is itself.
func FuzzAmount(f *testing.F) {
	for _, s := range []string{
		"1,234.50", "(5)", "$-5", "1e5", "NaN", "1.23456", "1'234", "−5", "USD 12", "-0", "5.", "1 234,5", "1.250", "50,00- €", "1,23,456", "Rs.5",
		"R$ 1.234,56", "5,-", "\u00a012\u202f345", "12 kr.", "='1'", "\u200b1",
	} {
		f.Add(s)
	}
	unknown, point, comma := parserOf(f, Rules{}), parserOf(f, Rules{Decimal: "point"}), parserOf(f, Rules{Decimal: "comma"})
	f.Fuzz(func(t *testing.T, cell string) {
		a, b, c := unknown.parseAmount([]byte(cell)), point.parseAmount([]byte(cell)), comma.parseAmount([]byte(cell))
		require.Equal(t, a.shows, b.shows, "%q", cell)
		require.Equal(t, a.shows, c.shows, "%q", cell)
		if a.shows == showsEither {
			require.Equal(t, FaultAmbiguousAmount, a.fault, "%q", cell)
			require.NotEqual(t, b.amount, c.amount, "%q", cell)
			requireAmount(t, cell, ".", b)
			requireAmount(t, cell, ",", c)
			return
		}
		require.Equal(t, a, b, "%q", cell)
		require.Equal(t, a, c, "%q", cell)
		if a.fault != 0 {
			require.Contains(t, []Fault{FaultMissingAmount, FaultInvalidAmount, FaultAmountPrecision}, a.fault)
			return
		}
		requireAmount(t, cell, map[shows]string{showsFirst: ".", showsSecond: ","}[a.shows], a)
		again := point.parseAmount([]byte(a.amount.String()))
		require.Equal(t, a.amount, again.amount, "%q", cell)
		require.Zero(t, again.fault, "%q", cell)
	})
}

// requireAmount reads the digits of a cell without anything else.
func requireAmount(t *testing.T, cell, sign string, a amountCell) {
	t.Helper()
	require.Zero(t, a.fault, "%q", cell)
	number := strings.ReplaceAll(cell, string(a.mark), "")
	digits := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		if string(r) == sign {
			return '.'
		}
		return -1
	}, number)
	want, err := decimal.NewFromString(digits)
	require.NoError(t, err, "%q", cell)
	if strings.ContainsAny(number, "-−(") {
		want = want.Neg()
	}
	require.Equal(t, want.String(), a.amount.String(), "%q", cell)
	require.Less(t, max(a.amount.Unscaled, -a.amount.Unscaled), int64(maxAmount))
	require.True(t, a.amount.Scale == 0 || a.amount.Scale <= maxDecimals && a.amount.Unscaled%10 != 0)
}
