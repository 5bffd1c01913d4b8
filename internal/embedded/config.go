package embedded

import (
	"context"
	"errors"
	"log/slog"
	"strings"
)

// Config configures a server. Only Dir is required.
type Config struct {
	// Dir is the data folder. It is created if it is missing.
	Dir string
	// BinDir is the folder of the programs postgres and initdb. If it is empty,
	// Start searches for installed programs, and downloads them if none fit.
	BinDir string
	// DownloadURL is the repository to download from. Default: the library's.
	DownloadURL string
	// Settings are additional server parameters, for tests. They apply only if this
	// call starts the server.
	Settings map[string]string
	// Logger receives messages about waits and downloads. Default: discard.
	Logger *slog.Logger

	binDirs func(context.Context) []string // folders to search for programs; set by tests
}

var (
	// ErrNotInstalled means that no server programs were found or downloaded.
	ErrNotInstalled = errors.New("no PostgreSQL server programs found")
	// ErrWrongVersion means that the programs found cannot run the cluster.
	ErrWrongVersion = errors.New("wrong version of PostgreSQL")
	// ErrNoAccess means that the server's user has no access to a required folder.
	ErrNoAccess = errors.New("permission denied for the server's user")
	// ErrUnsupported means that there is no embedded server on this system.
	ErrUnsupported = errors.New("the embedded server is not supported on this system")
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
