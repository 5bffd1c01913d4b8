//go:build unix

package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// downloadVersion returns the release to download for a supported major version.
func downloadVersion(major int) embeddedpostgres.PostgresVersion {
	releases := []embeddedpostgres.PostgresVersion{embeddedpostgres.V15, embeddedpostgres.V16, embeddedpostgres.V17, embeddedpostgres.V18}
	return releases[major-oldestMajor]
}

// obtain downloads server programs into DIR/postgres/MAJOR unless they are there. It
// unpacks them into a temporary folder and renames that, so that a killed process
// leaves no incomplete installation.
func (s *Server) obtain(ctx context.Context, major int) (programs, error) {
	target := filepath.Join(s.path("postgres"), strconv.Itoa(major))
	bin := filepath.Join(target, "bin")
	if p, err := s.owner.inspect(ctx, bin); err == nil && p.major == major {
		return p, nil
	}
	s.config.Logger.InfoContext(ctx, "no suitable PostgreSQL is installed; downloading one", "version", string(downloadVersion(major)), "folder", target)
	done := make(chan error, 1)
	go func() { done <- s.download(target, major) }() // the library takes no context
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
	if err != nil {
		return programs{}, &Error{Op: "download the server programs into", Path: target, Err: err,
			Hint: installHint + ", or set DATABASE_URL to use another database"}
	}
	return p, nil
}

// download uses the library to download and unpack the programs. The library has no
// call for that: its Start continues with initdb and a server, which fails for root.
// So its data path ends in a dot, which os.RemoveAll rejects as documented: Start then
// fails right after it has unpacked the programs. Success is determined by the
// programs, not by the error of Start.
func (s *Server) download(target string, major int) error {
	scratch, err := os.MkdirTemp(s.dir, "download-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch) //nolint:errcheck // a leftover is only a scratch folder
	unpacked := filepath.Join(scratch, "programs")
	config := embeddedpostgres.DefaultConfig().Version(downloadVersion(major)).Port(0).Logger(io.Discard).
		BinariesPath(unpacked).CachePath(filepath.Join(scratch, "cache")).
		RuntimePath(filepath.Join(scratch, "run")).DataPath(scratch + "/.")
	if s.config.DownloadURL != "" {
		config = config.BinaryRepositoryURL(s.config.DownloadURL)
	}
	startErr := embeddedpostgres.NewDatabase(config).Start()
	if startErr == nil {
		return errors.New("the library started a server in an invalid folder")
	}
	if _, err := os.Stat(filepath.Join(unpacked, "bin", "initdb")); err != nil {
		return errors.Join(startErr, err)
	}
	// A strict umask removed permissions that the server's user needs.
	if out, err := exec.CommandContext(context.Background(), "chmod", "-R", "a+rX", unpacked).CombinedOutput(); err != nil {
		return fmt.Errorf("make the programs readable for the server's user: %w: %s", err, out)
	}
	if err := mkdirAll(filepath.Dir(target)); err != nil {
		return err
	}
	if err := os.RemoveAll(target); err != nil {
		return err
	}
	return os.Rename(unpacked, target)
}
