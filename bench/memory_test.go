package bench

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// resetPeak forgets the most memory that the process has held, and gives back what
// it does not need. Only Linux can; elsewhere peak is 0.
func resetPeak() {
	debug.FreeOSMemory()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
}

// peak is the most memory, in MiB, that the process has held since resetPeak.
func peak() float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	kib, _ := strconv.ParseFloat(number, 64)
	return kib / 1024
}
