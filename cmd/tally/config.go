package main

import (
	"bytes"
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
	"github.com/opentax/tally/pipeline"
)

const (
	configName = "tally.yaml"
	inboxName  = "inbox"
)

// config is the settings file.
type config struct {
	TimeZone     string            `yaml:"time_zone"`      // of midnight; default UTC
	CatchUp      string            `yaml:"catch_up"`       // all, latest or none
	CatchUpLimit *int              `yaml:"catch_up_limit"` // at most so many missed nights
	Sources      []pipeline.Source `yaml:"sources"`        // default: the folder inbox in the data folder
	RateLimit    api.RateLimit     `yaml:"rate_limit"`     // of the API
	Export       exportConfig      `yaml:"export"`         // after each run
}

// exportConfig says where runs export to.
type exportConfig struct {
	To bucket.Location `yaml:"to"` // a folder or a URL; default: nowhere
}

// settings are what a settings file says, in the words of those whom it concerns.
type settings struct {
	jobs      jobs.Config
	rateLimit api.RateLimit
}

// loadConfig reads the settings file that was named, or the one in the data
// folder where there is one. An unknown or wrong setting is an error that shows
// its line.
func (c *cli) loadConfig() (settings, error) {
	dir, err := c.dataDir()
	if err != nil {
		return settings{}, err
	}
	path := c.Config
	if path == "" {
		path = filepath.Join(dir, configName)
	}
	content, err := os.ReadFile(path)
	if err != nil && (c.Config != "" || !errors.Is(err, fs.ErrNotExist)) {
		return settings{}, usageError{fmt.Errorf("settings: %w", err)}
	}
	read, err := parseConfig(content)
	if err != nil {
		return settings{}, usageError{fmt.Errorf("settings %s: %w", path, err)}
	}
	if len(read.Sources) == 0 {
		read.Sources = []pipeline.Source{{Name: inboxName, Path: bucket.Path(filepath.Join(dir, inboxName))}}
	}
	made, err := read.settings()
	if err != nil {
		return settings{}, usageError{fmt.Errorf("settings %s: %w", path, err)}
	}
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

func (c config) settings() (settings, error) {
	if err := c.RateLimit.Check(); err != nil {
		return settings{}, fmt.Errorf("rate_limit: %w", err)
	}
	made, err := c.jobs()
	return settings{jobs: made, rateLimit: c.RateLimit}, err
}

func (c config) jobs() (jobs.Config, error) {
	zone, err := time.LoadLocation(c.TimeZone) // "" is UTC
	if err != nil {
		return jobs.Config{}, fmt.Errorf("time_zone: %w", err)
	}
	made := jobs.Config{TimeZone: zone, CatchUp: jobs.CatchUp(c.CatchUp), CodeVersion: codeVersion()}
	if err := made.CatchUp.Check(); err != nil {
		return made, fmt.Errorf("catch_up %w", err)
	}
	if c.CatchUpLimit != nil {
		if made.CatchUpLimit = *c.CatchUpLimit; made.CatchUpLimit < 1 {
			return made, fmt.Errorf("catch_up_limit is %d, want at least 1", made.CatchUpLimit)
		}
	}
	if made.ExportTo, err = c.Export.To.Abs(); err != nil {
		return made, fmt.Errorf("export: to %w", err)
	}
	if err := pipeline.CheckSources(c.Sources); err != nil {
		return made, err
	}
	for _, s := range c.Sources {
		// The ledger names files by their whole path, wherever Tally was started.
		if s.Path, err = s.Path.Abs(); err != nil {
			return made, fmt.Errorf("source %s: path: %w", s.Name, err)
		}
		made.Sources = append(made.Sources, s)
	}
	return made, nil
}

// dataDir is the data folder. Root gets one that an unprivileged user can reach,
// since PostgreSQL does not run as root and /root is closed to others.
func (c *cli) dataDir() (string, error) {
	dir := c.Data
	if dir == "" {
		var err error
		if dir, err = defaultDataDir(); err != nil {
			return "", usageError{fmt.Errorf("data folder: %w (name one with --data)", err)}
		}
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("data folder: %w", err)
	}
	return abs, nil
}

func defaultDataDir() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/lib/tally", nil
	}
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "tally"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(home, ".local", "share", "tally"), nil
}
