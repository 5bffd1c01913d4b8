package bench

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
)

func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// memoryKiB returns the proportional set size of a process. ok is false on systems
// without smaps_rollup.
func memoryKiB(pid int) (kib float64, ok bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		return 0, false
	}
	_, rest, found := strings.Cut(string(text), "\nPss:")
	number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	kib, err = strconv.ParseFloat(number, 64)
	return kib, found && err == nil
}
