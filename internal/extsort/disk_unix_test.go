//go:build unix

package extsort

import (
	"encoding/binary"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A disk that is full, a real one, is told with the setting that names another.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skip("a small disk cannot be mounted:", err, string(out))
	}
	t.Cleanup(func() { assert.NoError(t, exec.Command("umount", "-l", dir).Run()) })
	t.Setenv("TMPDIR", dir)
	order := Order{Key: binary.LittleEndian.Uint64, Rest: func(_, _ []byte) int { return 0 }}
	s := New(t.Context(), order, Limits{Chunk: 100_000, Memory: 1})
	defer s.Close()
	var err error
	record := make([]byte, 1000)
	for i := 0; i < 5000 && err == nil; i++ {
		binary.LittleEndian.PutUint64(record, uint64(i))
		err = s.Add(record)
	}
	if err == nil {
		_, err = s.Sorted()
	}
	assert.ErrorIs(t, err, syscall.ENOSPC)
	assert.ErrorContains(t, err, "TMPDIR")
}
