package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The majors that Tally is tested on.
const (
	oldestMajor = 15
	newestMajor = 18
)

// programs are one installation's server programs.
type programs struct {
	dir   string
	major int
}

func (p programs) path(name string) string { return filepath.Join(p.dir, name) }

func supported(major int) bool { return major >= oldestMajor && major <= newestMajor }

// Installed is the major version of the programs in binDir, or where that is ""
// of the newest installed ones: what a new data folder would get. Without any it
// is ErrNotInstalled.
func Installed(ctx context.Context, binDir string) (int, error) {
	o, err := serverOwner("")
	if err != nil {
		return 0, err
	}
	if binDir != "" {
		p, err := o.configured(ctx, binDir)
		return p.major, err
	}
	p, _ := o.newest(ctx, installedPlaces(ctx), 0)
	if p.major == 0 {
		return 0, &Error{Op: "look for server programs", Err: ErrNotInstalled, Hint: installHint}
	}
	return p.major, nil
}

var installHint = fmt.Sprintf("install PostgreSQL %d to %d", oldestMajor, newestMajor)

// findPrograms chooses the programs: those that the setting names, else installed
// ones, else downloaded ones; of the cluster's version where there is a cluster.
func (s *Server) findPrograms(ctx context.Context) error {
	want, err := s.clusterMajor()
	if err != nil {
		return err
	}
	if want != 0 && !supported(want) {
		return s.wrongVersion(want, "supported are "+strconv.Itoa(oldestMajor)+" to "+strconv.Itoa(newestMajor))
	}
	if s.config.BinDir != "" {
		if s.programs, err = s.owner.configured(ctx, s.config.BinDir); err != nil {
			return err
		}
		if want != 0 && s.programs.major != want {
			return s.wrongVersion(want, fmt.Sprintf("%s has %d", s.config.BinDir, s.programs.major))
		}
		return nil
	}
	var found []string
	if s.programs, found = s.owner.newest(ctx, s.config.places(ctx), want); s.programs.major != 0 {
		return nil
	}
	version := want
	if version == 0 {
		version = newestMajor
	}
	if s.programs, err = s.obtain(ctx, version); err == nil || ctx.Err() != nil {
		return err
	}
	if want == 0 {
		return errors.Join(err, &Error{Op: "look for server programs", Err: fmt.Errorf("%w; found: %s", ErrNotInstalled, list(found)), Hint: installHint})
	}
	return errors.Join(err, s.wrongVersion(want, "found: "+list(found)))
}

func list(found []string) string {
	if len(found) == 0 {
		return "none"
	}
	return strings.Join(found, ", ")
}

func (s *Server) wrongVersion(want int, found string) error {
	return &Error{Op: "run the cluster in", Path: s.layout.data(),
		Err:  fmt.Errorf("%w: it was made by PostgreSQL %d; %s", ErrWrongVersion, want, found),
		Hint: fmt.Sprintf("install PostgreSQL %d, or choose another data folder with --data", want)}
}

// installedPlaces are the folders where installed programs may be: what pg_config
// says, the PATH, and where Debian, Red Hat and Homebrew put them.
func installedPlaces(ctx context.Context) []string {
	var dirs []string
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	dirs = append(dirs, filepath.SplitList(os.Getenv("PATH"))...)
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin",
	} {
		if found, err := filepath.Glob(pattern); err == nil {
			dirs = append(dirs, found...)
		}
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(dirs, func(dir string) bool {
		skip := !filepath.IsAbs(dir) || seen[filepath.Clean(dir)]
		seen[filepath.Clean(dir)] = true
		return skip
	})
}

// newest looks through folders for the wanted major or, where that is 0, for the
// newest supported one; zero where there is none. What it saw is for the message.
func (o owner) newest(ctx context.Context, dirs []string, want int) (best programs, found []string) {
	for _, dir := range dirs {
		p, err := o.inspect(ctx, dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // pg_config alone is no server: it comes with the client's packages too
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

// configured are the programs in a folder that was named.
func (o owner) configured(ctx context.Context, dir string) (programs, error) {
	dir, err := filepath.Abs(dir)
	if err == nil {
		var p programs
		if p, err = o.inspect(ctx, dir); err == nil {
			return p, nil
		}
	}
	return programs{}, &Error{Op: "use the server programs in", Path: dir, Err: err,
		Hint: fmt.Sprintf("name the folder that holds postgres and initdb, of version %d to %d", oldestMajor, newestMajor)}
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// inspect says what an installation is. It is asked as the server's user, who may
// not be able to run what we can.
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
		return p, errors.Join(o.mayEnter(ctx, dir), err)
	}
	if err != nil {
		return p, fmt.Errorf("ask its version: %w", err)
	}
	match := versionPattern.FindSubmatch(out)
	if match == nil {
		return p, fmt.Errorf("ask its version: it says %q", out)
	}
	if p.major, err = strconv.Atoi(string(match[1])); err != nil || !supported(p.major) {
		return p, fmt.Errorf("%w: %s (%d to %d are supported)", ErrWrongVersion, match[1], oldestMajor, newestMajor)
	}
	return p, nil
}
