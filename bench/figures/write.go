package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// generate returns the text and the plots by path, and the claims that the results
// contradict.
func generate(at paths) (files map[string][]byte, broken []string, err error) {
	r, err := read(at.results)
	if err != nil {
		return nil, nil, err
	}
	d := newDocument(r)
	text, err := d.render()
	if err != nil {
		return nil, nil, err
	}
	files = map[string][]byte{at.text: text}
	for _, name := range d.plots {
		svg, err := draw(name, r)
		if err != nil {
			return nil, nil, err
		}
		files[filepath.Join(at.plots, name+".svg")] = svg
	}
	return files, d.broken, nil
}

// write writes the text and the plots. Claims apply to the full sizes, so with quick ones
// contradicted claims are only printed.
func write(env *environment, to paths, quick bool) error {
	files, broken, err := generate(to)
	if err != nil {
		return err
	}
	if len(broken) > 0 && !quick {
		return claimsError(broken)
	}
	for _, claim := range broken {
		fmt.Fprintln(env.stderr, claim)
	}
	if err := os.MkdirAll(to.plots, 0o755); err != nil {
		return err
	}
	for path, content := range files {
		if err := replaceFile(path, content); err != nil {
			return err
		}
	}
	return nil
}

// claimsError lists the claims that the results contradict.
type claimsError []string

func (e claimsError) Error() string {
	return "the results contradict performance.md.tmpl:\n" + strings.Join(e, "\n")
}

// check reports the files that differ from those generated from the results.
func check(env *environment) error {
	at := env.committed()
	files, broken, err := generate(at)
	if err != nil {
		return err
	}
	if len(broken) > 0 {
		return claimsError(broken)
	}
	plots, err := filepath.Glob(filepath.Join(at.plots, "*"))
	if err != nil {
		return err
	}
	same := true
	report := func(format string, args ...any) {
		same = false
		fmt.Fprintf(env.stdout, format+"\n", args...)
	}
	for _, path := range plots {
		if _, found := files[path]; !found {
			report("%s: not used by the text", path)
		}
	}
	for path, content := range files {
		switch got, err := os.ReadFile(path); {
		case err != nil:
			report("%v", err)
		case !bytes.Equal(got, content):
			report("%s: %s", path, firstDifference(got, content))
		}
	}
	if !same {
		fmt.Fprintln(env.stdout, "to fix, run: go run ./bench/figures write")
		return errDiffers
	}
	return nil
}

// firstDifference describes the first line in which two texts differ.
func firstDifference(gotText, wantText []byte) string {
	got, want := slices.Collect(bytes.Lines(gotText)), slices.Collect(bytes.Lines(wantText))
	for i := range max(len(got), len(want)) {
		var a, b []byte
		if i < len(got) {
			a = bytes.TrimSpace(got[i])
		}
		if i < len(want) {
			b = bytes.TrimSpace(want[i])
		}
		if !bytes.Equal(a, b) {
			return fmt.Sprintf("line %d: got\n  %.160s\nwant\n  %.160s", i+1, a, b)
		}
	}
	return "line endings differ"
}

// compare compares the figures and claims of the text with the results in dir, which may
// be incomplete.
func compare(env *environment, dir string, tolerance float64) error {
	committed, err := read(env.committed().results)
	if err != nil {
		return err
	}
	text := newDocument(committed)
	if _, err := text.render(); err != nil {
		return err
	}
	measured, err := read(dir)
	if err != nil {
		return err
	}
	now := newDocument(measured)
	now.lenient = true
	if _, err := now.render(); err != nil {
		return err
	}
	far := text.distances(env, measured, tolerance)
	for _, claim := range now.broken {
		fmt.Fprintln(env.stdout, claim)
	}
	fmt.Fprintf(env.stdout, "%d claims do not hold; %d figures are off by more than %.0f %%\n", len(now.broken), far, 100*tolerance)
	if len(now.broken)+far > 0 {
		return errDiffers
	}
	return nil
}

// distances prints the figures whose difference exceeds the tolerance, and returns their
// number. Times are first corrected by the median ratio of their benchmark.
func (d *document) distances(env *environment, measured *results, tolerance float64) (far int) {
	for _, f := range d.used {
		now, err := measured.get(f)
		if err != nil {
			continue // not measured
		}
		slower := d.slower(f.benchmark, measured)
		if delta := difference(expected(f, d.values[f], slower), now); delta > tolerance {
			far++
			fmt.Fprintf(env.stdout, "%s: the text has %s, now %s", f, number(d.values[f]), number(now))
			if kindOf(f.unit) != relative {
				fmt.Fprintf(env.stdout, "; the benchmark as a whole takes %s times as long", number(slower))
			}
			fmt.Fprintln(env.stdout)
		}
	}
	return far
}
