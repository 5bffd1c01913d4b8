//go:build unix

package bench

import (
	"io/fs"
	programs "os/exec"
	"syscall"
)

func ownerOf(info fs.FileInfo) owner {
	stat := info.Sys().(*syscall.Stat_t)
	return owner{int(stat.Uid), int(stat.Gid)}
}

// runs makes a command run as the owner.
func (o owner) runs(command *programs.Cmd) {
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid)}}
}
