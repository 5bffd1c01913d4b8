package embedded

import "strings"

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
