package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/jobs"
	"github.com/opentax/tally/pipeline/synthetic"
)

const (
	sampleRows     = 10_000
	sampleUsers    = 1_000
	sampleFileName = "sample.csv"
)

type listenFlags struct {
	Listen string `default:"127.0.0.1:8080" env:"TALLY_LISTEN" placeholder:"ADDR" help:"Address of the API. One beyond this machine needs a token: tally token add."`
	Open   bool   `env:"TALLY_OPEN" help:"Listen beyond this machine without any token as well; for where something else keeps others out, as a container's port does that is published to 127.0.0.1 alone."`
}

type upCmd struct {
	listenFlags
	Sample bool `help:"Load a generated sample first."`
}

func (cmd upCmd) Run(ctx context.Context, env *environment) error {
	return env.runApplication(ctx, parts{listenFlags: cmd.listenFlags, work: true, sample: cmd.Sample})
}

type serveCmd struct{ listenFlags }

func (cmd serveCmd) Run(ctx context.Context, env *environment) error {
	return env.runApplication(ctx, parts{listenFlags: cmd.listenFlags})
}

type workCmd struct{}

func (workCmd) Run(ctx context.Context, env *environment) error {
	return env.runApplication(ctx, parts{work: true})
}

// loadSample generates the sample into the data folder and loads it. The same
// bytes every time, so the second time finds it loaded.
func (a *application) loadSample(ctx context.Context) error {
	dir, err := a.dataDir()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, sampleFileName)
	if err := writeSample(ctx, path); err != nil {
		return fmt.Errorf("sample: %w", err)
	}
	return a.process(ctx, a.jobs, jobs.RunRequest{Paths: []bucket.Location{bucket.Path(path)}, RequestedBy: requestedBy()}, a.printText)
}

func writeSample(ctx context.Context, path string) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer closing(&err, file.Close)
	return synthetic.Write(ctx, file, synthetic.File{Rows: sampleRows, Users: sampleUsers, Seed: 1})
}

type healthCmd struct {
	URL string `default:"http://127.0.0.1:8080/readyz" help:"What to ask."`
}

const healthTimeout = 5 * time.Second

func (cmd healthCmd) Run(ctx context.Context, env *environment) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, cmd.URL, http.NoBody)
	if err != nil {
		return usageError{fmt.Errorf("--url: %w", err)}
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	fmt.Fprintln(env.stdout, response.Status)
	if err := response.Body.Close(); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errFailed
	}
	return nil
}
