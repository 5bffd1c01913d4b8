//go:build unix

package embedded

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// repository replaces the library's download server. Its releases contain scripts that
// call the installed programs.
type repository struct {
	*httptest.Server
	mu        sync.Mutex
	jar       []byte
	checksums string // of its archive, for this platform
	requested []string
	broken    bool
}

func newRepository(t *testing.T, installed string) *repository {
	t.Helper()
	r := &repository{}
	r.jar, r.checksums = packedRelease(t, installed)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.requested = append(r.requested, request.URL.Path)
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

// downloads returns the paths of the requested releases.
func (r *repository) downloads() (paths []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, path := range r.requested {
		if strings.HasSuffix(path, ".jar") {
			paths = append(paths, path)
		}
	}
	return paths
}

func noDirs(context.Context) []string { return nil }

func TestDownloadIfNoProgramsFit(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	first := start(t, config(dir)) // creates a cluster; later starts need its version
	require.NoError(t, first.Close())

	r := newRepository(t, first.programs.dir)
	c := Config{Dir: dir, Settings: fastSettings(), DownloadURL: r.URL, binDirs: noDirs, checksums: r.checksums}
	r.broken = true
	_, err := Start(t.Context(), c)
	require.ErrorIs(t, err, ErrWrongVersion, "none of the cluster's version")
	assert.Contains(t, err.Error(), dir)
	assert.NoDirExists(t, filepath.Join(dir, "postgres"), "an incomplete download is discarded")
	r.broken = false
	before := len(r.downloads())

	server := start(t, c)
	assert.Equal(t, 1, ask[int](t, connect(t, server), "SELECT 1"))
	assert.Equal(t, filepath.Join(dir, "postgres", fmt.Sprint(first.programs.major), "bin"), server.programs.dir)
	require.Len(t, r.downloads(), before+1)
	assert.Contains(t, r.downloads()[before], fmt.Sprintf("/%s/", downloadVersion(first.programs.major)))
	require.NoError(t, server.Close())
	left, err := filepath.Glob(filepath.Join(dir, "download-*"))
	require.NoError(t, err)
	assert.Empty(t, left)

	require.NoError(t, start(t, c).Close())
	assert.Len(t, r.downloads(), before+1, "the programs are downloaded once")
}

func TestDownloadNewestForNewFolder(t *testing.T) {
	t.Parallel()
	r := newRepository(t, t.TempDir()) // contains no programs
	_, err := Start(t.Context(), Config{Dir: folder(t), DownloadURL: r.URL, binDirs: noDirs, checksums: r.checksums})
	require.ErrorIs(t, err, ErrNotInstalled)
	assert.Contains(t, err.Error(), "DATABASE_URL")
	require.NotEmpty(t, r.downloads())
	assert.Contains(t, r.downloads()[0], fmt.Sprintf("/%s/", downloadVersion(newestMajor)))
}

func TestDownloadCanBeCanceled(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	t.Cleanup(func() {
		assert.Eventually(t, func() bool {
			left, err := filepath.Glob(filepath.Join(dir, "download-*"))
			return err == nil && len(left) == 0
		}, time.Minute, 10*time.Millisecond, "the download removes its folder when the request ends")
	})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		cancel()
		<-release
	}))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(release) }) // runs first
	_, err := Start(ctx, Config{Dir: dir, DownloadURL: slow.URL, binDirs: noDirs})
	require.ErrorIs(t, err, context.Canceled)
}

// A download is not unpacked, nor run, unless its checksum is known.
func TestDownloadIsVerified(t *testing.T) {
	t.Parallel()
	r := newRepository(t, t.TempDir())
	for name, c := range map[string]struct{ checksums, says string }{
		"another release":        {strings.ReplaceAll(r.checksums, r.checksums[:4], "beef"), "has the SHA-256 " + r.checksums[:64]},
		"a platform without":     {r.checksums[:66] + "another.txz\n", "no checksum of embedded-postgres-binaries-"},
		"not one of Tally's own": {"", "has the SHA-256 " + r.checksums[:64]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := folder(t)
			_, err := Start(t.Context(), Config{Dir: dir, DownloadURL: r.URL, binDirs: noDirs, checksums: c.checksums})
			require.ErrorIs(t, err, ErrUnverified)
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, err, installHint)
			assert.NoDirExists(t, filepath.Join(dir, "postgres"))
		})
	}
}

func TestEveryMajorVersionHasChecksums(t *testing.T) {
	t.Parallel()
	for major := oldestMajor; major <= newestMajor; major++ {
		for _, platform := range []string{"linux-amd64", "linux-amd64-alpine", "darwin-amd64"} {
			assert.Regexp(t, fmt.Sprintf(`(?m)^[0-9a-f]{64}  embedded-postgres-binaries-%s-%s\.txz$`, platform, downloadVersion(major)), checksums)
		}
	}
}

// packedRelease returns a release in the repository's format, a zip that contains an xz archive,
// with the archive's checksum.
func packedRelease(t *testing.T, installed string) (content []byte, checksums string) {
	t.Helper()
	var archive bytes.Buffer
	files := tar.NewWriter(&archive)
	for _, name := range []string{"postgres", "initdb", "pg_ctl"} {
		script := fmt.Sprintf("#!/bin/sh\nexec '%s' \"$@\"\n", filepath.Join(installed, name))
		// With the mode that a strict umask leaves.
		require.NoError(t, files.WriteHeader(&tar.Header{Name: "bin/" + name, Mode: 0o700, Size: int64(len(script))}))
		_, err := files.Write([]byte(script))
		require.NoError(t, err)
	}
	require.NoError(t, files.Close())
	var out bytes.Buffer
	packed := zip.NewWriter(&out)
	entry, err := packed.Create("postgres.txz")
	require.NoError(t, err)
	packedPrograms := xz(archive.Bytes())
	_, err = entry.Write(packedPrograms)
	require.NoError(t, err)
	require.NoError(t, packed.Close())
	for major := oldestMajor; major <= newestMajor; major++ {
		checksums += fmt.Sprintf("%x  embedded-postgres-binaries-%s-%s.txz\n", sha256.Sum256(packedPrograms), platform(), downloadVersion(major))
	}
	return out.Bytes(), checksums
}

// platform is the library's name of this one.
func platform() string {
	name := runtime.GOOS + "-" + runtime.GOARCH
	if runtime.GOARCH == "arm64" {
		name += "v8"
	}
	if _, err := os.Stat("/etc/alpine-release"); err == nil {
		name += "-alpine"
	}
	return name
}

// xz encodes data in the xz format, which the standard library does not support: one
// block of uncompressed LZMA2 chunks without an integrity check.
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
