package bench

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// resetPeak returns free memory to the operating system and resets the peak resident set
// size (VmHWM). It requires Linux; on other systems peak returns 0.
func resetPeak() {
	debug.FreeOSMemory()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
}

// peak returns the peak resident set size since resetPeak, in MiB.
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
