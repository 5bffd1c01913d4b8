package embedded

import (
	"context"
	"errors"
	"log/slog"
	"strings"
)

// Config configures a server. Only Dir is required.
type Config struct {
	Dir         string            // the data folder, created if it is missing
	BinDir      string            // of the programs; default: installed ones, downloaded if none fit
	DownloadURL string            // the repository to download from; default: the library's
	Settings    map[string]string // server parameters, for tests; they apply only if this call starts the server
	Standby     bool              // the cluster is a standby, which stays in recovery; for tests
	Logger      *slog.Logger      // of waits and downloads; default: discard

	binDirs   func(context.Context) []string // folders to search for programs; set by tests
	checksums string                         // of downloads; set by tests
}

// Causes of an [Error].
var (
	ErrNotInstalled = errors.New("no PostgreSQL server programs found")
	ErrWrongVersion = errors.New("wrong version of PostgreSQL") // the programs found cannot run the cluster
	ErrUnverified   = errors.New("the download is not a known release of PostgreSQL")
	ErrNoAccess     = errors.New("permission denied for the server's user")
	ErrUnsupported  = errors.New("the embedded server is not supported on this system")
)

// Error describes a failed operation of the embedded server.
type Error struct {
	Op   string // the operation
	Path string // the file or folder, if any
	Err  error
	Hint string // suggested fix, if any
}

func (e *Error) Error() string {
	text := strings.TrimSpace("embedded PostgreSQL: "+e.Op+" "+e.Path) + ": " + e.Err.Error()
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// failed returns an [*Error] if err is not nil.
func failed(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Path: path, Err: err}
}
