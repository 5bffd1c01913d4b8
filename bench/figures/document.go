package main

import (
	"bytes"
	_ "embed" // for the text
	"fmt"
	"math"
	"slices"
	"strings"
	"text/template"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

//go:embed performance.md.tmpl
var textTemplate string

// document is one execution of the template. It records the figures used and the claims
// that the results contradict.
type document struct {
	results *results
	lenient bool // a missing figure is NaN instead of an error
	used    []figure
	values  map[figure]float64
	last    []figure // used since the last claim, for the claim's message
	broken  []string // claims that the results contradict
	plots   []string
}

func newDocument(r *results) *document {
	return &document{results: r, values: map[figure]float64{}}
}

// render executes the template. Claims that the results contradict are added to broken
// and are not errors.
func (d *document) render() ([]byte, error) {
	t, err := template.New("performance.md").Option("missingkey=error").Funcs(d.functions()).Parse(textTemplate)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	err = t.Execute(&text, nil)
	return text.Bytes(), err
}

// functions returns the functions of the template. A function whose last parameter is the
// value is used in a pipeline.
func (d *document) functions() template.FuncMap {
	return template.FuncMap{
		"fig":     d.fig,
		"at":      func(benchmark, key string, n int64) string { return fmt.Sprintf("%s/%s=%d", benchmark, key, n) },
		"largest": func(benchmark, key string) (int64, error) { return d.largest(benchmark, key, math.MaxInt64) },
		"upto":    d.largest,
		"ratio":   func(a, b any) (float64, error) { return d.calculate(a, b, func(x, y float64) float64 { return x / y }) },
		"mul":     func(a, b any) (float64, error) { return d.calculate(a, b, func(x, y float64) float64 { return x * y }) },
		"add":     func(a, b any) (float64, error) { return d.calculate(a, b, func(x, y float64) float64 { return x + y }) },
		"sub":     func(a, b any) (float64, error) { return d.calculate(a, b, func(x, y float64) float64 { return x - y }) },
		"atleast": d.atLeast,
		"atmost":  d.atMost,
		"goal":    d.goal,
		"num":     func(x any) (string, error) { return formatted(x, number) },
		"whole":   func(x any) (string, error) { return formatted(x, whole) },
		"list":    func(items ...string) []string { return items },
		"table":   d.table,
		"sizes":   d.sizes,
		"command": command,
		"plot":    d.plot,
	}
}

// fig returns a figure.
func (d *document) fig(benchmark, unit string) (float64, error) {
	f := figure{benchmark, unit}
	x, err := d.results.get(f)
	if err != nil {
		if d.lenient {
			return math.NaN(), nil
		}
		return 0, err
	}
	if _, known := d.values[f]; !known {
		d.used = append(d.used, f)
	}
	d.values[f] = x
	d.last = append(d.last, f)
	return x, nil
}

// largest returns the largest measured size up to limit, of a benchmark's sub-benchmarks or
// of the variants KEY=SIZE of its units.
func (d *document) largest(benchmark, key string, limit int64) (int64, error) {
	sizes, err := d.results.sizes(benchmark, key)
	if err != nil {
		if d.lenient {
			return 0, nil
		}
		return 0, err
	}
	sizes = slices.DeleteFunc(sizes, func(n int64) bool { return n > limit })
	if len(sizes) == 0 {
		return 0, fmt.Errorf("no result of Benchmark%s/%s=… up to %d", benchmark, key, limit)
	}
	return sizes[len(sizes)-1], nil
}

func (*document) calculate(a, b any, with func(x, y float64) float64) (float64, error) {
	x, err := float(a)
	if err != nil {
		return 0, err
	}
	y, err := float(b)
	return with(x, y), err
}

// float converts the number types of templates.
func float(x any) (float64, error) {
	switch x := x.(type) {
	case float64:
		return x, nil
	case int64:
		return float64(x), nil
	case int:
		return float64(x), nil
	}
	return 0, fmt.Errorf("%v (%T) is not a number", x, x)
}

// atLeast claims that a value is at least the bound.
func (d *document) atLeast(bound any, value float64) (float64, error) {
	b, err := float(bound)
	d.claim(value >= b, "at least", b, value)
	return value, err
}

// atMost claims that a value is at most the bound.
func (d *document) atMost(bound any, value float64) (float64, error) {
	b, err := float(bound)
	d.claim(value <= b, "at most", b, value)
	return value, err
}

func (d *document) claim(holds bool, how string, bound, value float64) {
	if !holds && !math.IsNaN(value) { // NaN: not measured
		var figures []string
		for _, f := range d.last {
			figures = append(figures, f.String())
		}
		d.broken = append(d.broken, fmt.Sprintf("the text says %s %s, it is %s: of %s", how, number(bound), number(value), strings.Join(figures, ", ")))
	}
	d.last = nil
}

// goal formats a value and whether it meets the goal, which is "at most" or "at least"
// the bound.
func (d *document) goal(how string, bound any, value float64) (string, error) {
	b, err := float(bound)
	if err != nil {
		return "", err
	}
	d.last = nil
	met := value <= b
	switch how {
	case "at most":
	case "at least":
		met = value >= b
	default:
		return "", fmt.Errorf("goal: %q is neither at most nor at least", how)
	}
	if met {
		return fmt.Sprintf("**%s** (goal: %s %s)", number(value), how, number(b)), nil
	}
	return fmt.Sprintf("%s (goal: %s %s, **missed**)", number(value), how, number(b)), nil
}

// command returns the command of a study as inline code.
func command(name string) (string, error) {
	selected, err := selectStudies([]string{name})
	if err != nil {
		return "", err
	}
	return "`" + selected[0].command() + "`", nil
}

func formatted(x any, how func(float64) string) (string, error) {
	f, err := float(x)
	return how(f), err
}

// number formats a value with about three significant digits.
func number(x float64) string {
	size := math.Abs(x)
	switch {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return "–"
	case size >= 1000:
		unit := math.Pow(10, math.Floor(math.Log10(size))-2)
		return whole(math.Round(x/unit) * unit)
	case size >= 100:
		return whole(x)
	case size >= 10:
		return trimmed(x, 1)
	case size >= 0.1 || x == 0:
		return trimmed(x, 2)
	}
	return trimmed(x, 1-int(math.Floor(math.Log10(size))))
}

func trimmed(x float64, decimals int) string {
	text := fmt.Sprintf("%.*f", decimals, x)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// whole formats a value without decimals, with a thousands separator.
func whole(x float64) string {
	return message.NewPrinter(language.English).Sprintf("%d", int64(math.Round(x)))
}
