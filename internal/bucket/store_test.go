package bucket_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/tests3"
)

func TestMain(m *testing.M) {
	if err := tests3.Setenv(); err != nil {
		panic(err)
	}
	os.Exit(run(m))
}

// noise is content of which no part is like another.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b) // never fails
	return b
}

// at is the location that a path or a URL names.
func at(t *testing.T, text string) bucket.Location {
	t.Helper()
	l, err := bucket.Parse(text)
	require.NoError(t, err, text)
	return l
}

func read(t *testing.T, location string) ([]byte, error) {
	t.Helper()
	o, err := new(bucket.Stores).Read(t.Context(), at(t, location))
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(o)
	require.NoError(t, o.Close())
	return content, err
}

// isGet tells the reading of an object from the listing of a bucket.
func isGet(r *http.Request) bool {
	return r.Method == http.MethodGet && !r.URL.Query().Has("list-type")
}

func TestReadObject(t *testing.T) {
	t.Parallel()
	s := tests3.New(t)
	for i, content := range [][]byte{{}, []byte("a"), noise(3 << 20)} {
		key := fmt.Sprintf("in/%d.csv", i)
		s.Put(key, content)
		got, err := read(t, s.URL(key))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(content, got), "%d bytes", len(content))
	}
}

func TestNamesOfObjects(t *testing.T) {
	t.Parallel()
	s := tests3.New(t)
	for _, name := range []string{"a b.csv", "50%.csv", "x+y.csv", "é#1.csv", "[1].csv", "a&b=c.csv"} {
		s.Put("odd/"+name, []byte(name))
	}
	files, err := new(bucket.Stores).List(t.Context(), s.At("odd"), func(string) bool { return true })
	require.NoError(t, err)
	require.Len(t, files, 6)
	for _, file := range files {
		_, name := file.Split()
		o, err := new(bucket.Stores).Read(t.Context(), file.Location)
		require.NoError(t, err, file)
		got, err := io.ReadAll(o)
		require.NoError(t, err, file)
		require.NoError(t, o.Close())
		assert.Equal(t, name, string(got))
	}
}

func TestBrokenAnswersGoOn(t *testing.T) {
	t.Parallel()
	s := tests3.New(t)
	content := noise(2 << 20)
	s.Put("a.csv", content)
	var mu sync.Mutex
	var ranges []string
	p := s.Proxy(func(r *http.Request) tests3.Fault {
		mu.Lock()
		defer mu.Unlock()
		assert.Equal(t, len(ranges) > 0, r.Header.Get("If-Match") != "", "the rest is asked for of the same version")
		if ranges = append(ranges, r.Header.Get("Range")); len(ranges) > 5 {
			return tests3.Fault{}
		}
		return tests3.Fault{Breaks: true, After: 300_000}
	})
	got, err := read(t, p.URL("a.csv"))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(content, got))
	assert.Equal(t, []string{"", "bytes=300000-", "bytes=600000-", "bytes=900000-", "bytes=1200000-", "bytes=1500000-"}, ranges)
}

func TestAnswerThatStandsStill(t *testing.T) {
	t.Parallel()
	s := tests3.New(t)
	content := noise(1 << 20)
	s.Put("a.csv", content)
	var calls atomic.Int32
	p := s.Proxy(func(*http.Request) tests3.Fault { return tests3.Fault{Hangs: calls.Add(1) == 1, After: 5000} })
	o, err := bucket.WithSilence(time.Second).Read(t.Context(), p.At("a.csv"))
	require.NoError(t, err)
	got, err := io.ReadAll(o)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(content, got))
	assert.Equal(t, int32(2), calls.Load())
	require.NoError(t, o.Close())
}

func TestChangeWithinAnAnswer(t *testing.T) {
	t.Parallel()
	s := tests3.New(t)
	for what, change := range map[string]func(){
		"other content": func() { s.Put("a.csv", noise(2 << 20)[1<<20:]) },
		"removed":       func() { s.Remove("a.csv") },
	} {
		s.Put("a.csv", noise(1<<20))
		var calls atomic.Int32
		p := s.Proxy(func(*http.Request) tests3.Fault {
			if calls.Add(1) > 1 {
				return tests3.Fault{}
			}
			return tests3.Fault{Breaks: true, After: 1000}
		})
		o, err := new(bucket.Stores).Read(t.Context(), p.At("a.csv"))
		require.NoError(t, err, what)
		change()
		_, err = io.ReadAll(o)
		require.ErrorIs(t, err, bucket.ErrChanged, what)
		_, again := o.Read(make([]byte, 1))
		assert.Equal(t, err, again, "an error stays")
		require.NoError(t, o.Close())
	}
}

func TestAnswerThatNeverCompletes(t *testing.T) {
	t.Parallel()
	s := tests3.New(t)
	s.Put("a.csv", noise(1<<20))
	p := s.Proxy(func(r *http.Request) tests3.Fault {
		return tests3.Fault{Breaks: true, After: map[bool]int64{true: 5000, false: 0}[r.Header.Get("Range") == ""]}
	})
	got, err := read(t, p.URL("a.csv"))
	require.ErrorIs(t, err, bucket.ErrShort)
	assert.Contains(t, err.Error(), "ends at byte 5000 of 1048576")
	require.NotErrorIs(t, err, bucket.ErrUnavailable, "the store is there")
	assert.Len(t, got, 5000)
}

func TestStoreAway(t *testing.T) {
	t.Parallel()
	s := tests3.New(t)
	s.Put("a.csv", noise(8<<20))
	var stores bucket.Stores
	o, err := stores.Read(t.Context(), s.At("a.csv"))
	require.NoError(t, err)
	s.Stop()
	_, err = io.ReadAll(o)
	require.ErrorIs(t, err, bucket.ErrUnavailable)
	require.NoError(t, o.Close())
	_, err = stores.Read(t.Context(), s.At("a.csv"))
	require.ErrorIs(t, err, bucket.ErrUnavailable)
	assert.Contains(t, err.Error(), "s3://tally/a.csv: the object store is unavailable")
	assert.NotContains(t, err.Error(), "?", "no parameters")
	_, err = stores.List(t.Context(), s.At(""), func(string) bool { return true })
	require.ErrorIs(t, err, bucket.ErrUnavailable)
	s.Start()
	o, err = stores.Read(t.Context(), s.At("a.csv"))
	require.NoError(t, err, "a store is not given up")
	require.NoError(t, o.Close())
}

func TestAnswersThatAreNoOutage(t *testing.T) {
	t.Parallel()
	s := tests3.New(t)
	s.Put("a.csv", nil)
	_, err := read(t, s.URL("none.csv"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NotErrorIs(t, err, bucket.ErrUnavailable)
	_, err = read(t, strings.Replace(s.URL("a.csv"), "://tally/", "://other/", 1))
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = read(t, s.URL("a.csv")+"&anonymous=true")
	require.ErrorIs(t, err, fs.ErrPermission)
	var requests atomic.Int32
	p := s.Proxy(func(*http.Request) tests3.Fault {
		requests.Add(1)
		return tests3.Fault{Status: http.StatusServiceUnavailable}
	})
	_, err = read(t, p.URL("a.csv"))
	require.ErrorIs(t, err, bucket.ErrUnavailable, "503 is one")
	assert.Equal(t, int32(5), requests.Load(), "a few times within seconds")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = new(bucket.Stores).Read(ctx, s.At("a.csv"))
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, bucket.ErrUnavailable)
}

func TestListGoesOnFromItsPage(t *testing.T) {
	t.Parallel()
	s := tests3.New(t)
	var want []string
	for i := range 2100 {
		name := fmt.Sprintf("%04d.csv", i)
		want = append(want, s.At("in/"+name).String())
		s.Write("in/"+name, nil)
	}
	s.Write("in/below/x.csv", nil)
	s.Write("inside.csv", nil)
	var mu sync.Mutex
	var tokens []string
	failed := 0
	p := s.Proxy(func(r *http.Request) tests3.Fault {
		mu.Lock()
		defer mu.Unlock()
		token := r.URL.Query().Get("continuation-token")
		if !slices.Contains(tokens, token) {
			tokens = append(tokens, token)
		}
		if token != "" && failed < 4 { // as often as the client tries again
			failed++
			return tests3.Fault{Status: http.StatusInternalServerError}
		}
		if isGet(r) {
			assert.Fail(t, "only listings are asked for", r.URL.Path)
		}
		return tests3.Fault{}
	})
	files, err := new(bucket.Stores).List(t.Context(), p.At("in"), func(string) bool { return true })
	require.NoError(t, err)
	var names []string
	for _, file := range files {
		names = append(names, file.String())
	}
	assert.Equal(t, want, names)
	assert.Equal(t, 4, failed)
	assert.Len(t, tokens, 3, "each page is asked for by its own token")
}

// Not parallel: it sets the environment.
func TestOpenSaysWhatToSet(t *testing.T) {
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	for location, want := range map[string]string{
		"s3://b/a":                             "set AWS_REGION",
		"s3://b/a?region=eu-central-1":         "set AWS_ACCESS_KEY_ID",
		"s3://b/a?use_path_style=perhaps":      "use_path_style: want true or false",
		"s3://b/a?role=hunter2&region=x":       "role",
		"s3://b/a?endpoint=http://localhost:1": "set AWS_ACCESS_KEY_ID",
	} {
		_, err := new(bucket.Stores).Target(t.Context(), at(t, location))
		require.ErrorIs(t, err, bucket.ErrSetup, location)
		require.ErrorContains(t, err, want, location)
	}
}
