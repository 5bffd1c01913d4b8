// Command figures generates docs/performance.md and its plots from the results of the
// benchmarks, and checks the claims of the text.
//
//	go run ./bench/figures update                     # run all studies, write text and plots
//	go run ./bench/figures update summary             # run one study
//	go run ./bench/figures update --quick --out DIR   # small sizes, in another folder
//	go run ./bench/figures check                      # check text and plots against the results
//	go run ./bench/figures compare                    # run again, compare with the text
//
// bench/results contains the results in the Go benchmark format, which benchstat reads.
// performance.md.tmpl is the template of the text: it names each figure by benchmark and
// unit, and states the bounds of its claims. If the results contradict a claim, the
// command fails and reports the claim.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/alecthomas/kong"
)

// errDiffers is returned after the differences have been printed.
var errDiffers = errors.New("figures do not match")

type cli struct {
	Root string `default:"." type:"existingdir" help:"Root of the repository."`

	Update  updateCmd  `cmd:"" help:"Run studies, and write the text and the plots."`
	Write   writeCmd   `cmd:"" help:"Write the text and the plots from the existing results."`
	Check   checkCmd   `cmd:"" help:"Check that the text and the plots match the results."`
	Compare compareCmd `cmd:"" help:"Run studies again, and compare the figures and claims of the text with the new results."`
}

type environment struct {
	root           string
	stdout, stderr io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c cli
	parsed := kong.Parse(&c, kong.Name("figures"), kong.Description("Generates docs/performance.md from benchmark results."))
	parsed.BindTo(ctx, (*context.Context)(nil))
	err := parsed.Run(&environment{root: c.Root, stdout: os.Stdout, stderr: os.Stderr})
	switch {
	case errors.Is(err, errDiffers):
		os.Exit(1) //nolint:gocritic // nothing is left to stop
	case err != nil:
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
}

// paths are the locations of the results and the generated files.
type paths struct{ results, text, plots string }

func (e *environment) committed() paths {
	docs := filepath.Join(e.root, "docs")
	return paths{
		results: filepath.Join(e.root, "bench", "results"),
		text:    filepath.Join(docs, "performance.md"),
		plots:   filepath.Join(docs, "performance"),
	}
}

func within(dir string) paths {
	return paths{results: filepath.Join(dir, "results"), text: filepath.Join(dir, "performance.md"), plots: filepath.Join(dir, "performance")}
}

type updateCmd struct {
	Studies []string `arg:"" optional:"" help:"Studies to run (default: all)."`
	Quick   bool     `help:"Use small sizes: minutes instead of hours."`
	Out     string   `placeholder:"DIR" help:"Output folder of results, text and plots (default: the repository); required with --quick."`
}

func (cmd *updateCmd) Run(ctx context.Context, env *environment) error {
	to := env.committed()
	switch {
	case cmd.Out != "":
		to = within(cmd.Out)
	case cmd.Quick:
		return errors.New("--quick requires --out DIR, since the repository's text has the full sizes")
	}
	if err := measure(ctx, env, cmd.Studies, cmd.Quick, to.results); err != nil {
		return err
	}
	if err := write(env, to, cmd.Quick); err != nil {
		return fmt.Errorf("results are in %s, the text is unchanged: %w", to.results, err)
	}
	return nil
}

type writeCmd struct {
	From string `placeholder:"DIR" help:"Folder with a subfolder results, of any sizes; text and plots are written there (default: the repository)."`
}

func (cmd *writeCmd) Run(env *environment) error {
	if cmd.From != "" {
		return write(env, within(cmd.From), true)
	}
	return write(env, env.committed(), false)
}

type checkCmd struct{}

func (*checkCmd) Run(env *environment) error { return check(env) }

type compareCmd struct {
	Studies   []string `arg:"" optional:"" help:"Studies to run (default: all)."`
	Results   string   `placeholder:"DIR" help:"Compare with the results in this folder, without running studies."`
	Tolerance float64  `default:"0.3" help:"Maximum relative difference of a figure; times are corrected for the speed of the machine."`
}

func (cmd *compareCmd) Run(ctx context.Context, env *environment) error {
	dir := cmd.Results
	if dir == "" {
		temporary, err := os.MkdirTemp("", "figures-")
		if err != nil {
			return err
		}
		fmt.Fprintln(env.stderr, "writing results to", temporary)
		if err := measure(ctx, env, cmd.Studies, false, temporary); err != nil {
			return err
		}
		dir = temporary
	}
	return compare(env, dir, cmd.Tolerance)
}
