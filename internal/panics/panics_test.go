package panics_test

import (
	"bytes"
	"io"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/panics"
)

func TestRecover(t *testing.T) {
	t.Parallel()
	try := func(f func() error) (err error) {
		defer panics.Recover(&err)
		return f()
	}
	require.NoError(t, try(func() error { return nil }))
	require.Equal(t, io.EOF, try(func() error { return io.EOF }))
	var p *panics.Panic
	require.ErrorAs(t, try(func() error { panic("at the disco") }), &p)
	require.EqualError(t, p, "panic: at the disco")
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Error("failed", "error", error(p))
	assert.Contains(t, log.String(), "at the disco")
	assert.Contains(t, log.String(), "TestRecover", "where it panicked")
}
