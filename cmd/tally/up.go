package main

import (
	"context"
	"errors"
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
	Listen string `default:"127.0.0.1:8080" env:"TALLY_LISTEN" placeholder:"ADDR" help:"Address of the API. A non-loopback address needs a token: tally token add."`
	Open   bool   `env:"TALLY_OPEN" help:"Allow a non-loopback address without a token, for an API that others cannot reach, such as in a container whose port is published to 127.0.0.1 only."`
}

type upCmd struct {
	listenFlags
	Sample bool `help:"Have the workers load a generated sample first."`
}

func (cmd upCmd) Run(ctx context.Context, env *environment) error {
	return env.runApplication(ctx, parts{listenFlags: cmd.listenFlags, migrate: true, work: true, sample: cmd.Sample})
}

type serveCmd struct{ listenFlags }

func (cmd serveCmd) Run(ctx context.Context, env *environment) error {
	return env.runApplication(ctx, parts{listenFlags: cmd.listenFlags, migrate: true})
}

type workCmd struct{}

func (workCmd) Run(ctx context.Context, env *environment) error {
	return env.runApplication(ctx, parts{migrate: true, work: true})
}

// enqueueSample writes the sample to the data folder and gives it to the workers. It has
// the same bytes each time, so that it is loaded once.
func (a *application) enqueueSample(ctx context.Context) (jobs.Queued, error) {
	dir, err := a.dataDir()
	if err != nil {
		return jobs.Queued{}, err
	}
	path := filepath.Join(dir, sampleFileName)
	if err := writeSample(ctx, path); err != nil {
		return jobs.Queued{}, fmt.Errorf("sample: %w", err)
	}
	return a.jobs.Enqueue(ctx, jobs.RunRequest{Paths: []bucket.Location{bucket.Path(path)}, RequestedBy: requestedBy()})
}

// awaitSample prints the result of the sample's run. An interrupted run continues when
// the workers start again.
func (a *application) awaitSample(ctx context.Context, sample jobs.Queued) error {
	result, err := a.jobs.Await(ctx, sample)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	if len(result.Files) > 0 {
		err = errors.Join(err, a.printRun(result))
	}
	return err
}

func writeSample(ctx context.Context, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	err = errors.Join(synthetic.Write(ctx, file, synthetic.File{Rows: sampleRows, Users: sampleUsers, Seed: 1}), file.Close())
	settled := time.Now().Add(-time.Minute) // it is whole
	return errors.Join(err, os.Chtimes(path, settled, settled))
}

type healthCmd struct {
	URL string `default:"http://127.0.0.1:8080/readyz" help:"URL of the check."`
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
