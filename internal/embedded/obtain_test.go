//go:build unix

package embedded

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// repository is a stand-in for where the library downloads from. What it serves
// as a release are scripts that call the programs which the tests run on.
type repository struct {
	*httptest.Server
	mu     sync.Mutex
	jar    []byte
	asked  []string
	broken bool
}

func newRepository(t *testing.T, installed string) *repository {
	t.Helper()
	r := &repository{jar: jar(t, installed)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.asked = append(r.asked, request.URL.Path)
		switch {
		case !strings.HasSuffix(request.URL.Path, ".jar"):
			http.NotFound(w, request)
		case r.broken:
			_, _ = w.Write(r.jar[:len(r.jar)/2])
		default:
			_, _ = w.Write(r.jar)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// downloads are the releases that were asked for.
func (r *repository) downloads() (paths []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, path := range r.asked {
		if strings.HasSuffix(path, ".jar") {
			paths = append(paths, path)
		}
	}
	return paths
}

func nowhere(context.Context) []string { return nil }

func TestProgramsAreDownloadedWhereNoneFit(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	first := start(t, config(dir)) // a cluster, whose version has to be kept
	require.NoError(t, first.Close())

	r := newRepository(t, first.BinDir())
	c := Config{Dir: dir, Settings: quick(), DownloadURL: r.URL, places: nowhere}
	r.broken = true
	_, err := Start(t.Context(), c)
	require.ErrorIs(t, err, ErrWrongVersion, "none of the cluster's version")
	assert.Contains(t, err.Error(), dir)
	assert.NoDirExists(t, filepath.Join(dir, "postgres"), "half a download is none")
	r.broken = false
	asked := len(r.downloads())

	server := start(t, c)
	assert.Equal(t, 1, ask[int](t, connect(t, server), "SELECT 1"))
	assert.Equal(t, filepath.Join(dir, "postgres", fmt.Sprint(first.Version()), "bin"), server.BinDir())
	require.Len(t, r.downloads(), asked+1)
	assert.Contains(t, r.downloads()[asked], fmt.Sprintf("/%s/", obtainable(first.Version())))
	require.NoError(t, server.Close())
	left, err := filepath.Glob(filepath.Join(dir, "download-*"))
	require.NoError(t, err)
	assert.Empty(t, left)

	require.NoError(t, start(t, c).Close())
	assert.Len(t, r.downloads(), asked+1, "once is enough")
}

func TestTheNewestIsDownloadedForANewFolder(t *testing.T) {
	t.Parallel()
	r := newRepository(t, t.TempDir()) // holds no programs at all
	_, err := Start(t.Context(), Config{Dir: folder(t), DownloadURL: r.URL, places: nowhere})
	require.ErrorIs(t, err, ErrNotInstalled)
	assert.Contains(t, err.Error(), "DATABASE_URL")
	require.NotEmpty(t, r.downloads())
	assert.Contains(t, r.downloads()[0], fmt.Sprintf("/%s/", obtainable(newestMajor)))
}

func TestADownloadCanBeCancelled(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	t.Cleanup(func() {
		assert.Eventually(t, func() bool {
			left, err := filepath.Glob(filepath.Join(dir, "download-*"))
			return err == nil && len(left) == 0
		}, 10*time.Second, 10*time.Millisecond, "the download gives up when it is answered at last")
	})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		cancel()
		<-release
	}))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(release) }) // runs first
	_, err := Start(ctx, Config{Dir: dir, DownloadURL: slow.URL, places: nowhere})
	require.ErrorIs(t, err, context.Canceled)
}

// jar is a release as the repository keeps it: a zip that holds an xz archive.
func jar(t *testing.T, installed string) []byte {
	t.Helper()
	var archive bytes.Buffer
	files := tar.NewWriter(&archive)
	for _, name := range []string{"postgres", "initdb", "pg_ctl"} {
		script := fmt.Sprintf("#!/bin/sh\nexec '%s' \"$@\"\n", filepath.Join(installed, name))
		// As a strict umask would leave them: for root alone.
		require.NoError(t, files.WriteHeader(&tar.Header{Name: "bin/" + name, Mode: 0o700, Size: int64(len(script))}))
		_, err := files.Write([]byte(script))
		require.NoError(t, err)
	}
	require.NoError(t, files.Close())
	var out bytes.Buffer
	packed := zip.NewWriter(&out)
	entry, err := packed.Create("postgres.txz")
	require.NoError(t, err)
	_, err = entry.Write(xz(archive.Bytes()))
	require.NoError(t, err)
	require.NoError(t, packed.Close())
	return out.Bytes()
}

// xz wraps data in the xz format without compressing it, for which the standard
// library has nothing: one block of plain LZMA2 chunks, no integrity check.
func xz(data []byte) []byte {
	sum := func(b []byte) []byte { return binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(b)) }
	pad := func(b []byte) []byte { return append(b, make([]byte, (4-len(b)%4)%4)...) }
	flags := []byte{0, 0}
	out := append([]byte("\xfd7zXZ\x00"), flags...)
	out = append(out, sum(flags)...)

	header := []byte{2, 0, 0x21, 1, 0x16, 0, 0, 0} // 12 bytes with its sum; LZMA2, a dictionary of 8 MiB
	block := append(header, sum(header)...)
	for kind := byte(1); len(data) > 0; kind = 2 { // the first chunk resets the dictionary
		n := min(len(data), 1<<16)
		block = append(block, kind)
		block = binary.BigEndian.AppendUint16(block, uint16(n-1))
		block = append(block, data[:n]...)
		data = data[n:]
	}
	block = append(block, 0)
	unpadded := uint64(len(block))
	out = append(out, pad(block)...)

	var size uint64
	for at := 12; block[at] != 0; {
		n := int(binary.BigEndian.Uint16(block[at+1:])) + 1
		size, at = size+uint64(n), at+3+n
	}
	index := binary.AppendUvarint(binary.AppendUvarint([]byte{0, 1}, unpadded), size)
	index = pad(index)
	index = append(index, sum(index)...)
	out = append(out, index...)

	footer := binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1))
	footer = append(footer, flags...)
	return append(append(append(out, sum(footer)...), footer...), "YZ"...)
}
