package sqlfile_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/opentax/tally/internal/sqlfile"
)

func TestParse(t *testing.T) {
	t.Parallel()
	s := sqlfile.Parse("-- name: a\nSELECT 1;\n\n-- name: b\n-- why\nSELECT {{column}} FROM {{table}};\n")
	assert.Equal(t, "SELECT 1;", s.Get("a"))
	assert.Equal(t, "-- why\nSELECT x FROM y;", s.Get("b", "column", "x", "table", "y"))
	assert.Panics(t, func() { s.Get("c") }, "unknown name")
	assert.Panics(t, func() { s.Get("b", "column", "x") }, "missing placeholder")
	assert.Panics(t, func() { sqlfile.Parse("-- name: a\n1\n-- name: a\n2\n") }, "repeated name")
	assert.Panics(t, func() { sqlfile.Parse("SELECT 1;\n-- name: a\n") }, "text before the first name")
}
