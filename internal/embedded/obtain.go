package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// obtainable is the release that is downloaded for a major version.
func obtainable(major int) embeddedpostgres.PostgresVersion {
	switch major {
	case 15:
		return embeddedpostgres.V15
	case 16:
		return embeddedpostgres.V16
	case 17:
		return embeddedpostgres.V17
	default:
		return embeddedpostgres.V18
	}
}

// obtain downloads server programs into DIR/postgres/MAJOR, once. They are
// unpacked elsewhere and then renamed, so that a killed process leaves no half
// installation.
func (s *Server) obtain(ctx context.Context, major int) (programs, error) {
	target := filepath.Join(s.layout.path("postgres"), strconv.Itoa(major))
	bin := filepath.Join(target, "bin")
	if p, err := s.owner.inspect(ctx, bin); err == nil && p.major == major {
		return p, nil
	}
	s.config.Logger.InfoContext(ctx, "no installed PostgreSQL fits; downloading one", "version", string(obtainable(major)), "into", target)
	done := make(chan error, 1)
	go func() { done <- s.download(target, major) }() // the library cannot be interrupted
	var err error
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case err = <-done:
	}
	var p programs
	if err == nil {
		p, err = s.owner.inspect(ctx, bin)
	}
	if err == nil && p.major != major {
		err = fmt.Errorf("%w: it holds %d", ErrWrongVersion, p.major)
	}
	if err != nil {
		return programs{}, &Error{Op: "download the server programs into", Path: target, Err: err,
			Hint: installHint + ", or name another database with DATABASE_URL"}
	}
	return p, nil
}

// download has the library fetch and unpack. It offers no call for that alone:
// its Start goes on to make and start a cluster, as root in vain. So it is given
// a cluster's folder that os.RemoveAll refuses by contract, a path that ends in a
// dot: Start then fails right after the programs are in place. Whether they are
// is what counts, not how it failed.
func (s *Server) download(target string, major int) error {
	scratch, err := os.MkdirTemp(s.layout.dir, "download-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch) //nolint:errcheck // what stays behind is only a scratch folder
	unpacked := filepath.Join(scratch, "programs")
	config := embeddedpostgres.DefaultConfig().Version(obtainable(major)).Port(0).Logger(io.Discard).
		BinariesPath(unpacked).CachePath(filepath.Join(scratch, "cache")).
		RuntimePath(filepath.Join(scratch, "run")).DataPath(scratch + "/.")
	if s.config.DownloadURL != "" {
		config = config.BinaryRepositoryURL(s.config.DownloadURL)
	}
	startErr := embeddedpostgres.NewDatabase(config).Start()
	if startErr == nil {
		return errors.New("the library has started a server in a folder that cannot be one")
	}
	if _, err := os.Stat(filepath.Join(unpacked, "bin", "initdb")); err != nil {
		return errors.Join(startErr, err)
	}
	if err := readableByAll(unpacked); err != nil {
		return fmt.Errorf("open to the server's user: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Dir(target), 0o755); err != nil { //nolint:gosec // the server's user has to read it
		return err
	}
	if err := os.RemoveAll(target); err != nil {
		return err
	}
	return os.Rename(unpacked, target)
}

// readableByAll undoes what a strict umask does to unpacked programs.
func readableByAll(root string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm() | 0o444
		if entry.IsDir() || mode&0o100 != 0 {
			mode |= 0o111
		}
		return os.Chmod(path, mode)
	})
}
