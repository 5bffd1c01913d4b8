//go:build !unix

package bench

import (
	"io/fs"
	programs "os/exec"
)

// ownerOf is not needed on this system, which has no embedded server.
func ownerOf(fs.FileInfo) owner { return owner{} }

func (owner) runs(*programs.Cmd) {}
