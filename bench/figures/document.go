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

// document is one writing of the text: which figures it took, and which of its claims
// the results do not bear out.
type document struct {
	results *results
	lenient bool // a figure that was not measured is NaN, and no error
	used    []figure
	values  map[figure]float64
	last    []figure // since the last claim, to name it by
	broken  []string
	plots   []string
}

func newDocument(r *results) *document {
	return &document{results: r, values: map[figure]float64{}}
}

// render gives the text. A claim that does not hold is in broken, and no error.
func (d *document) render() ([]byte, error) {
	t, err := template.New("performance.md").Option("missingkey=error").Funcs(d.functions()).Parse(textTemplate)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	err = t.Execute(&text, nil)
	return text.Bytes(), err
}

// functions are what the text says its figures with. Where a function takes the value
// last, it is to be piped into it.
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

// fig is a figure of the results.
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

// largest is the largest size that was measured and is no larger than most: of a
// benchmark's sub-benchmarks, or of the variants KEY=SIZE of its units.
func (d *document) largest(benchmark, key string, most int64) (int64, error) {
	sizes, err := d.results.sizes(benchmark, key)
	if err != nil {
		if d.lenient {
			return 0, nil
		}
		return 0, err
	}
	sizes = slices.DeleteFunc(sizes, func(n int64) bool { return n > most })
	if len(sizes) == 0 {
		return 0, fmt.Errorf("no result of Benchmark%s/%s=… up to %d", benchmark, key, most)
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

// float takes the numbers that templates have.
func float(x any) (float64, error) {
	switch x := x.(type) {
	case float64:
		return x, nil
	case int64:
		return float64(x), nil
	case int:
		return float64(x), nil
	}
	return 0, fmt.Errorf("%v (%T) is no number", x, x)
}

// atLeast claims that a value is no less than the bound.
func (d *document) atLeast(bound any, value float64) (float64, error) {
	b, err := float(bound)
	d.claim(value >= b, "at least", b, value)
	return value, err
}

// atMost claims that a value is no more than the bound.
func (d *document) atMost(bound any, value float64) (float64, error) {
	b, err := float(bound)
	d.claim(value <= b, "at most", b, value)
	return value, err
}

func (d *document) claim(holds bool, how string, bound, value float64) {
	if !holds && !math.IsNaN(value) { // NaN: not measured this time
		var of []string
		for _, f := range d.last {
			of = append(of, f.String())
		}
		d.broken = append(d.broken, fmt.Sprintf("the text says %s %s, it is %s: of %s", how, number(bound), number(value), strings.Join(of, ", ")))
	}
	d.last = nil
}

// goal prints a value with whether it is met: how is "at most" or "at least".
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

// command is the command that measures a study again, in code.
func command(name string) (string, error) {
	some, err := chosen([]string{name})
	if err != nil {
		return "", err
	}
	return "`" + some[0].command() + "`", nil
}

func formatted(x any, how func(float64) string) (string, error) {
	f, err := float(x)
	return how(f), err
}

// number prints no more digits than a measurement has.
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

// whole prints a number without decimals, thousands apart.
func whole(x float64) string {
	return message.NewPrinter(language.English).Sprintf("%d", int64(math.Round(x)))
}
