package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// The majors that Tally is tested on.
const (
	oldestMajor = 15
	newestMajor = 18
)

// binaries are one installation's server programs.
type binaries struct {
	dir   string
	major int
}

func (b binaries) program(name string) string { return filepath.Join(b.dir, name) }

// installedPatterns are where Debian, Red Hat and Homebrew put them.
func installedPatterns() []string {
	return []string{
		"/usr/lib/postgresql/*/bin",
		"/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql@*/bin",
	}
}

// findBinaries looks for an installation, of the wanted major or, where that is
// 0, the newest supported one. Nothing is found is errNoBinaries.
func findBinaries(ctx context.Context, setting string, want int) (binaries, error) {
	if setting != "" {
		b, err := inspect(ctx, setting)
		if err != nil {
			return b, &Error{Op: "use the PostgreSQL programs", Path: setting, Err: err,
				Hint: fmt.Sprintf("name the folder that holds postgres and initdb, of version %d to %d", oldestMajor, newestMajor)}
		}
		if want != 0 && b.major != want {
			return b, wrongVersion(setting, want, []int{b.major})
		}
		return b, nil
	}
	var best binaries
	var seen []int
	for _, dir := range candidates(ctx) {
		b, err := inspect(ctx, dir)
		if err != nil {
			continue // not an installation that could serve
		}
		seen = append(seen, b.major)
		if (want == 0 && b.major > best.major) || (want != 0 && b.major == want && best.major == 0) {
			best = b
		}
	}
	switch {
	case best.major != 0:
		return best, nil
	case want != 0 && len(seen) > 0:
		return best, wrongVersion("", want, seen)
	}
	return best, errNoBinaries
}

var errNoBinaries = errors.New("no PostgreSQL server programs found")

func wrongVersion(path string, want int, seen []int) error {
	return &Error{Op: "find the PostgreSQL programs", Path: path,
		Err:  fmt.Errorf("the data folder was made by PostgreSQL %d, and found is %v", want, seen),
		Hint: fmt.Sprintf("install PostgreSQL %d, or choose another data folder", want)}
}

func candidates(ctx context.Context) []string {
	var dirs []string
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	dirs = append(dirs, filepath.SplitList(os.Getenv("PATH"))...)
	for _, pattern := range installedPatterns() {
		found, err := filepath.Glob(pattern)
		if err == nil {
			dirs = append(dirs, found...)
		}
	}
	return dirs
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// inspect says what an installation is. pg_config alone is no server: it comes
// with the client's packages too.
func inspect(ctx context.Context, dir string) (binaries, error) {
	if dir == "" {
		return binaries{}, errNoBinaries
	}
	for _, name := range []string{"postgres", "initdb"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return binaries{}, err
		}
		if info.IsDir() || info.Mode()&0o111 == 0 {
			return binaries{}, fmt.Errorf("%s is no program", filepath.Join(dir, name))
		}
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return binaries{}, fmt.Errorf("ask its version: %w", err)
	}
	match := versionPattern.FindSubmatch(out)
	if match == nil {
		return binaries{}, fmt.Errorf("ask its version: %q", out)
	}
	major, err := strconv.Atoi(string(match[1]))
	if err != nil || major < oldestMajor || major > newestMajor {
		return binaries{}, fmt.Errorf("version %s is not supported (%d to %d are)", match[1], oldestMajor, newestMajor)
	}
	return binaries{dir: dir, major: major}, nil
}
