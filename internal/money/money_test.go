package money_test

import (
	"encoding/json"
	"math/big"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/money"
)

func parse(t *testing.T, text string) money.Sum {
	t.Helper()
	s, err := money.Parse(text)
	require.NoError(t, err)
	return s
}

// Every amount survives its float.
func TestFromFloat(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"0", "-3437.55", "0.1", "0.0001", "999999999999999", "-99999999999.9999", "123456789012.345"} {
		f, err := strconv.ParseFloat(text, 64)
		require.NoError(t, err)
		a, err := money.FromFloat(f)
		require.NoError(t, err)
		assert.Equal(t, text, a.String())
		assert.Equal(t, text, a.Sum().String())
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		unscaled, scale := r.Int64N(1e15)>>r.IntN(50)*(1-2*r.Int64N(2)), uint8(r.IntN(5))
		for ; scale > 0 && unscaled%10 == 0; scale-- {
			unscaled /= 10
		}
		want := money.Amount{Unscaled: unscaled, Scale: scale}
		got, err := money.FromFloat(want.Float64())
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, want.Sum().String(), want.String())
	}
	for _, f := range []float64{0.00001, 1e15, -1e300, 1.0 / 3} {
		_, err := money.FromFloat(f)
		assert.Error(t, err, f)
	}
}

func TestSum(t *testing.T) {
	t.Parallel()
	most := money.NewSum(999_999_999_999_999, 0)
	sum := money.Sum{}
	for range 10_000 {
		sum = sum.Plus(most)
	}
	assert.Equal(t, "9999999999999990000", sum.String())
	for range 20_000 {
		sum = sum.Minus(most)
	}
	assert.Equal(t, "-9999999999999990000", sum.String())
	assert.Equal(t, "-0.0001", money.NewSum(-1, 4).String())
	assert.Equal(t, "0", money.NewSum(5, 1).Plus(money.NewSum(-50, 2)).String())
}

// Texts, NUMERICs and words of 128 bits give each other back.
func TestSumForms(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		want := money.FromWords(r.Int64()>>r.IntN(64)*(1-2*r.Int64N(2)), r.Uint64()>>r.IntN(64))
		require.Equal(t, want, parse(t, want.String()))
		exact, err := decimal.NewFromString(want.String())
		require.NoError(t, err)
		require.Equal(t, exact.String(), want.String())
		var scanned money.Sum
		scale := r.Int32N(8)
		number := new(big.Int).Mul(exact.Shift(4).BigInt(), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil))
		require.NoError(t, scanned.ScanNumeric(pgtype.Numeric{Int: number, Exp: -4 - scale, Valid: true}))
		require.Equal(t, want, scanned)
		hi, lo := want.Words()
		require.Equal(t, want, money.FromWords(hi, lo))
	}
	var s money.Sum
	require.NoError(t, s.ScanNumeric(pgtype.Numeric{Int: big.NewInt(-12), Exp: 2, Valid: true}))
	assert.Equal(t, "-1200", s.String())
	for _, n := range []pgtype.Numeric{{}, {NaN: true, Valid: true}, {InfinityModifier: pgtype.Infinity, Valid: true}, {Int: big.NewInt(1), Exp: -5, Valid: true}, {Int: big.NewInt(1), Exp: 40, Valid: true}} {
		assert.Error(t, s.ScanNumeric(n))
	}
	for _, text := range []string{"", ".", "1e5", "0x10", "1.00001", "1.2.3", "--1", "1_000", "NaN", "17014118346046923173168730371588410.5728"} {
		_, err := money.Parse(text)
		assert.Error(t, err, text)
	}
}

func TestSumJSON(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"0": "0.00", "10240.5": "10240.50", "-3": "-3.00", "0.125": "0.125", "204.81": "204.81", "-0.0001": "-0.0001",
		"123456789012345678901234567890": "123456789012345678901234567890.00",
	} {
		got, err := json.Marshal(parse(t, in))
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
		var back money.Sum
		require.NoError(t, json.Unmarshal(got, &back))
		assert.Equal(t, parse(t, in), back)
	}
}

// Averages are what decimal arithmetic says: half away from zero.
func TestAverage(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 6))
	for range 20_000 {
		sum, n := money.NewSum(r.Int64N(1e12)>>r.IntN(40)*(1-2*r.Int64N(2)), uint8(r.IntN(5))), 1+r.Int64N(1000)>>r.IntN(10)
		exact, err := decimal.NewFromString(sum.String())
		require.NoError(t, err)
		require.Equal(t, exact.DivRound(decimal.NewFromInt(n), 2).String(), sum.Average(n).String(), "%s / %d", sum, n)
	}
	assert.Equal(t, "0.01", parse(t, "0.005").Average(1).String())
	assert.Equal(t, "-0.01", parse(t, "-0.01").Average(2).String())
}
