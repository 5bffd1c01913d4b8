package bucket_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/tests3"
)

func open(t *testing.T, l bucket.Location) bucket.Target {
	t.Helper()
	target, err := new(bucket.Stores).Target(t.Context(), l)
	require.NoError(t, err)
	return target
}

// A folder and a store are the same to who writes.
func TestTarget(t *testing.T) {
	t.Parallel()
	for kind, place := range map[string]bucket.Location{"folder": bucket.Path(filepath.Join(t.TempDir(), "a", "lake")), "store": tests3.New(t).At("a/lake/")} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ctx, target := t.Context(), open(t, place)
			assert.Equal(t, place.Clean().String(), target.String())
			files, err := target.List(ctx, "")
			require.NoError(t, err)
			assert.Empty(t, files)
			_, err = bucket.ReadFile(ctx, target, "none")
			require.ErrorIs(t, err, fs.ErrNotExist)

			for _, name := range []string{"t/month=2024-01-01/a.parquet", "t/b.parquet", "tt/c", "manifest.json", "manifest.json.1f.tmp"} {
				require.NoError(t, bucket.WriteFile(ctx, target, name, []byte(name)))
			}
			files, err = target.List(ctx, "t/")
			require.NoError(t, err)
			assert.Equal(t, map[string]int64{"t/month=2024-01-01/a.parquet": 28, "t/b.parquet": 11}, files)
			files, err = target.List(ctx, "manifest.json")
			require.NoError(t, err)
			assert.Equal(t, map[string]int64{"manifest.json": 13, "manifest.json.1f.tmp": 20}, files)

			require.NoError(t, bucket.WriteFile(ctx, target, "t/b.parquet", nil), "in another one's place")
			content, err := bucket.ReadFile(ctx, target, "t/b.parquet")
			require.NoError(t, err)
			assert.Empty(t, content)
			require.NoError(t, target.Remove(ctx, "t/b.parquet"))
			_, err = bucket.ReadFile(ctx, target, "t/b.parquet")
			require.ErrorIs(t, err, fs.ErrNotExist)
		})
	}
}

// A file is not there before it is closed, and never if its context has ended; of one that
// was given up nothing stays.
func TestTargetShowsWholeFilesOnly(t *testing.T) {
	t.Parallel()
	store := tests3.New(t)
	for kind, place := range map[string]bucket.Location{"folder": bucket.Path(t.TempDir()), "store": store.At("lake")} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			target := open(t, place)
			for _, size := range []int{100, 20 << 20} {
				content := noise(size)
				require.NoError(t, bucket.WriteFile(t.Context(), target, "a.bin", []byte("before")))
				for _, given := range []bool{true, false} {
					ctx, discard := context.WithCancel(t.Context())
					w, err := target.Create(ctx, "a.bin")
					require.NoError(t, err)
					_, err = w.Write(content)
					require.NoError(t, err)
					got, err := bucket.ReadFile(t.Context(), target, "a.bin")
					require.NoError(t, err)
					assert.Equal(t, "before", string(got))
					if given {
						discard()
						require.ErrorIs(t, w.Close(), context.Canceled)
						files, err := target.List(t.Context(), "")
						require.NoError(t, err)
						assert.Equal(t, map[string]int64{"a.bin": 6}, files)
						continue
					}
					require.NoError(t, w.Close())
					discard()
					got, err = bucket.ReadFile(t.Context(), target, "a.bin")
					require.NoError(t, err)
					assert.True(t, bytes.Equal(content, got))
				}
			}
		})
	}
}

// replaced is a target with a file that is replaced while it is read.
type replaced struct {
	bucket.Target
	times, opened int
}

func (r *replaced) Open(context.Context, string) (io.ReadCloser, error) {
	r.opened++
	if r.opened > r.times {
		return io.NopCloser(strings.NewReader("after")), nil
	}
	return io.NopCloser(io.MultiReader(strings.NewReader("bef"), iotest.ErrReader(bucket.ErrChanged))), nil
}

func TestReadFileReadsAReplacedFileAgain(t *testing.T) {
	t.Parallel()
	content, err := bucket.ReadFile(t.Context(), &replaced{times: 2}, "a")
	require.NoError(t, err)
	assert.Equal(t, "after", string(content))
	always := &replaced{times: 100}
	_, err = bucket.ReadFile(t.Context(), always, "a")
	require.ErrorIs(t, err, bucket.ErrChanged)
	assert.Equal(t, 5, always.opened)
}

// What was sent to a store.
func TestRequestsOfAnUpload(t *testing.T) {
	t.Parallel()
	store := tests3.New(t)
	var mu sync.Mutex
	var requests []string
	failures := 3
	proxy := store.Proxy(func(r *http.Request) tests3.Fault {
		mu.Lock()
		defer mu.Unlock()
		q := r.URL.Query()
		requests = append(requests, fmt.Sprint(r.Method, " ", q.Has("uploads"), q.Get("partNumber"), q.Get("uploadId") != ""))
		if r.Method == http.MethodPut {
			assert.NotEmpty(t, r.Header.Get("Content-Md5"), "what arrives is compared")
		}
		if q.Has("uploads") || r.Method == http.MethodPut && !q.Has("partNumber") {
			assert.Equal(t, "application/vnd.apache.parquet", r.Header.Get("Content-Type"))
			assert.Equal(t, "AES256", r.Header.Get("X-Amz-Server-Side-Encryption"))
		}
		if q.Get("partNumber") == "2" && failures > 0 {
			failures--
			return tests3.Fault{Status: http.StatusInternalServerError}
		}
		return tests3.Fault{}
	})
	target := open(t, at(t, proxy.URL("lake")+"&ssetype=AES256"))
	require.NoError(t, bucket.WriteFile(t.Context(), target, "small.parquet", noise(1<<20)))
	assert.Equal(t, []string{"PUT falsefalse"}, requests, "a small one in one request")
	requests = nil
	content := noise(20 << 20)
	require.NoError(t, bucket.WriteFile(t.Context(), target, "large.parquet", content))
	assert.Equal(t, []string{
		"POST truefalse", "PUT false1true", "PUT false2true", "PUT false2true", "PUT false2true", "PUT false2true", "PUT false3true", "POST falsetrue",
	}, requests, "a large one in parts, one after the other, each until it has arrived")
	got, err := read(t, store.URL("lake/large.parquet"))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(content, got))

	ctx, discard := context.WithCancel(t.Context())
	w, err := target.Create(ctx, "given-up.parquet")
	require.NoError(t, err)
	_, err = w.Write(content)
	require.NoError(t, err)
	discard()
	require.Error(t, w.Close())
	assert.Equal(t, "DELETE falsetrue", requests[len(requests)-1], "the parts that have arrived are removed")
}

func TestStoreThatRefusesAnUpload(t *testing.T) {
	t.Parallel()
	store := tests3.New(t)
	var status atomic.Int32
	proxy := store.Proxy(func(r *http.Request) tests3.Fault {
		if r.Method == http.MethodPut {
			return tests3.Fault{Status: int(status.Load())}
		}
		return tests3.Fault{}
	})
	for _, size := range []int{100, 20 << 20} {
		status.Store(http.StatusForbidden)
		err := bucket.WriteFile(t.Context(), open(t, proxy.At("lake")), "a.bin", noise(size))
		require.ErrorIs(t, err, fs.ErrPermission)
		assert.True(t, bucket.Permanent(err))
		assert.ErrorContains(t, err, "s3://tally/lake/a.bin: permission denied")
		status.Store(http.StatusServiceUnavailable)
		err = bucket.WriteFile(t.Context(), open(t, proxy.At("lake")), "a.bin", noise(size))
		require.ErrorIs(t, err, bucket.ErrUnavailable)
		assert.False(t, bucket.Permanent(err))
	}
	assert.Empty(t, store.Objects(), "nothing has appeared")
}

// A server that takes nothing, or says nothing, is given up.
func TestUploadToASilentServer(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-done }))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(done) })
	target, err := bucket.WithSilence(time.Second/2).Target(t.Context(), at(t, "s3://lake/x?region=x&endpoint="+server.URL))
	require.NoError(t, err)
	for _, size := range []int{100, 20 << 20} {
		err := bucket.WriteFile(t.Context(), target, "a.bin", noise(size))
		require.ErrorIs(t, err, bucket.ErrUnavailable)
		assert.ErrorContains(t, err, "nothing more has come for 500ms")
	}
}

// Not parallel: what others allocate would be counted as well.
func TestUploadIsOfBoundedMemory(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("ETag", `"x"`)
		switch {
		case r.URL.Query().Has("uploads"):
			_, _ = io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>")
		case r.Method == http.MethodPost:
			_, _ = io.WriteString(w, "<CompleteMultipartUploadResult><Bucket>lake</Bucket></CompleteMultipartUploadResult>")
		}
	}))
	defer server.Close()
	w, err := open(t, at(t, "s3://lake/x?region=x&endpoint="+server.URL)).Create(t.Context(), "a.bin")
	require.NoError(t, err)
	block := noise(1 << 20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 128 {
		_, err := w.Write(block)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	runtime.ReadMemStats(&after)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<20), "two buffers of 8 MiB, each of which has grown, and the requests")
}

// What is written has the rights that the umask gives, as a program's own files.
func TestFolderKeepsNothingElse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target := open(t, bucket.Path(dir))
	require.NoError(t, bucket.WriteFile(t.Context(), target, "a/b.csv", []byte("x")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "probe"), nil, 0o666))
	written, err := os.Stat(filepath.Join(dir, "a", "b.csv"))
	require.NoError(t, err)
	probe, err := os.Stat(filepath.Join(dir, "probe"))
	require.NoError(t, err)
	assert.Equal(t, probe.Mode(), written.Mode())
	files, err := target.List(t.Context(), "")
	require.NoError(t, err)
	names := []string{}
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	assert.Equal(t, []string{"a/b.csv", "probe"}, names)
}
