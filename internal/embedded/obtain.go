package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// obtainedVersion is what is downloaded where nothing is installed.
const obtainedVersion = embeddedpostgres.V18

// obtain downloads server programs into DIR/postgres, once. The library has no
// call for that alone: its Start unpacks them and then runs initdb, which fails
// for root, and that is as good. What counts is whether the programs are there.
func obtain(ctx context.Context, dir, repository string) (binaries, error) {
	target := filepath.Join(dir, "postgres")
	bin := filepath.Join(target, "bin")
	if b, err := inspect(ctx, bin); err == nil {
		return b, nil
	}
	scratch, err := os.MkdirTemp(dir, "obtain-")
	if err != nil {
		return binaries{}, err
	}
	defer os.RemoveAll(scratch) //nolint:errcheck // what stays behind is only a scratch folder
	port, err := freePort(ctx)
	if err != nil {
		return binaries{}, err
	}
	config := embeddedpostgres.DefaultConfig().Version(obtainedVersion).Port(port).
		BinariesPath(target).CachePath(filepath.Join(dir, "download")).
		RuntimePath(filepath.Join(scratch, "run")).DataPath(filepath.Join(scratch, "data")).
		StartTimeout(time.Minute).Logger(io.Discard)
	if repository != "" {
		config = config.BinaryRepositoryURL(repository)
	}
	server := embeddedpostgres.NewDatabase(config)
	startErr := server.Start()
	if startErr == nil {
		if err := server.Stop(); err != nil {
			return binaries{}, fmt.Errorf("stop the trial server: %w", err)
		}
	}
	b, err := inspect(ctx, bin)
	if err != nil {
		return b, &Error{Op: "download the PostgreSQL programs into", Path: target, Err: errors.Join(startErr, err),
			Hint: "install PostgreSQL 15 to 18, or name another database with DATABASE_URL"}
	}
	return b, openToAll(target)
}

// openToAll lets the server's user read and run what root has unpacked.
func openToAll(root string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm() | 0o044
		if mode&0o100 != 0 {
			mode |= 0o011
		}
		return os.Chmod(path, mode)
	})
}

func freePort(ctx context.Context) (uint32, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	address, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("find a free port: %v is no TCP address", l.Addr())
	}
	return uint32(address.Port), l.Close() //nolint:gosec // a port fits
}
