package extract

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"strings"
)

// unsupported is the error of a file that is no text, as its first bytes show.
func unsupported(detail, hint string) error {
	return &FileError{Code: CodeUnsupported, Detail: detail, Hint: hint}
}

const saveAsCSV = "save the sheet as CSV"

// maxDirectory bounds what is read of the list of an archive's files, for its memory.
const maxDirectory = 1 << 20

// methodAES stands for the method of a file that is encrypted with AES.
const methodAES = 99

// errSpool is why there is no temporary file, which says nothing about the source.
var errSpool = errors.New("copy to a temporary file (set TMPDIR to change its folder)")

// unzip opens the one file of a ZIP archive. Its directory is at its end: an object of a
// store is copied to a temporary file.
func (f *File) unzip(source io.Reader) error {
	a, size := &archive{f: f, left: maxDirectory}, f.opened.Size
	if file, ok := f.raw.(*os.File); ok {
		a.content, a.counts = file, true
	} else {
		spool, err := spooled(source)
		if err != nil {
			return err
		}
		f.release = func() { _ = spool.Close() } // nothing depends on it
		a.content, size = spool, f.read.Load()
	}
	z, err := zip.NewReader(a, size)
	if errors.Is(err, zip.ErrFormat) {
		return io.ErrUnexpectedEOF // there is no directory
	}
	if err != nil {
		return err
	}
	file, err := onlyFile(z.File)
	if err != nil {
		return err
	}
	a.left = math.MaxInt64
	if a.counts {
		f.read.Store(0)
	}
	f.content.r, err = file.Open()
	if errors.Is(err, zip.ErrAlgorithm) {
		return unsupported("the ZIP archive is compressed in a way that Tally does not read", "compress it again with Deflate")
	}
	return err
}

// archive is what an archive is read from. It remembers what ended the reading.
type archive struct {
	f       *File
	content io.ReaderAt
	counts  bool  // these are the bytes as they are stored
	left    int64 // bytes that may be read
}

// ReadAt reads at a place.
func (a *archive) ReadAt(p []byte, off int64) (int, error) {
	if a.left -= int64(len(p)); a.left < 0 {
		return 0, unsupported("the ZIP archive holds too many files", "unpack it")
	}
	n, err := a.content.ReadAt(p, off)
	if a.counts {
		a.f.read.Add(int64(n))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		a.f.broken = err
	}
	return n, err
}

// onlyFile is the file in an archive, but for what macOS adds to it.
func onlyFile(members []*zip.File) (*zip.File, error) {
	var files []*zip.File
	var names []string
	for _, m := range members {
		if strings.HasSuffix(m.Name, "/") || strings.HasPrefix(m.Name, "__MACOSX/") || path.Base(m.Name) == ".DS_Store" {
			continue
		}
		if m.Name == "[Content_Types].xml" || m.Name == "META-INF/manifest.xml" {
			return nil, unsupported("it is a workbook or another Office document", saveAsCSV)
		}
		files, names = append(files, m), append(names, m.Name)
	}
	switch {
	case len(files) == 0:
		return nil, unsupported("the ZIP archive holds no file", "")
	case len(files) > 1:
		return nil, unsupported("the ZIP archive holds several files: "+clip(strings.Join(names, ", "), 200), "unpack it, or put each file into an archive of its own")
	case files[0].Flags&1 != 0 || files[0].Method == methodAES:
		return nil, unsupported("the ZIP archive is encrypted", "unpack it")
	}
	return files[0], nil
}

// spooled copies a stream to a file that has no name, and so is gone when it is closed.
func spooled(source io.Reader) (*os.File, error) {
	spool, err := os.CreateTemp("", "tally-*.zip")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSpool, err)
	}
	if err = os.Remove(spool.Name()); err == nil {
		_, err = io.Copy(spool, source)
	}
	if err != nil {
		_ = spool.Close() // the first error is the one that counts
		return nil, fmt.Errorf("%w: %w", errSpool, err)
	}
	return spool, nil
}
