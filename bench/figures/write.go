package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// files are the text and the plots as the results give them, by path, and the claims
// that the results do not bear out.
func files(at places) (made map[string][]byte, broken []string, err error) {
	r, err := read(at.results)
	if err != nil {
		return nil, nil, err
	}
	d := newDocument(r)
	text, err := d.render()
	if err != nil {
		return nil, nil, err
	}
	made = map[string][]byte{at.text: text}
	for _, name := range d.plots {
		svg, err := draw(name, r)
		if err != nil {
			return nil, nil, err
		}
		made[filepath.Join(at.plots, name+".svg")] = svg
	}
	return made, d.broken, nil
}

// write makes the text and the plots. Claims are about the full sizes: at quick ones
// those that do not hold are printed, and the text is written all the same.
func write(env *environment, to places, quick bool) error {
	made, broken, err := files(to)
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
	for path, content := range made {
		if err := replaceFile(path, content); err != nil {
			return err
		}
	}
	return nil
}

// claimsError is of results that do not bear the text out.
type claimsError []string

func (e claimsError) Error() string {
	return "the results do not bear out what performance.md.tmpl says:\n" + strings.Join(e, "\n")
}

// check says which files are not what the results give.
func check(env *environment) error {
	at := env.committed()
	made, broken, err := files(at)
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
	say := func(format string, args ...any) {
		same = false
		fmt.Fprintf(env.stdout, format+"\n", args...)
	}
	for _, path := range plots {
		if _, ours := made[path]; !ours {
			say("%s: the text does not show it", path)
		}
	}
	for path, content := range made {
		switch there, err := os.ReadFile(path); {
		case err != nil:
			say("%v", err)
		case !bytes.Equal(there, content):
			say("%s: %s", path, difference(there, content))
		}
	}
	if !same {
		fmt.Fprintln(env.stdout, "go run ./bench/figures write makes them anew")
		return errDiffers
	}
	return nil
}

// difference is the first line in which two texts differ.
func difference(there, wanted []byte) string {
	got, want := slices.Collect(bytes.Lines(there)), slices.Collect(bytes.Lines(wanted))
	for i := range max(len(got), len(want)) {
		var a, b []byte
		if i < len(got) {
			a = bytes.TrimSpace(got[i])
		}
		if i < len(want) {
			b = bytes.TrimSpace(want[i])
		}
		if !bytes.Equal(a, b) {
			return fmt.Sprintf("line %d: it says\n  %.160s\nand the results\n  %.160s", i+1, a, b)
		}
	}
	return "line ends differ"
}

// compare holds the text's figures and claims against results that were measured
// anew, as far as they were.
func compare(env *environment, dir string, tolerance float64) error {
	said, err := read(env.committed().results)
	if err != nil {
		return err
	}
	text := newDocument(said)
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

// distances prints the figures of the text that are further off than they may be, and
// counts them. Times count beside the others of their benchmark.
func (d *document) distances(env *environment, measured *results, tolerance float64) (far int) {
	for _, f := range d.used {
		now, err := measured.get(f)
		if err != nil {
			continue // not measured this time
		}
		slower := d.slower(f.benchmark, measured)
		if by := off(expected(f, d.values[f], slower), now); by > tolerance {
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
