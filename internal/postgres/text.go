package postgres

import (
	"bytes"
	"strings"
)

// Text makes any string one that PostgreSQL's text can hold: valid UTF-8 and no
// NUL. What it cannot hold becomes U+FFFD.
func Text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// JSON does to a JSON document what [Text] does to a string: jsonb refuses an escaped
// NUL.
func JSON(doc []byte) []byte { return bytes.ReplaceAll(doc, []byte(`\u0000`), []byte(`\ufffd`)) }
