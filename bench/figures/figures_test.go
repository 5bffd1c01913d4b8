package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const printed = `goos: linux
pkg: github.com/opentax/tally/bench
BenchmarkSummary/rows=10000-2   	 5	 100 ns/op	 20.5 µs/look-up	 41 µs/sum
BenchmarkSummary/rows=10000-2   	 5	 100 ns/op	 21.5 µs/look-up	 43 µs/sum
BenchmarkSummary/rows=100000-2  	 5	 100 ns/op	 22 µs/look-up	 440 µs/sum
`

func resultsOf(t *testing.T, text string) *results {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "summary.txt"), []byte(text), 0o600))
	r, err := read(dir)
	require.NoError(t, err)
	return r
}

func TestResults(t *testing.T) {
	t.Parallel()
	r := resultsOf(t, printed)
	x, err := r.get(figure{"Summary/rows=10000", "µs/look-up"})
	require.NoError(t, err)
	assert.Equal(t, 21.0, x, "the median of the repetitions")
	x, err = r.get(figure{"Summary/rows=10000", "ns/op"})
	require.NoError(t, err)
	assert.Equal(t, 100.0, x, "in the reported unit, not in seconds")
	sizes, err := r.sizes("Summary", "rows")
	require.NoError(t, err)
	assert.Equal(t, []int64{10_000, 100_000}, sizes)
	_, err = r.get(figure{"Summary/rows=10000", "µs/none"})
	assert.ErrorContains(t, err, "µs/look-up", "lists the existing units")
	_, err = r.get(figure{"Other", "µs/none"})
	assert.ErrorContains(t, err, "Summary/rows=10000")
}

func TestClaims(t *testing.T) {
	t.Parallel()
	d := newDocument(resultsOf(t, printed))
	x, err := d.fig("Summary/rows=100000", "µs/sum")
	require.NoError(t, err)
	y, err := d.fig("Summary/rows=100000", "µs/look-up")
	require.NoError(t, err)
	times, err := d.calculate(x, y, func(a, b float64) float64 { return a / b })
	require.NoError(t, err)
	_, err = d.atLeast(20, times)
	require.NoError(t, err)
	assert.Empty(t, d.broken)
	_, _ = d.fig("Summary/rows=100000", "µs/sum")
	_, err = d.atMost(int64(300), x)
	require.NoError(t, err)
	require.Len(t, d.broken, 1)
	assert.Contains(t, d.broken[0], "Summary/rows=100000 µs/sum", "names the figures of the claim")

	met, err := d.goal("at least", 0.8, 0.82)
	require.NoError(t, err)
	assert.Equal(t, "**0.82** (goal: at least 0.8)", met)
	missed, err := d.goal("at most", 2, 2.34)
	require.NoError(t, err)
	assert.Equal(t, "2.34 (goal: at most 2, **missed**)", missed)
	_, err = d.goal("about", 2, 2.34)
	assert.Error(t, err)
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for want, x := range map[string]float64{
		"60,500": 60_549, "1,230,000": 1_234_567, "439": 439.2, "17.6": 17.64, "3.4": 3.4, "0.82": 0.8249, "3": 3.0001,
		"0.0053": 0.00534, "-12.5": -12.46, "0": 0, "1,000": 999.9999e0 + 0.0001,
	} {
		assert.Equal(t, want, number(x))
	}
	assert.Equal(t, "1,234,567", whole(1_234_567.4))
}

func TestTables(t *testing.T) {
	t.Parallel()
	d := newDocument(resultsOf(t, printed))
	text, err := d.table("Summary/rows=10000", "way", []string{"look-up: by key", "sum: summed"}, "µs: time, µs")
	require.NoError(t, err)
	assert.Equal(t, "| way | time, µs |\n| --- | ---: |\n| by key | 21 |\n| summed | 42 |", text)
	_, err = d.table("Summary/rows=10000", "way", []string{"look-up: by key"}, "µs: time, µs")
	assert.ErrorContains(t, err, "leaves out µs/sum")
	_, err = d.table("Summary/rows=10000", "way", []string{"look-up: by key", "sum: summed", "guess: guessed"}, "µs: time, µs")
	assert.ErrorContains(t, err, `no variant "guess"`)
	text, err = d.sizes("Summary", "rows", "rows", "µs/sum: summed, µs")
	require.NoError(t, err)
	assert.Equal(t, "| rows | summed, µs |\n| --- | ---: |\n| 10,000 | 42 |\n| 100,000 | 440 |", text)
}

// The text uses all studies and plots.
func TestEveryStudyIsInTheText(t *testing.T) {
	t.Parallel()
	for _, s := range studies() {
		assert.Contains(t, textTemplate, `command "`+s.name+`"`, "the command of each study")
		_, err := regexp.Compile(s.bench)
		assert.NoError(t, err)
	}
	for _, p := range plots() {
		assert.Contains(t, textTemplate, `plot "`+p.name+`"`, "each plot")
	}
}

// Every benchmark of package bench belongs to a study, so that its figures are used.
func TestEveryBenchmarkIsAStudy(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../*_test.go")
	require.NoError(t, err)
	declared := regexp.MustCompile(`(?m)^func (Benchmark\w+)\(`)
	for _, path := range files {
		source, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, match := range declared.FindAllSubmatch(source, -1) {
			name := string(match[1])
			found := false
			for _, s := range studies() {
				first, _, _ := strings.Cut(s.bench, "/")
				found = found || regexp.MustCompile(first).MatchString(name)
			}
			assert.True(t, found, "%s of %s is in no study", name, path)
		}
	}
}

// The committed text and plots match the committed results, and a manually changed figure
// is detected.
func TestCheck(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	env := &environment{root: "../..", stdout: &out, stderr: &out}
	require.NoError(t, check(env), out.String())

	root := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(root, "docs"), os.DirFS("../../docs")))
	require.NoError(t, os.CopyFS(filepath.Join(root, "bench", "results"), os.DirFS("../results")))
	path := filepath.Join(root, "docs", "performance.md")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	changed := regexp.MustCompile(`\*\*0\.\d+\*\*`).ReplaceAll(text, []byte("**0.01**"))
	require.NotEqual(t, text, changed)
	require.NoError(t, os.WriteFile(path, changed, 0o600))
	out.Reset()
	require.ErrorIs(t, check(&environment{root: root, stdout: &out, stderr: &out}), errDiffers)
	assert.Contains(t, out.String(), "0.01")
}

// A result that contradicts a claim, or is missing, is an error.
func TestWriteChecksClaims(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(root, "bench", "results"), os.DirFS("../results")))
	require.NoError(t, os.CopyFS(filepath.Join(root, "docs"), os.DirFS("../../docs")))
	env := &environment{root: root, stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}}
	path := filepath.Join(root, "bench", "results", "api-uncached.txt")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	faster := regexp.MustCompile(`[0-9.]+ bun/s`).ReplaceAll(text, []byte("90000 bun/s"))
	require.NoError(t, os.WriteFile(path, faster, 0o600))
	err = write(env, env.committed(), false)
	assert.ErrorContains(t, err, "API/uncached bun/s")

	require.NoError(t, os.Remove(path))
	assert.ErrorContains(t, write(env, env.committed(), false), "API/uncached")
}

// Equal results have no differences. A figure beyond the tolerance and a contradicted
// claim are reported.
func TestCompare(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	env := &environment{root: "../..", stdout: &out, stderr: &out}
	require.NoError(t, compare(env, "../results", 0.3), out.String())
	assert.Contains(t, out.String(), "0 claims do not hold; 0 figures are off")

	now := t.TempDir()
	text, err := os.ReadFile("../results/api-uncached.txt")
	require.NoError(t, err)
	faster := regexp.MustCompile(`[0-9.]+ bun/s`).ReplaceAll(text, []byte("90000 bun/s"))
	require.NoError(t, os.WriteFile(filepath.Join(now, "api-uncached.txt"), faster, 0o600))
	out.Reset()
	require.ErrorIs(t, compare(env, now, 0.3), errDiffers)
	assert.Contains(t, out.String(), "API/uncached bun/s: the text has")
	assert.Contains(t, out.String(), "the text says at least 20")
	assert.Contains(t, out.String(), "1 claims do not hold; 1 figures are off by more than 30 %")
}

// A machine that is twice as slow makes no difference; a single variant that is does.
func TestCompareCorrectsForMachineSpeed(t *testing.T) {
	t.Parallel()
	d := newDocument(resultsOf(t, printed))
	for _, unit := range []string{"ns/op", "µs/look-up", "µs/sum"} {
		_, err := d.fig("Summary/rows=100000", unit)
		require.NoError(t, err)
	}
	var out bytes.Buffer
	env := &environment{stdout: &out}
	slow := "BenchmarkSummary/rows=100000-2 5 200 ns/op 44 µs/look-up 880 µs/sum\n"
	assert.Zero(t, d.distances(env, resultsOf(t, slow), 0.3), out.String())
	uneven := "BenchmarkSummary/rows=100000-2 5 200 ns/op 44 µs/look-up 1760 µs/sum\n"
	assert.Equal(t, 1, d.distances(env, resultsOf(t, uneven), 0.3))
	assert.Contains(t, out.String(), "µs/sum: the text has 440, now 1,760; the benchmark as a whole takes 2 times as long")

	for unit, want := range map[string]kind{
		"ns/op": duration, "read-µs/index": duration, "µs-per-new-row/a": duration, "load-µs-per-row/hash": duration, "s/x": duration, "catch-up-s/async": duration,
		"rows/s": rate, "tally/s": rate, "per-s/prepared": rate, "rows-per-s/copy": rate,
		"bytes-per-row/keys": relative, "pages/none": relative, "of-copy/unnest": relative, "yardsticks": relative, "wal-MiB/tally": relative,
	} {
		assert.Equal(t, want, kindOf(unit), unit)
	}
}
