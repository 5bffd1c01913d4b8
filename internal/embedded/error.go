package embedded

import (
	"errors"
	"strings"
)

var (
	// ErrNotInstalled says that no server programs were found, and that none
	// could be had.
	ErrNotInstalled = errors.New("no PostgreSQL server programs found")
	// ErrWrongVersion says that the programs there are cannot run the data folder.
	ErrWrongVersion = errors.New("the wrong version of PostgreSQL")
	// ErrNoAccess says that the server's user may not enter a folder it needs.
	ErrNoAccess = errors.New("the server's user may not enter it")
	// ErrUnsupported says that this system has no embedded server at all.
	ErrUnsupported = errors.New("the embedded server is not supported on this system")
)

// Error is what went wrong with the embedded server, where, and what to do.
type Error struct {
	Op   string // what was being done
	Path string // the file or folder, if any
	Err  error
	Hint string // what to do about it, if known
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

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }
