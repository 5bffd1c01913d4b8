package pgcopy_test

import (
	"context"
	"errors"
	"math"
	"math/big"
	mathrand "math/rand" // of big.Int.Rand
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/opentax/tally/internal/money"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/pgcopy"
	"github.com/opentax/tally/internal/testdb"
)

// bare is a database without a schema.
type bare struct{}

func (bare) Hash() string                            { return "bare" }
func (bare) Up(context.Context, *pgxpool.Pool) error { return nil }

func connect(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), testdb.New(t, bare{}).Config().ConnString())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) })
	_, err = conn.Exec(t.Context(), "CREATE TEMPORARY TABLE c (i INT, b BIGINT, f FLOAT, d DATE, t TEXT, y BYTEA, a TEXT[], n NUMERIC)")
	require.NoError(t, err)
	return conn
}

var all = []string{"i", "b", "f", "d", "t", "y", "a", "n"}

func TestEveryTypeArrives(t *testing.T) {
	t.Parallel()
	conn := connect(t)
	n, err := pgcopy.Copy(t.Context(), conn, "c", all, func(w *pgcopy.Writer) error {
		if err := w.Row(8); err != nil {
			return err
		}
		w.Int32(math.MinInt32)
		w.Int64(math.MaxInt64)
		w.Float64(-0.1)
		w.Date(-1)
		w.Text("é\n")
		w.Bytes([]byte{0, 0xff})
		w.Texts([]string{"a", "b,c"})
		w.Numeric(money.FromWords(0, 1))
		var rest pgcopy.Fields
		rest.Row(8)
		for range 6 {
			rest.Null()
		}
		rest.Texts(nil)
		rest.Null()
		return w.Encoded(rest)
	})
	require.NoError(t, err)
	assert.Equal(t, int64(2), n)
	var got []string
	rows, err := conn.Query(t.Context(), "SELECT c::text FROM c")
	require.NoError(t, err)
	got, err = pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	assert.Equal(t, []string{
		"(-2147483648,9223372036854775807,-0.1,1969-12-31,\"é\n\",\"\\\\x00ff\",\"{a,\"\"b,c\"\"}\",0.0001)", "(,,,,,,{},)",
	}, got)
}

// Every number of 128 bits is what math/big says, with no more decimals than it
// needs.
func TestNumeric(t *testing.T) {
	t.Parallel()
	conn := connect(t)
	random := rand.New(rand.NewPCG(1, 2))
	his := []int64{0, 0, 0, 0, 0, 0, 0, -1, -1, 1, -1 << 63, 1<<63 - 1}
	los := []uint64{0, 1, 10_000, 12_3400, 99_999_999, 1 << 63, math.MaxUint64, math.MaxUint64, 0, 0, 0, math.MaxUint64}
	for range 500 {
		his = append(his, random.Int64()>>random.IntN(64)*(1-2*random.Int64N(2)))
		los = append(los, random.Uint64()>>random.IntN(64))
	}
	_, err := pgcopy.Copy(t.Context(), conn, "c", []string{"i", "n"}, func(w *pgcopy.Writer) error {
		for i := range his {
			if err := w.Row(2); err != nil {
				return err
			}
			w.Int32(int32(i))
			w.Numeric(money.FromWords(his[i], los[i]))
		}
		return nil
	})
	require.NoError(t, err)
	rows, err := conn.Query(t.Context(), "SELECT n::text FROM c ORDER BY i")
	require.NoError(t, err)
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	for i := range his {
		v := new(big.Int).Lsh(big.NewInt(his[i]), 64)
		v.Add(v, new(big.Int).SetUint64(los[i]))
		want := new(big.Rat).SetFrac(v, big.NewInt(10_000)).FloatString(4)
		want = strings.TrimSuffix(strings.TrimRight(want, "0"), ".")
		require.Equal(t, want, got[i], "%d %d", his[i], los[i])
	}
}

// What PostgreSQL sends of a NUMERIC is read back, whatever its scale; what 128 bits of
// ten-thousandths do not hold is refused.
func TestParseNumeric(t *testing.T) {
	t.Parallel()
	conn := connect(t)
	read := func(text string) (money.Sum, error) {
		result := conn.PgConn().ExecParams(t.Context(), "SELECT $1::numeric", [][]byte{[]byte(text)}, nil, nil, []int16{pgx.BinaryFormatCode}).Read()
		require.NoError(t, result.Err, text)
		return pgcopy.ParseNumeric(result.Rows[0][0])
	}
	random := rand.New(rand.NewPCG(3, 4))
	texts := []string{"0", "0.0000000", "1.5000000", "-0.0001", "10000", "-10000.0001", "17014118346046923173168730371588410.5727"}
	for range 300 {
		digits := new(big.Int).Rand(mathrand.New(mathrand.NewSource(random.Int64())), new(big.Int).Lsh(big.NewInt(1), uint(1+random.IntN(127))))
		texts = append(texts, []string{"", "-"}[random.IntN(2)]+new(big.Rat).SetFrac(digits, big.NewInt(10_000)).FloatString(4+random.IntN(3)))
	}
	for _, text := range texts {
		sum, err := read(text)
		require.NoError(t, err, text)
		hi, lo := sum.Words()
		want, ok := new(big.Rat).SetString(text)
		require.True(t, ok)
		v := new(big.Int).Lsh(big.NewInt(hi), 64)
		v.Add(v, new(big.Int).SetUint64(lo))
		require.Zero(t, want.Cmp(new(big.Rat).SetFrac(v, big.NewInt(10_000))), text)
	}
	for _, text := range []string{"NaN", "Infinity", "-Infinity", "0.00001", "1.00005", "1e40", "17014118346046923173168730371588410.5728"} {
		_, err := read(text)
		require.Error(t, err, text)
	}
	for _, cut := range [][]byte{nil, {0, 1}, {0, 1, 0, 0, 0, 0, 0, 0}} {
		_, err := pgcopy.ParseNumeric(cut)
		require.Error(t, err)
	}
}

func TestTheErrorIsTheReason(t *testing.T) {
	t.Parallel()
	conn := connect(t)
	mine := errors.New("the source is broken")
	endless := func(w *pgcopy.Writer) error {
		for {
			if err := w.Row(1); err != nil {
				return err
			}
			w.Int32(1)
		}
	}
	for name, c := range map[string]struct {
		fill  func(*pgcopy.Writer) error
		table string
		want  string
	}{
		"of fill at once": {func(*pgcopy.Writer) error { return mine }, "c", mine.Error()},
		"of fill, late": {func(w *pgcopy.Writer) error {
			for range 100_000 {
				if err := w.Row(1); err != nil {
					return err
				}
				w.Int32(1)
			}
			return mine
		}, "c", mine.Error()},
		"of the table": {endless, "nowhere", `copy to nowhere: ERROR: relation "nowhere" does not exist`},
		"of a row": {func(w *pgcopy.Writer) error {
			if err := w.Row(2); err != nil {
				return err
			}
			w.Int32(1)
			w.Int32(1)
			return endless(w)
		}, "c", "row field count is 2, expected 1"},
	} {
		n, err := pgcopy.Copy(t.Context(), conn, c.table, []string{"i"}, c.fill)
		assert.ErrorContains(t, err, c.want, name)
		assert.Zero(t, n, name)
	}
	var rows int
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM c").Scan(&rows))
	assert.Zero(t, rows, "what failed has left nothing, and the connection works")

	ctx, cancel := context.WithCancel(t.Context())
	_, err := pgcopy.Copy(ctx, conn, "c", []string{"i"}, func(w *pgcopy.Writer) error {
		cancel()
		return endless(w)
	})
	require.ErrorIs(t, err, context.Canceled)
}

func TestAPanicIsAnError(t *testing.T) {
	t.Parallel()
	conn := connect(t)
	_, err := pgcopy.Copy(t.Context(), conn, "c", []string{"i"}, func(*pgcopy.Writer) error { panic("a bug") })
	require.EqualError(t, err, "panic: a bug")
	require.NoError(t, conn.Ping(t.Context()), "the connection can be used")
}
