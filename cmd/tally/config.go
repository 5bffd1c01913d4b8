package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/opentax/tally/api"
	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/jobs"
	"github.com/opentax/tally/jobs/notify"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/transform"
)

const (
	configName = "tally.yaml"
	inboxName  = "inbox"
)

// config is the settings file.
type config struct {
	TimeZone     string            `yaml:"time_zone"`      // of midnight; default UTC
	CatchUp      string            `yaml:"catch_up"`       // all, latest or none
	CatchUpLimit *int              `yaml:"catch_up_limit"` // of missed nights
	Verify       string            `yaml:"verify"`         // nightly (default) or off
	Currency     string            `yaml:"currency"`       // of all amounts, such as EUR
	Sources      []pipeline.Source `yaml:"sources"`        // default: the folder inbox in the data folder
	RateLimit    api.RateLimit     `yaml:"rate_limit"`     // of the API
	MaxStaleness time.Duration     `yaml:"max_staleness"`  // of answers from read replicas; default 1m
	Export       struct {
		To bucket.Location `yaml:"to"` // a folder or a URL; default: no export
	} `yaml:"export"` // after each run
	Retention jobs.Retention `yaml:"retention"` // of records, such as 400d; default: for good
	Notify    notify.Config  `yaml:"notify"`    // about alerts; default: no one
}

// settings are the settings file's, checked.
type settings struct {
	jobs      jobs.Config
	rateLimit api.RateLimit
	staleness time.Duration
}

// loadConfig reads the named settings file, or the data folder's if there is one. An
// error of a setting shows its line.
func (c *cli) loadConfig() (made settings, err error) {
	dir, err := c.dataDir()
	if err != nil {
		return made, err
	}
	path := cmp.Or(c.Config, filepath.Join(dir, configName))
	content, err := os.ReadFile(path)
	if err != nil && (c.Config != "" || !errors.Is(err, fs.ErrNotExist)) {
		return made, usageError{fmt.Errorf("settings: %w", err)}
	}
	read, err := parseConfig(content)
	if len(read.Sources) == 0 {
		read.Sources = []pipeline.Source{{Name: inboxName, Path: bucket.Path(filepath.Join(dir, inboxName))}}
	}
	if err == nil {
		made.jobs, err = read.jobs()
	}
	if limitErr := read.RateLimit.Check(); err == nil && limitErr != nil {
		err = fmt.Errorf("rate_limit: %w", limitErr)
	}
	if err == nil {
		made.staleness, err = read.staleness()
	}
	if err != nil {
		return made, usageError{fmt.Errorf("settings %s: %w", path, redactSecrets(err))}
	}
	made.rateLimit = read.RateLimit
	return made, nil
}

func parseConfig(content []byte) (config, error) {
	var c config
	err := yaml.NewDecoder(bytes.NewReader(content), yaml.DisallowUnknownField()).Decode(&c)
	if errors.Is(err, io.EOF) {
		err = nil // an empty file has no settings
	}
	return c, err
}

func (c config) jobs() (jobs.Config, error) {
	zone, err := time.LoadLocation(c.TimeZone) // "" is UTC
	if err != nil {
		return jobs.Config{}, fmt.Errorf("time_zone: %w", err)
	}
	made := jobs.Config{TimeZone: zone, CatchUp: jobs.CatchUp(c.CatchUp), Verify: jobs.VerifyPolicy(c.Verify), CodeVersion: codeVersion(), Currency: c.Currency, Retention: c.Retention}
	if err := made.CatchUp.Check(); err != nil {
		return made, fmt.Errorf("catch_up %w", err)
	}
	if err := made.Verify.Check(); err != nil {
		return made, fmt.Errorf("verify %w", err)
	}
	if c.CatchUpLimit != nil {
		if made.CatchUpLimit = *c.CatchUpLimit; made.CatchUpLimit < 1 {
			return made, fmt.Errorf("catch_up_limit is %d, want at least 1", made.CatchUpLimit)
		}
	}
	if made.ExportTo, err = c.Export.To.Abs(); err != nil {
		return made, fmt.Errorf("export: to %w", err)
	}
	if err := expandSecrets(&c.Notify); err != nil {
		return made, fmt.Errorf("notify: %w", err)
	}
	if _, err := c.Notify.Channels(); err != nil {
		return made, fmt.Errorf("notify: %w", err)
	}
	made.Notify = c.Notify
	if err := (transform.Rules{Currency: c.Currency}).Check(); err != nil {
		return made, err
	}
	if err := pipeline.CheckSources(c.Sources); err != nil {
		return made, err
	}
	for _, s := range c.Sources {
		s.Rules.Currency = c.Currency
		// The ledger has absolute paths.
		if s.Path, err = s.Path.Abs(); err != nil {
			return made, fmt.Errorf("source %s: path: %w", s.Name, err)
		}
		made.Sources = append(made.Sources, s)
	}
	return made, nil
}

// dataDir is the absolute path of the data folder.
func (c *cli) dataDir() (string, error) {
	dir, err := c.Data, error(nil)
	if dir == "" {
		dir, err = defaultDataDir()
	}
	if err != nil {
		return "", usageError{fmt.Errorf("data folder: %w (name one with --data)", err)}
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", fmt.Errorf("data folder: %w", err)
	}
	return dir, nil
}

// defaultDataDir is outside /root for root: PostgreSQL runs as another user, who cannot
// enter /root.
func defaultDataDir() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/lib/tally", nil
	}
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "tally"), nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".local", "share", "tally"), err
}
