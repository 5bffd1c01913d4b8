package postgres

import "strings"

// Text makes any string one that PostgreSQL's text can hold: valid UTF-8 and no
// NUL. What it cannot hold becomes U+FFFD.
func Text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
