package embedded

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	socketPort = 5432 // part of the socket's file name; it cannot conflict with another server's port
	socketName = ".s.PGSQL.5432"
	// maxSocketPath is the shortest sun_path of the supported systems without its
	// terminating NUL: macOS has 104 bytes, Linux 108.
	maxSocketPath = 103
)

// layout gives the paths within a data folder.
type layout struct{ dir string }

func (l layout) path(name string) string { return filepath.Join(l.dir, name) }
func (l layout) data() string            { return l.path("pgdata") }
func (l layout) log() string             { return l.path("postgres.log") }
func (l layout) password() string        { return l.path("password") }

// socketDirs returns the folders that can hold the socket, in order of preference. It
// is empty if each path is too long or contains a comma.
func (l layout) socketDirs() []string {
	var fit []string
	for _, dir := range []string{l.path("run"), l.short()} {
		// A comma separates hosts in URLs and folders in unix_socket_directories.
		if len(filepath.Join(dir, socketName)) <= maxSocketPath && !strings.Contains(dir, ",") {
			fit = append(fit, dir)
		}
	}
	return fit
}

func (l layout) short() string {
	sum := sha256.Sum256([]byte(l.dir))
	return filepath.Join(os.TempDir(), fmt.Sprintf("tally-%x", sum[:8]))
}
