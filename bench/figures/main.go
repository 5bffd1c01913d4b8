// Command figures keeps docs/performance.md true: its figures and plots are those
// that the benchmarks measured, and what it claims of them is checked.
//
//	go run ./bench/figures update            # measure everything, write text and plots
//	go run ./bench/figures update summary    # one study
//	go run ./bench/figures update --quick    # small sizes, into a folder of their own
//	go run ./bench/figures check             # do text and plots follow from the results?
//	go run ./bench/figures compare           # measure again: do the text's figures still match?
//
// The results are kept as go test printed them (bench/results), a form that
// benchstat reads. The text is performance.md.tmpl: a figure in it names its benchmark
// and unit, and a claim that the results do not bear out ends the writing with an
// error that names it.
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

// errDiffers ends a command that has said what does not match.
var errDiffers = errors.New("figures do not match")

type cli struct {
	Root string `default:"." type:"existingdir" help:"The checkout."`

	Update  updateCmd  `cmd:"" help:"Measure, and write the text and the plots."`
	Write   writeCmd   `cmd:"" help:"Write the text and the plots from the results that there are."`
	Check   checkCmd   `cmd:"" help:"Whether the text and the plots follow from the results."`
	Compare compareCmd `cmd:"" help:"Measure again, and hold the text's figures and claims against it."`
}

type environment struct {
	root           string
	stdout, stderr io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c cli
	parsed := kong.Parse(&c, kong.Name("figures"), kong.Description("Keeps docs/performance.md true."))
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

// places are where results are read and what is made of them is written.
type places struct{ results, text, plots string }

func (e *environment) committed() places {
	docs := filepath.Join(e.root, "docs")
	return places{
		results: filepath.Join(e.root, "bench", "results"),
		text:    filepath.Join(docs, "performance.md"),
		plots:   filepath.Join(docs, "performance"),
	}
}

func below(dir string) places {
	return places{results: filepath.Join(dir, "results"), text: filepath.Join(dir, "performance.md"), plots: filepath.Join(dir, "performance")}
}

type updateCmd struct {
	Studies []string `arg:"" optional:"" help:"The studies to measure; all without."`
	Quick   bool     `help:"Small sizes, minutes and not hours."`
	Out     string   `placeholder:"DIR" help:"Where results, text and plots go; needed with --quick, else the checkout."`
}

func (cmd *updateCmd) Run(ctx context.Context, env *environment) error {
	to := env.committed()
	switch {
	case cmd.Out != "":
		to = below(cmd.Out)
	case cmd.Quick:
		return errors.New("--quick needs --out DIR: the text of the checkout has the full sizes")
	}
	if err := measure(ctx, env, cmd.Studies, cmd.Quick, to.results); err != nil {
		return err
	}
	if err := write(env, to, cmd.Quick); err != nil {
		return fmt.Errorf("the results are kept in %s, the text is as it was: %w", to.results, err)
	}
	return nil
}

type writeCmd struct {
	From string `placeholder:"DIR" help:"Where results of any size lie in a folder results, and where text and plots go; default: the checkout."`
}

func (cmd *writeCmd) Run(env *environment) error {
	if cmd.From != "" {
		return write(env, below(cmd.From), true)
	}
	return write(env, env.committed(), false)
}

type checkCmd struct{}

func (*checkCmd) Run(env *environment) error { return check(env) }

type compareCmd struct {
	Studies   []string `arg:"" optional:"" help:"The studies to measure; all without."`
	Results   string   `placeholder:"DIR" help:"Compare with results measured before, without measuring."`
	Tolerance float64  `default:"0.3" help:"How far a figure may be off, as a share of the text's; times after the machine's speed is taken out."`
}

func (cmd *compareCmd) Run(ctx context.Context, env *environment) error {
	dir := cmd.Results
	if dir == "" {
		temporary, err := os.MkdirTemp("", "figures-")
		if err != nil {
			return err
		}
		fmt.Fprintln(env.stderr, "results go to", temporary)
		if err := measure(ctx, env, cmd.Studies, false, temporary); err != nil {
			return err
		}
		dir = temporary
	}
	return compare(env, dir, cmd.Tolerance)
}
