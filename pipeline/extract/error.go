package extract

import (
	"slices"
	"strconv"
	"strings"
)

// Codes of a FileError.
const (
	CodeNotFound       = "not_found"       // there is no such file
	CodeUnreadable     = "unreadable"      // it cannot be opened or read, or is no regular file
	CodeEmptyFile      = "empty_file"      // it has no header line
	CodeBadHeader      = "bad_header"      // its header line cannot be split into names
	CodeMissingColumn  = "missing_column"  // its header lacks a required column
	CodeRepeatedColumn = "repeated_column" // its header has a required column twice
	CodeMixedLineEnds  = "mixed_line_ends" // its lines end with CR, and one with LF
	CodeUnsupported    = "unsupported"     // it is a workbook, or an archive of something other than one file
	CodeTruncated      = "truncated"       // its compressed content is cut short
	CodeCorrupt        = "corrupt"         // its compressed content is damaged
	CodeFileChanged    = "file_changed"    // it changed while it was read
)

// FileError is why a whole file fails, whatever its rows. It is a fact about
// the file: reading it again does not help until someone has fixed it.
type FileError struct {
	Path   string // the file, if known
	Line   int64  // the line at fault, 0: none in particular
	Column string // the columns at fault, if any
	Code   string // one of the Code constants, or of a later stage's
	Detail string // what was found
	Hint   string // what to do about it
	Err    error  // the cause, if another error was one
}

// Error is one line: path, place, code, detail, cause and hint.
func (e *FileError) Error() string {
	parts := []string{e.Path, "", strings.TrimSpace(e.Code + " " + e.Column), e.Detail, ""}
	if e.Line > 0 {
		parts[1] = "line " + strconv.FormatInt(e.Line, 10)
	}
	if e.Err != nil {
		parts[4] = e.Err.Error()
	}
	text := strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), ": ")
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// Unwrap is the cause, if another error was one.
func (e *FileError) Unwrap() error { return e.Err }
