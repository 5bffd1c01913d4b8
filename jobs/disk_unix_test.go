//go:build unix

package jobs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
)

// memoryDisk mounts a disk of some MiB, where that is allowed.
func memoryDisk(t *testing.T, mib int) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm,mode=0777", mib), "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skip("a small disk cannot be mounted:", err, string(out))
	}
	t.Cleanup(func() { assert.NoError(t, exec.Command("umount", "-l", dir).Run()) })
	return dir
}

// A month whose tablespace is full fails the file that needs it. The disk is real.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	testdb.SkipOnCluster(t, "the tablespace would be needed on each node")
	disk, pool := memoryDisk(t, 2), newPool(t)
	owner, err := os.Stat(text(t, pool, "SHOW data_directory"))
	require.NoError(t, err)
	require.NoError(t, exec.Command("chown", fmt.Sprint(owner.Sys().(*syscall.Stat_t).Uid), disk).Run())
	require.NoError(t, os.Chmod(filepath.Dir(disk), 0o755))
	name := fmt.Sprintf("full_%d", time.Now().UnixNano())
	execute(t, pool, fmt.Sprintf("CREATE TABLESPACE %s LOCATION '%s'", name, disk))
	t.Cleanup(func() {
		execute(t, pool, "DROP TABLE transactions_2024_06")
		execute(t, pool, "DROP TABLESPACE "+name)
	})
	execute(t, pool, "SELECT tally_ensure_partition('2024-06-01')")
	execute(t, pool, "ALTER TABLE transactions_2024_06 SET TABLESPACE "+name)
	var large strings.Builder
	large.WriteString(csvHeader)
	for i := range 40_000 {
		fmt.Fprintf(&large, "L%d,%d,1,2024-06-01\n", i, i%100+1)
	}
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, rows(3), large.String(), csvHeader+"Z1,7,1,2024-05-01\n")}})
	assert.Equal(t, []string{ledger.StatusRetrying, ledger.StatusRetrying, ledger.StatusFailed}, night(t, pool, s, dueRun(t, s, "2024-07-10"), 9))
	assert.Equal(t, 4, count(t, pool, "SELECT count(*) FROM transactions"))
	assert.Contains(t, text(t, pool, "SELECT error FROM etl_files WHERE error_code = 'given_up'"), "disk full in 3 attempts: ")
}
