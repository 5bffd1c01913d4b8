package extract

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/panics"
)

// reading is all that a file was read as.
type reading struct {
	records []string
	counts  string
}

func countsOf(r *Reader) string {
	return fmt.Sprint(r.Skipped(), r.EmptyLines(), r.RepeatedHeaders(), r.LineEnds())
}

func readRows(t *testing.T, content string, dialect Dialect, columns []Column) reading {
	t.Helper()
	r, err := NewReader(strings.NewReader(content), dialect, columns)
	require.NoError(t, err)
	records, err := readAll(r)
	require.NoError(t, err)
	return reading{records, countsOf(r)}
}

func readBlocks(t *testing.T, content string, dialect Dialect, columns []Column) reading {
	t.Helper()
	r, err := NewReader(strings.NewReader(content), dialect, columns)
	require.NoError(t, err)
	records := []string{}
	worker := func() func(*Reader) []string {
		return func(block *Reader) []string {
			part, _ := readAll(block)
			return part
		}
	}
	require.NoError(t, Parallel(t.Context(), r, worker, func(part []string) error {
		records = append(records, part...)
		return nil
	}))
	return reading{records, countsOf(r)}
}

// TestBlocksAreLikeRows reads random files of random dialects in both ways.
func TestBlocksAreLikeRows(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(9, 9))
	plain := []string{"T%d,7,1.50,2024-01-05,x\n", "T%d,7,1.50,2024-01-05,\n"}
	odd := []string{
		"T%d,7,1,2024-01-05,x\r\n", "\n", ",,,,\n", " \t\r\n", "\ufeff\n", "\ufeffT%d,7,1,2024-01-05,\n", "\ufeff\"T%d\",7,\"\n\",,\n", head,
		"\ufefftransaction_id,user_id,amount,transaction_date,x\n", "transaction_id,user_id,\"amount\",transaction_date,\n", "'T%d' ,7, \"1\n\" ,2024-01-05,x\n",
		" \"T%d\" ,7,1,\"2024-01-05\"\t,x\n", "T%d,7,1, \"2024-01-05\n\" x,x\n", "T%d,7,1,\"2024-01-05,x\n", "T%d,7,1,2024-01-05,x,,\"\" ,\r\n", "T%d,7,1,2024-01-05\n",
		"T%d,7,\x00,2024-01-05,x\n", "T%d,7,1,2024-01-05,\xff\n", "\xffT%d,7,1,2024-01-05,\n", "\x00\x1a\n", "\x1a", "T%d,7,1,2024-01-05,\"x\r\n\"\r\n", "T%d,7,'1'' ',2024-01-05,'\n'\n",
	}
	for i := range 42 {
		delimiter, quote := ",;\t| ^"[i%6], "\"\"'\"n"[i%5]
		dialect := Dialect{Delimiter: string(delimiter), Quote: string(quote)}
		if quote == 'n' {
			dialect.Quote = "none"
		}
		var b strings.Builder
		b.WriteString("x\n" + strings.TrimSpace(head) + [...]string{"", ",", ",x"}[i%3] + "\n")
		for n := range []int{10, 3000, 24_000}[i%3] {
			piece := plain[random.IntN(len(plain))]
			if random.IntN([]int{2, 40, 3000}[i/3%3]) == 0 {
				piece = odd[random.IntN(len(odd))]
			}
			b.WriteString(strings.ReplaceAll(piece, "%d", fmt.Sprint(n)))
		}
		content := strings.ReplaceAll(b.String(), ",", string(delimiter))
		content = content[:len(content)-random.IntN(20)] + []string{"", "\x1a", "\n\x00\x00"}[random.IntN(3)]
		if i%7 == 0 {
			content = strings.ReplaceAll(strings.ReplaceAll(content, "\r", ""), "\n", "\r")
		}
		require.Equal(t, readRows(t, content, dialect, columns()), readBlocks(t, content, dialect, columns()), "%d %+v", i, dialect)
	}
}

// A panic of a worker or of the receiver is an error, not the end of the process.
func TestPanicsAreErrors(t *testing.T) {
	t.Parallel()
	for _, faulty := range []string{"worker", "receiver"} {
		r, err := NewReader(strings.NewReader(head+strings.Repeat("T1,7,1.50,2024-01-05\n", 1000)), Dialect{}, columns())
		require.NoError(t, err)
		worker := func() func(*Reader) int {
			return func(*Reader) int {
				if faulty == "worker" {
					panic(faulty)
				}
				return 0
			}
		}
		err = Parallel(t.Context(), r, worker, func(int) error { panic(faulty) })
		var p *panics.Panic
		require.ErrorAs(t, err, &p)
		require.EqualError(t, p, "panic: "+faulty)
	}
}
