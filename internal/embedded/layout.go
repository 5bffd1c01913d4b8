package embedded

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	socketPort = 5432 // a socket is a file of its own: the port is but a part of its name
	socketName = ".s.PGSQL.5432"
	// longestSocket is the shortest sun_path among the systems that we run on:
	// macOS has 104 bytes, Linux 108, each with a closing NUL.
	longestSocket = 103
)

// layout is where everything of a data folder is.
type layout struct{ dir string }

func (l layout) path(name string) string { return filepath.Join(l.dir, name) }
func (l layout) data() string            { return l.path("pgdata") }
func (l layout) log() string             { return l.path("postgres.log") }
func (l layout) password() string        { return l.path("password") }

// socketDirs are the folders that a socket could be in, best first; none where
// no path would do.
func (l layout) socketDirs() []string {
	var fit []string
	for _, dir := range []string{l.path("run"), l.short()} {
		// A comma would make a list of hosts of it, in a URL as elsewhere.
		if len(filepath.Join(dir, socketName)) <= longestSocket && !strings.Contains(dir, ",") {
			fit = append(fit, dir)
		}
	}
	return fit
}

func (l layout) short() string {
	sum := sha256.Sum256([]byte(l.dir))
	return filepath.Join(os.TempDir(), fmt.Sprintf("tally-%x", sum[:8]))
}
