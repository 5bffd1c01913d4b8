//go:build unix

package embedded

import (
	"context"
	"crypto/sha256"
	_ "embed" // for checksums
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
	"golang.org/x/sys/unix"
)

// checksums has the SHA-256 of each archive that may be downloaded, as sha256sum prints
// them. It is changed together with the library's versions.
//
//go:embed checksums.txt
var checksums string

func downloadVersion(major int) embeddedpostgres.PostgresVersion {
	releases := []embeddedpostgres.PostgresVersion{embeddedpostgres.V15, embeddedpostgres.V16, embeddedpostgres.V17, embeddedpostgres.V18}
	return releases[major-oldestMajor]
}

// obtain downloads server programs into DIR/postgres/MAJOR unless they are there. It
// unpacks them into a temporary folder and renames that, so that a killed process
// leaves no incomplete installation.
func (s *Server) obtain(ctx context.Context, major int) (p programs, err error) {
	target := filepath.Join(s.path("postgres"), strconv.Itoa(major))
	bin := filepath.Join(target, "bin")
	if p, err = s.owner.inspect(ctx, bin); err == nil && p.major == major {
		return p, nil
	}
	s.config.Logger.InfoContext(ctx, "no suitable PostgreSQL is installed; downloading one", "version", string(downloadVersion(major)), "folder", target)
	done := make(chan error, 1)
	go func() { done <- s.install(target, major) }() // the library takes no context
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case err = <-done:
	}
	if err == nil {
		p, err = s.owner.inspect(ctx, bin)
	}
	if err != nil {
		return programs{}, &Error{Op: "download the server programs into", Path: target, Err: err,
			Hint: installHint + ", or set DATABASE_URL to use another database"}
	}
	return p, nil
}

// install downloads programs with the library, verifies them, and has the library unpack
// them. Its Start would do all at once and continue with initdb and a server; each of two
// calls is made to fail after the part that is wanted, so the result is determined by the
// files and not by the error of Start.
func (s *Server) install(target string, major int) error {
	var stat unix.Stat_t
	if err := unix.Stat(s.dir, &stat); err != nil {
		return err
	}
	if os.Geteuid() == 0 && stat.Uid != 0 {
		return errors.New("another user owns the data folder, and could replace what root writes")
	}
	scratch, err := os.MkdirTemp(s.dir, "download-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch) //nolint:errcheck // a leftover is only a scratch folder
	config := embeddedpostgres.DefaultConfig().Version(downloadVersion(major)).Port(0).Logger(io.Discard).
		CachePath(filepath.Join(scratch, "cache")).RuntimePath(filepath.Join(scratch, "run")).
		DataPath(scratch + "/.") // os.RemoveAll rejects the dot as documented, before initdb
	if s.config.DownloadURL != "" {
		config = config.BinaryRepositoryURL(s.config.DownloadURL)
	}
	// Nothing can be unpacked below a dangling link, so the download stays in the cache.
	dangling := filepath.Join(scratch, "dangling")
	if err := os.Symlink("nowhere", dangling); err != nil {
		return err
	}
	startErr := embeddedpostgres.NewDatabase(config.BinariesPath(filepath.Join(dangling, "programs"))).Start()
	if err := verify(filepath.Join(scratch, "cache"), s.config.checksums); err != nil {
		return errors.Join(err, startErr)
	}
	unpacked := filepath.Join(scratch, "programs")
	startErr = embeddedpostgres.NewDatabase(config.BinariesPath(unpacked)).Start()
	if _, err := os.Stat(filepath.Join(unpacked, "bin", "initdb")); err != nil {
		return errors.Join(startErr, err)
	}
	// A strict umask removed permissions that the server's user needs.
	if out, err := exec.CommandContext(context.Background(), "chmod", "-R", "a+rX", unpacked).CombinedOutput(); err != nil {
		return fmt.Errorf("make the programs readable for the server's user: %w: %s", err, out)
	}
	return errors.Join(mkdirAll(filepath.Dir(target)), os.RemoveAll(target), os.Rename(unpacked, target))
}

// verify compares the downloaded archive with its checksum. The archive's name has its
// version and platform.
func verify(cache, checksums string) error {
	archives, err := filepath.Glob(filepath.Join(cache, "*.txz"))
	if err != nil || len(archives) != 1 {
		return errors.Join(errors.New("nothing was downloaded"), err)
	}
	content, err := os.ReadFile(archives[0])
	if err != nil {
		return err
	}
	name, sum := filepath.Base(archives[0]), sha256.Sum256(content)
	for line := range strings.Lines(checksums) {
		want, of, _ := strings.Cut(strings.TrimSpace(line), "  ")
		switch {
		case of != name:
		case want == hex.EncodeToString(sum[:]):
			return nil
		default:
			return fmt.Errorf("%w: %s has the SHA-256 %x, not %s", ErrUnverified, name, sum, want)
		}
	}
	return fmt.Errorf("%w: Tally has no checksum of %s", ErrUnverified, name)
}
