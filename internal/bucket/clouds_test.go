//go:build allstores

package bucket_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
)

// clouds answers what the clients of Google and Azure ask for when they read an
// object: enough to see that they are asked for the rest, and of the same version.
// There is no server of either to test with.
type clouds struct {
	mu      sync.Mutex
	content map[string][]byte
	version map[string]int
	asked   map[string][]string // ranges
}

// run runs the tests with the servers in place, which Google's client finds by the
// environment only.
func run(m *testing.M) int {
	server := httptest.NewServer(cloud)
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	for name, value := range map[string]string{
		"STORAGE_EMULATOR_HOST": address, "AZURE_STORAGE_ACCOUNT": "tally", "AZURE_STORAGE_DOMAIN": address, "AZURE_STORAGE_PROTOCOL": "http",
		"AZURE_STORAGE_KEY": base64.StdEncoding.EncodeToString([]byte("tally-test")),
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	return m.Run()
}

// cloud is one for all tests, as the environment is.
var cloud = &clouds{content: map[string][]byte{}, version: map[string]int{}, asked: map[string][]string{}}

func (c *clouds) put(key string, content []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.content[key] = content
	c.version[key]++
}

func (c *clouds) ranges(key string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked[key]
}

// ServeHTTP breaks the first answer of each object off after 1,000 bytes. Of objects
// that are called deaf it gives what there is, whatever version is asked for.
func (c *clouds) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	if asked := r.Header.Get("X-Ms-Range"); asked != "" {
		r.Header.Set("Range", asked)
	}
	c.mu.Lock()
	content, version := c.content[key], c.version[key]
	c.asked[key] = append(c.asked[key], r.Header.Get("Range"))
	first := len(c.asked[key]) == 1
	c.mu.Unlock()
	if strings.HasPrefix(key, "deaf") {
		r.Header.Del("If-Match")
	}
	if wanted := r.URL.Query().Get("generation"); version == 0 || wanted != "" && wanted != strconv.Itoa(version) {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("ETag", fmt.Sprintf(`"v%d"`, version))
	w.Header().Set("X-Goog-Generation", strconv.Itoa(version))
	if first {
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		w.Header().Set("Last-Modified", time.Unix(1, 0).UTC().Format(http.TimeFormat))
		_, _ = w.Write(content[:1000])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	http.ServeContent(w, r, "", time.Unix(1, 0), bytes.NewReader(content))
}

func TestOtherStores(t *testing.T) {
	t.Parallel()
	for _, location := range []string{"gs://tally/%s?anonymous=true", "azblob://container/%s"} {
		scheme, _, _ := strings.Cut(location, ":")
		content, object := noise(1<<20), fmt.Sprintf("%s-%d.csv", scheme, time.Now().UnixNano()) // not that of an earlier -count
		cloud.put(object, content)
		got, err := read(t, fmt.Sprintf(location, object))
		require.NoError(t, err, scheme)
		assert.True(t, bytes.Equal(content, got), scheme)
		assert.Len(t, cloud.ranges(object), 2)
		assert.Contains(t, cloud.ranges(object)[1], "bytes=1000-", scheme)

		names := []string{"changing-", "deaf-"}
		if scheme == "gs" {
			names = names[:1] // its client goes on by itself, and trusts the answer
		}
		for _, name := range names {
			key := name + object
			cloud.put(key, content)
			o, err := new(bucket.Stores).Read(t.Context(), at(t, fmt.Sprintf(location, key)))
			require.NoError(t, err, key)
			cloud.put(key, content)
			_, err = io.ReadAll(o)
			require.ErrorIs(t, err, bucket.ErrChanged, key)
			assert.Equal(t, name == "deaf-", strings.Contains(err.Error(), "another version"), "%s is noticed only by its answer: %v", key, err)
			require.NoError(t, o.Close())
		}
	}
}

// Not parallel: it sets the environment.
func TestOpenSaysWhatToSetForAzure(t *testing.T) {
	t.Setenv("AZURE_STORAGE_ACCOUNT", "")
	_, err := new(bucket.Stores).Target(t.Context(), at(t, "azblob://container/a"))
	require.ErrorIs(t, err, bucket.ErrSetup)
	require.ErrorContains(t, err, "set AZURE_STORAGE_ACCOUNT")
}
