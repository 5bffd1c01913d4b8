//go:build unix

package embedded

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

var errNotOwn = errors.New("it is a link, not a regular file, or belongs to another user; remove it")

// open opens a file of the data folder. The server's user may be able to replace it, so
// root must neither follow a link nor write to a file that has another name, nor wait for
// a pipe. O_TRUNC would act before these checks: use rewrite.
func (s *Server) open(name string, flag int) (*os.File, error) {
	file, err := os.OpenFile(s.path(name), flag|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) {
		return nil, &fs.PathError{Op: "open", Path: s.path(name), Err: errNotOwn}
	}
	if err != nil {
		return nil, err
	}
	var stat unix.Stat_t
	err = unix.Fstat(int(file.Fd()), &stat)
	writes := flag&(os.O_WRONLY|os.O_RDWR) != 0
	if err == nil && (stat.Mode&unix.S_IFMT != unix.S_IFREG || !s.owner.owns(stat.Uid) || writes && stat.Nlink != 1) {
		err = errNotOwn
	}
	if err == nil && s.owner.folder && flag&os.O_CREATE != 0 { // else the service could not open it
		err = s.owner.chown(file)
	}
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "open", Path: s.path(name), Err: err}, file.Close())
	}
	return file, nil
}

func (s *Server) read(name string) ([]byte, error) {
	file, err := s.open(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(file)
	return text, errors.Join(err, file.Close())
}

// rewrite replaces the content of a file, creates it if flag has O_CREATE, and passes it
// to finish before it is closed.
func (s *Server) rewrite(name string, flag int, text []byte, finish func(*os.File) error) error {
	file, err := s.open(name, flag|os.O_WRONLY)
	if err != nil {
		return err
	}
	if err = file.Truncate(0); err == nil {
		_, err = file.Write(text)
	}
	if err == nil {
		err = finish(file)
	}
	return errors.Join(err, file.Close())
}
