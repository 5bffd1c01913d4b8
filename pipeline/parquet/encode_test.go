package parquet

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/opentax/tally/internal/money"

	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lengths around those of mini blocks and blocks.
func lengths() []int {
	return []int{0, 1, 2, 31, 32, 33, 34, 64, 65, 127, 128, 129, 130, 256, 257, 1000}
}

// Every width of bits, signs and extremes: an independent decoder reads back what was
// encoded.
func TestDeltas(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range lengths() {
		for width := range 65 {
			longs, ints, wide := make([]int64, n), make([]int32, n), make([]int64, n)
			for i := range n {
				longs[i] = int64(r.Uint64()) >> min(width, 63)
				ints[i] = int32(r.Uint32()) >> min(width, 31)
				if r.IntN(10) == 0 {
					longs[i] = []int64{math.MinInt64, math.MaxInt64, 0}[r.IntN(3)]
					ints[i] = []int32{math.MinInt32, math.MaxInt32, 0}[r.IntN(3)]
				}
				wide[i] = int64(ints[i])
			}
			gotLongs, err := new(delta.BinaryPackedEncoding).DecodeInt64(nil, appendDeltas(nil, longs, 64))
			require.NoError(t, err)
			assert.Equal(t, longs, append([]int64{}, gotLongs...))
			gotInts, err := new(delta.BinaryPackedEncoding).DecodeInt32(nil, appendDeltas(nil, wide, 32))
			require.NoError(t, err)
			assert.Equal(t, ints, append([]int32{}, gotInts...))
		}
	}
}

// The independent encoder makes nothing shorter of the same values.
func TestDeltasAreShort(t *testing.T) {
	t.Parallel()
	for _, n := range lengths()[1:] {
		values := make([]int64, n)
		for i := range values {
			values[i] = int64(i)*1000 + int64(i%7)
		}
		want, err := new(delta.BinaryPackedEncoding).EncodeInt64(nil, values)
		require.NoError(t, err)
		assert.LessOrEqual(t, len(appendDeltas(nil, values, 64)), len(want), "%d values", n)
	}
}

// Every stored amount is exported unchanged, if it fits DECIMAL(18,4); other amounts and floats are
// errors.
func TestUnscaledAmounts(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	for range 200_000 {
		a := money.Amount{Unscaled: r.Int64N(1e15) >> r.IntN(50), Scale: uint8(r.IntN(5))}
		if r.IntN(2) == 0 {
			a.Unscaled = -a.Unscaled
		}
		sum := money.NewSum(a.Unscaled, a.Scale)
		got, err := unscaledAmount(a.Float64())
		if high, low := sum.Words(); high != int64(low)>>63 || int64(low) >= amountLimit || int64(low) <= -amountLimit {
			require.ErrorContains(t, err, "does not fit DECIMAL(18,4)")
			continue
		}
		require.NoError(t, err, "%v", a)
		require.Equal(t, sum, money.NewSum(got, decimals), "%v", a)
	}
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 0.30000000000000004, 1e-5, 1.00001, 1e300} {
		_, err := unscaledAmount(f)
		require.Error(t, err, "%v", f)
	}
	got, err := unscaledAmount(math.Copysign(0, -1))
	require.NoError(t, err)
	assert.Zero(t, got)
}

func TestTotalsThatDoNotFit(t *testing.T) {
	t.Parallel()
	most := money.Sum{}
	for range 28 { // 10^28 - 1, digit by digit
		most = times10(most).Plus(money.NewSum(9, decimals))
	}
	one := money.NewSum(1, decimals)
	for sum, want := range map[money.Sum]bool{
		most: true, most.Plus(one): false, {}: true, most.Neg(): true, most.Neg().Minus(one): false,
	} {
		assert.Equal(t, want, fits(sum), sum.String())
	}
}

func times10(s money.Sum) money.Sum {
	var product money.Sum
	for range 10 {
		product = product.Plus(s)
	}
	return product
}

func TestSignedBytesAreCompared(t *testing.T) {
	t.Parallel()
	ordered := [][]byte{{0x80, 0}, {0xff, 0}, {0xff, 0xff}, {0, 0}, {0, 1}, {1, 0}, {0x7f, 0xff}}
	for i, a := range ordered {
		for j, b := range ordered {
			got := compareSigned(a, b)
			assert.Equal(t, i < j, got < 0)
			assert.Equal(t, i == j, got == 0)
		}
	}
}
