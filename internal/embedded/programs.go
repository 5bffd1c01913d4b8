//go:build unix

package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// The major versions that Tally is tested with.
const (
	oldestMajor = 15
	newestMajor = 18
)

type programs struct {
	dir   string
	major int
}

func (p programs) path(name string) string { return filepath.Join(p.dir, name) }

func supported(major int) bool { return major >= oldestMajor && major <= newestMajor }

// Installed returns the major version that a new data folder would have: that of the
// programs in binDir or, if binDir is empty, of the newest installed programs. It
// returns ErrNotInstalled if there are none.
func Installed(ctx context.Context, binDir string) (int, error) {
	o, err := serverOwner("/")
	if err != nil {
		return 0, err
	}
	if binDir != "" {
		p, err := o.configured(ctx, binDir)
		return p.major, err
	}
	p, _ := o.newest(ctx, installedDirs(ctx), 0)
	if p.major == 0 {
		return 0, &Error{Op: "search for server programs", Err: ErrNotInstalled, Hint: installHint}
	}
	return p.major, nil
}

var installHint = fmt.Sprintf("install PostgreSQL %d to %d", oldestMajor, newestMajor)

// findPrograms selects the programs: those in the configured folder, otherwise installed
// ones, otherwise downloaded ones. want is the version of the cluster, 0 if there is none.
func (s *Server) findPrograms(ctx context.Context, want int) (err error) {
	if want != 0 && !supported(want) {
		return s.wrongVersion(want, fmt.Sprintf("supported versions: %d to %d", oldestMajor, newestMajor))
	}
	if s.config.BinDir != "" {
		s.programs, err = s.owner.configured(ctx, s.config.BinDir)
		if err == nil && want != 0 && s.programs.major != want {
			err = s.wrongVersion(want, fmt.Sprintf("%s has %d", s.config.BinDir, s.programs.major))
		}
		return err
	}
	var found []string
	if s.programs, found = s.owner.newest(ctx, s.config.binDirs(ctx), want); s.programs.major != 0 {
		return nil
	}
	if s.programs, err = s.obtain(ctx, cmp.Or(want, newestMajor)); err == nil || ctx.Err() != nil {
		return err
	}
	list := "found: " + cmp.Or(strings.Join(found, ", "), "none")
	if want != 0 {
		return errors.Join(err, s.wrongVersion(want, list))
	}
	return errors.Join(err, &Error{Op: "search for server programs", Err: fmt.Errorf("%w; %s", ErrNotInstalled, list), Hint: installHint})
}

func (s *Server) wrongVersion(want int, found string) error {
	return &Error{Op: "run the cluster in", Path: s.data(),
		Err:  fmt.Errorf("%w: the cluster requires PostgreSQL %d; %s", ErrWrongVersion, want, found),
		Hint: fmt.Sprintf("install PostgreSQL %d, or choose another data folder with --data", want)}
}

// installedDirs returns the folders that may contain installed programs: the folder that
// pg_config prints, the PATH, and the folders of Debian, Red Hat and Homebrew.
func installedDirs(ctx context.Context) []string {
	printed, _ := exec.CommandContext(ctx, "pg_config", "--bindir").Output()
	patterns := append([]string{strings.TrimSpace(string(printed))}, filepath.SplitList(os.Getenv("PATH"))...)
	patterns = append(patterns, "/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin")
	var dirs []string
	for _, pattern := range patterns {
		found, _ := filepath.Glob(pattern)
		for _, dir := range found {
			if dir = filepath.Clean(dir); filepath.IsAbs(dir) && !slices.Contains(dirs, dir) {
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs
}

// newest searches folders for the wanted major version or, if want is 0, for the newest
// supported one; best is zero if there is none. found describes all installations, for
// the error message.
func (o owner) newest(ctx context.Context, dirs []string, want int) (best programs, found []string) {
	for _, dir := range dirs {
		p, err := o.inspect(ctx, dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a folder with only client programs, such as pg_config
		}
		if err != nil {
			found = append(found, fmt.Sprintf("%s (%v)", dir, err))
			continue
		}
		found = append(found, fmt.Sprintf("%d in %s", p.major, dir))
		if (want == 0 && p.major > best.major) || (want == p.major && best.major == 0) {
			best = p
		}
	}
	return best, found
}

func (o owner) configured(ctx context.Context, dir string) (p programs, err error) {
	dir, err = filepath.Abs(dir)
	if err == nil {
		p, err = o.inspect(ctx, dir)
	}
	if err != nil {
		return programs{}, &Error{Op: "use the server programs in", Path: dir, Err: err,
			Hint: fmt.Sprintf("give the folder that contains postgres and initdb, version %d to %d", oldestMajor, newestMajor)}
	}
	return p, nil
}

// inspect returns the version of an installation. It runs postgres as the server's user,
// who may lack the permission.
func (o owner) inspect(ctx context.Context, dir string) (programs, error) {
	p := programs{dir: dir}
	for _, name := range []string{"postgres", "initdb"} {
		if _, err := os.Stat(p.path(name)); err != nil {
			return p, err
		}
	}
	command := o.command(ctx, p.path("postgres"), "--version")
	command.Dir = "/"
	out, err := command.Output()
	if errors.Is(err, fs.ErrPermission) {
		return p, errors.Join(o.checkAccess(ctx, dir), err)
	}
	if err != nil {
		return p, fmt.Errorf("read its version: %w", err)
	}
	if _, err := fmt.Sscanf(string(out), "postgres (PostgreSQL) %d", &p.major); err != nil {
		return p, fmt.Errorf("read its version from %q: %w", out, err)
	}
	if !supported(p.major) {
		return p, fmt.Errorf("%w: %d (%d to %d are supported)", ErrWrongVersion, p.major, oldestMajor, newestMajor)
	}
	return p, nil
}
