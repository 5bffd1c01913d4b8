package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// study is a run of go test whose figures the text uses.
type study struct {
	name        string // also of the file of results
	packagePath string
	bench       string // pattern for -bench
	full, quick string // flags for full and quick sizes
}

const (
	small = "-rows 10000 -benchtime 1x"
	bench = "./bench"
)

// studies returns all studies in the order of the text. The full sizes take an hour and a
// half on two cores.
func studies() []study {
	return []study{
		{"summary", bench, "^BenchmarkSummary$", "-rows 10000000 -benchtime 5x", small},
		{"summary-rows", bench, "^BenchmarkSummaryRows$", "-rows 1000000 -benchtime 5x", small},
		{"indexes", bench, "^BenchmarkIndexes$", "-rows 1000000 -benchtime 3x", small},
		{"partitioning", bench, "^BenchmarkPartitioning$", "-rows 1000000 -benchtime 3x", small},
		{"months", bench, "^BenchmarkMonths$", "-rows 100000 -benchtime 1x", small},
		{"uniqueness", bench, "^BenchmarkUniqueness$", "-rows 1000000 -benchtime 3x", small},
		{"ways", bench, "^BenchmarkWaysToLoad$", "-rows 100000 -benchtime 5x", small},
		{"order", bench, "^BenchmarkOrder$", "-rows 1000000 -benchtime 3x", small},
		{"amounts", bench, "^BenchmarkAmounts$", "-rows 1000000 -benchtime 3x", small},
		{"refresh", bench, "^BenchmarkRefresh$", "-rows 1000000 -benchtime 3x", small},
		{"hot-updates", bench, "^BenchmarkHotUpdates$/rows=1000000$", "-rows 1000000 -benchtime 1x", small},
		{"statistics", bench, "^BenchmarkStatistics$", "-rows 1000000 -benchtime 3x", small},
		{"parallel", bench, "^BenchmarkParallel$", "-rows 1000000 -benchtime 5x", small},
		{"connections", bench, "^BenchmarkConnections$", "-rows 1000000 -benchtime 3x", small},
		{"replica", bench, "^BenchmarkReplica$/rows=1000000$", "-rows 1000000 -benchtime 3x", small},
		{"api-cached", bench, "^BenchmarkAPI$/^cached$", "-benchtime 60x", "-benchtime 2x"},
		{"api-uncached", bench, "^BenchmarkAPI$/^uncached$", "-benchtime 30x", "-benchtime 2x"},
		{"flat", bench, "^BenchmarkFlat$", "-rows 10000000 -benchtime 40x", small},
		{"range", bench, "^BenchmarkRange$", "-rows 10000000 -benchtime 5x", small},
		{"beside-load", bench, "^BenchmarkBesideLoad$", "-rows 1000000 -benchtime 3x", small},
		{"first-load", bench, "^BenchmarkFirstLoad$", "-rows 1000000 -benchtime 3x", small},
		{"first-load-large", bench, "^BenchmarkFirstLoad$/rows=10000000$", "-rows 10000000 -benchtime 1x", "-rows 10000 -benchtime 1x"},
		{"append", bench, "^BenchmarkAppend$/rows=1000000$", "-rows 1000000 -benchtime 1x", small},
		{"night", bench, "^BenchmarkNight$", "-rows 10000000 -benchtime 3x", small},
		{"seal", bench, "^BenchmarkSeal$", "-rows 1000000 -benchtime 3x", small},
		{"pages", bench, "^BenchmarkPages$/rows=10000000$", "-rows 10000000 -benchtime 1x", small},
		{"one-row", bench, "^BenchmarkLeastCommit$", "-benchtime 50x", "-benchtime 5x"},
		{"known-files", bench, "^BenchmarkKnownFiles$", "-rows 1000000 -benchtime 3x", small},
		{"check", bench, "^BenchmarkCheck$", "-rows 1000000 -benchtime 3x", small},
		{"clean", "./pipeline/transform", "^BenchmarkClean$", "-benchtime 20x", "-benchtime 1x"},
		{"export", bench, "^BenchmarkExport$", "-rows 1000000 -benchtime 3x", small},
		{"export-large", bench, "^BenchmarkExport$/rows=10000000$", "-rows 10000000 -benchtime 3x", "-rows 10000 -benchtime 1x"},
		{"verify", bench, "^BenchmarkVerify$", "-rows 10000000 -benchtime 5x", small},
		{"rebuild", bench, "^BenchmarkRebuild$", "-rows 1000000 -benchtime 1x", small},
		{"replay", bench, "^BenchmarkReplay$", "-rows 100000 -benchtime 3x", small},
		{"revert", bench, "^BenchmarkRevert$", "-rows 1000000 -benchtime 3x", small},
		{"parquet-file", "./pipeline/parquet", "^BenchmarkFile$", "-benchtime 20x", "-benchtime 1x"},
		{"side-by-side", bench, "^BenchmarkSideBySide$", "-rows 250000 -benchtime 3x", small},
	}
}

// selectStudies returns the studies with these names, or all without names.
func selectStudies(names []string) ([]study, error) {
	all := studies()
	if len(names) == 0 {
		return all, nil
	}
	var selected []study
	for _, name := range names {
		i := slices.IndexFunc(all, func(s study) bool { return s.name == name })
		if i < 0 {
			var known []string
			for _, s := range all {
				known = append(known, s.name)
			}
			return nil, fmt.Errorf("no study %q; studies: %s", name, strings.Join(known, ", "))
		}
		selected = append(selected, all[i])
	}
	return selected, nil
}

// arguments returns the arguments of the go command.
func (s study) arguments(quick bool) []string {
	flags, pattern := s.full, s.bench
	if quick { // quick results have none of the large sizes
		flags = s.quick
		pattern, _, _ = strings.Cut(pattern, "/rows=")
	}
	return append([]string{"test", s.packagePath, "-run", "^$", "-bench", pattern, "-timeout", "2h"}, strings.Fields(flags)...)
}

// command returns the command of the full size for readers.
func (s study) command() string {
	pattern := strings.NewReplacer("^Benchmark", "", "$", "").Replace(s.bench)
	return fmt.Sprintf("go test %s -run '^$' -bench '%s$' %s", s.packagePath, pattern, s.full)
}

// measure runs studies sequentially, and writes the results of each study when it is
// finished.
func measure(ctx context.Context, env *environment, names []string, quick bool, to string) error {
	selected, err := selectStudies(names)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for i, s := range selected {
		began := time.Now()
		fmt.Fprintf(env.stderr, "%d of %d: go %s\n", i+1, len(selected), strings.Join(s.arguments(quick), " "))
		printed, err := s.run(ctx, env, quick)
		if err != nil {
			return fmt.Errorf("study %s: %w", s.name, err)
		}
		if err := replaceFile(filepath.Join(to, s.name+".txt"), printed); err != nil {
			return err
		}
		fmt.Fprintf(env.stderr, "%s took %s\n", s.name, time.Since(began).Round(time.Second))
	}
	return nil
}

// run runs a study and returns the lines in the benchmark format. All output goes to the
// terminal too.
func (s study) run(ctx context.Context, env *environment, quick bool) ([]byte, error) {
	var printed bytes.Buffer
	test := exec.CommandContext(ctx, "go", s.arguments(quick)...)
	test.Dir = env.root
	test.Stdout, test.Stderr = io.MultiWriter(&printed, env.stderr), env.stderr
	if err := test.Run(); err != nil {
		return nil, err
	}
	var lines bytes.Buffer
	measured := false
	for line := range bytes.Lines(printed.Bytes()) {
		key, _, _ := bytes.Cut(line, []byte(":"))
		switch {
		case bytes.HasPrefix(line, []byte("Benchmark")) && bytes.IndexByte(line, '\t') > 0:
			measured = true
			lines.Write(line)
		case slices.Contains([]string{"goos", "goarch", "cpu", "pkg"}, string(key)):
			lines.Write(line)
		}
	}
	if !measured {
		return nil, fmt.Errorf("no benchmark matches %s", s.bench)
	}
	return lines.Bytes(), nil
}

// replaceFile replaces a file atomically.
func replaceFile(path string, content []byte) error {
	next := path + ".next"
	if err := os.WriteFile(next, content, 0o644); err != nil { //nolint:gosec // public documents
		return err
	}
	return os.Rename(next, path)
}
