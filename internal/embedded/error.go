package embedded

import (
	"errors"
	"strings"
)

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
	var b strings.Builder
	b.WriteString("embedded PostgreSQL: " + e.Op)
	if e.Path != "" {
		b.WriteString(" " + e.Path)
	}
	b.WriteString(": " + e.Err.Error())
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
