package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// results are the measured figures by benchmark and unit, each with its repetitions.
type results struct {
	figures map[figure][]float64
	names   []string            // benchmarks in the order of the files
	units   map[string][]string // units of each benchmark, in order
}

// figure identifies a figure: the benchmark without "Benchmark" and the number of
// processors, such as Indexes/rows=1000000, and the reported unit.
type figure struct{ benchmark, unit string }

func (f figure) String() string { return f.benchmark + " " + f.unit }

// processors matches GOMAXPROCS at the end of a benchmark's name.
var processors = regexp.MustCompile(`-\d+$`)

// read reads the results of a folder in the Go benchmark format.
func read(dir string) (*results, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	r := &results{figures: map[figure][]float64{}, units: map[string][]string{}}
	for _, path := range files {
		if err := r.readFile(path); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *results) readFile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // read only
	lines := benchfmt.NewReader(file, path)
	for lines.Scan() {
		switch line := lines.Result().(type) {
		case *benchfmt.Result:
			r.add(line)
		case *benchfmt.SyntaxError:
			return line
		}
	}
	return lines.Err()
}

func (r *results) add(line *benchfmt.Result) {
	name := processors.ReplaceAllString(line.Name.String(), "")
	if _, known := r.units[name]; !known {
		r.names = append(r.names, name)
		r.units[name] = nil
	}
	for _, v := range line.Values {
		value, unit := v.Value, v.Unit
		if v.OrigUnit != "" { // benchfmt converts times to seconds; use the reported unit
			value, unit = v.OrigValue, v.OrigUnit
		}
		f := figure{name, unit}
		if len(r.figures[f]) == 0 {
			r.units[name] = append(r.units[name], unit)
		}
		r.figures[f] = append(r.figures[f], value)
	}
}

// get returns the median of a figure's repetitions.
func (r *results) get(f figure) (float64, error) {
	all := slices.Sorted(slices.Values(r.figures[f]))
	if len(all) == 0 {
		return 0, r.missing(f)
	}
	if n := len(all); n%2 == 0 {
		return (all[n/2-1] + all[n/2]) / 2, nil
	}
	return all[len(all)/2], nil
}

func (r *results) missing(f figure) error {
	units, known := r.units[f.benchmark]
	if !known {
		return fmt.Errorf("no result of Benchmark%s; there are %s", f.benchmark, strings.Join(r.names, ", "))
	}
	return fmt.Errorf("benchmark %s has no figure %q; it has %s", f.benchmark, f.unit, strings.Join(units, ", "))
}

// sizes returns the values of a key in a benchmark's sub-benchmarks, ascending: 10000 and
// 100000 for the key rows of Summary/rows=10000 and Summary/rows=100000.
func (r *results) sizes(benchmark, key string) ([]int64, error) {
	var found []int64
	for _, name := range append(slices.Clone(r.names), r.unitNames(benchmark)...) {
		rest, ours := strings.CutPrefix(name, benchmark+"/"+key+"=")
		if !ours {
			continue
		}
		value, _, _ := strings.Cut(rest, "/")
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("benchmark %s: %s=%s is not a number", name, key, value)
		}
		if !slices.Contains(found, n) {
			found = append(found, n)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no result of Benchmark%s/%s=…", benchmark, key)
	}
	slices.Sort(found)
	return found, nil
}

// unitNames returns the variants KEY=VALUE of a benchmark's units as names of
// sub-benchmarks.
func (r *results) unitNames(benchmark string) (names []string) {
	for _, unit := range r.units[benchmark] {
		if _, variant, found := strings.Cut(unit, "/"); found && strings.Contains(variant, "=") {
			names = append(names, benchmark+"/"+variant)
		}
	}
	return names
}

// variants returns the part after the slash of a measure's units, in order: btree and
// hash for load-of-none/btree and load-of-none/hash.
func (r *results) variants(benchmark, measure string) ([]string, error) {
	var found []string
	for _, unit := range r.units[benchmark] {
		if variant, ours := strings.CutPrefix(unit, measure+"/"); ours {
			found = append(found, variant)
		}
	}
	if len(found) == 0 {
		return nil, r.missing(figure{benchmark, measure + "/…"})
	}
	return found, nil
}
