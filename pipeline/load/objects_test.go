package load_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/tests3"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/synthetic"
)

func TestMain(m *testing.M) {
	if err := tests3.Setenv(); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// sheetOf is a file that repeats and contradicts itself, so that it is read three
// times.
func sheetOf(t *testing.T, seed uint64) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, synthetic.Write(t.Context(), &b, synthetic.File{Rows: 6_000, Users: 100, Seed: seed}))
	return b.Bytes()
}

func TestLoadObject(t *testing.T) {
	t.Parallel()
	s, f := tests3.New(t), newFixture(t)
	content := sheetOf(t, 1)
	s.Put("a.csv", content)
	before := s.Objects()
	got := f.loadPath(s.URL("a.csv"))
	assert.Equal(t, load.StatusLoaded, got.Status, got.Error)
	assert.Equal(t, "s3://tally/a.csv", got.Path)
	assert.Equal(t, "s3://tally/a.csv", one[string](f, "SELECT path FROM etl_files"))
	assert.Positive(t, got.Duplicate+got.Conflict, "it was read three times")
	assert.Equal(t, load.StatusUnchanged, f.load("same.csv", string(content)).Status)
	assert.Equal(t, before, s.Objects(), "a source is only read")
	f.verify()
}

// Every answer breaks off once or more, of plain and of compressed objects.
func TestLoadSurvivesBrokenAnswers(t *testing.T) {
	t.Parallel()
	s, f := tests3.New(t), newFixture(t)
	content := sheetOf(t, 2)
	var zipped, packed, archive bytes.Buffer
	gz := gzip.NewWriter(&zipped)
	_, err := gz.Write(content)
	require.NoError(t, err)
	require.NoError(t, gz.Close())
	zs, err := zstd.NewWriter(&packed)
	require.NoError(t, err)
	_, err = zs.Write(content)
	require.NoError(t, err)
	require.NoError(t, zs.Close())
	zw := zip.NewWriter(&archive)
	member, err := zw.Create("a.csv")
	require.NoError(t, err)
	_, err = member.Write(content)
	require.NoError(t, errors.Join(err, zw.Close()))
	want := f.load("disk.csv", string(content))
	for name, stored := range map[string][]byte{"a.csv": content, "a.csv.gz": zipped.Bytes(), "a.csv.zst": packed.Bytes(), "a.csv.zip": archive.Bytes()} {
		s.Put(name, stored)
		var broken atomic.Int32
		p := s.Proxy(func(*http.Request) tests3.Fault {
			broken.Add(1)
			return tests3.Fault{Breaks: true, After: int64(len(stored)/3 + 1)}
		})
		other := newFixture(t)
		got := other.loadPath(p.URL(name))
		assert.Equal(t, load.StatusLoaded, got.Status, got.Error)
		assert.GreaterOrEqual(t, broken.Load(), int32(9), "three readings in three answers each")
		assert.Equal(t, want.SHA256, got.SHA256, name)
		assert.Equal(t, [5]int64{want.Read, want.Loaded, want.Duplicate, want.Conflict, want.Rejected},
			[5]int64{got.Read, got.Loaded, got.Duplicate, got.Conflict, got.Rejected}, name)
		assert.Equal(t, want.TotalAmount, got.TotalAmount, name)
		other.verify()
	}
}

func TestObjectThatChangesBetweenReadings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reading int32 // before which it changes
		always  bool  // and before each one after it
	}{
		"before the second": {reading: 2},
		"before the third":  {reading: 3},
		"before every one":  {reading: 2, always: true},
		"it is removed":     {reading: 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, f := tests3.New(t), newFixture(t)
			s.Put("a.csv", sheetOf(t, 1))
			var readings atomic.Int32
			p := s.Proxy(func(*http.Request) tests3.Fault {
				switch n := readings.Add(1); {
				case c.reading == 0 && n == 2:
					s.Remove("a.csv")
				case c.reading != 0 && (n == c.reading || c.always && n > c.reading):
					s.Put("a.csv", sheetOf(t, uint64(n)))
				}
				return tests3.Fault{}
			})
			got := f.loadPath(p.URL("a.csv"))
			switch {
			case c.always:
				assert.Equal(t, extract.CodeFileChanged, got.ErrorCode)
				assert.Zero(t, one[int64](f, "SELECT count(*) FROM transactions"))
			case c.reading == 0:
				assert.Equal(t, extract.CodeNotFound, got.ErrorCode)
			default:
				assert.Equal(t, load.StatusLoaded, got.Status, got.Error)
				want, _, err := extract.Identify(t.Context(), new(bucket.Stores), s.At("a.csv"))
				require.NoError(t, err)
				assert.Equal(t, want.SHA256[:], one[[]byte](f, "SELECT sha256 FROM etl_files"))
			}
			f.verify()
		})
	}
}

// An unavailable store is no fact about the file: the ledger has no entry.
func TestStoreThatGoesAwayIsNoBadFile(t *testing.T) {
	t.Parallel()
	s, f := tests3.New(t), newFixture(t)
	s.Put("a.csv", sheetOf(t, 1))
	for reading := int32(1); reading <= 3; reading++ {
		var readings atomic.Int32
		p := s.Proxy(func(*http.Request) tests3.Fault {
			if readings.Add(1) < reading {
				return tests3.Fault{}
			}
			return tests3.Fault{Status: http.StatusServiceUnavailable}
		})
		_, err := f.loader.Load(t.Context(), f.request(p.URL("a.csv")))
		require.Error(t, err, reading)
		assert.ErrorIs(t, err, bucket.ErrUnavailable, "reading %d: %v", reading, err)
		assert.True(t, postgres.Retryable(err))
		_, bad := errors.AsType[*extract.FileError](err)
		assert.False(t, bad, err)
	}
	assert.Zero(t, one[int64](f, "SELECT count(*) FROM etl_files"))
	assert.Equal(t, load.StatusLoaded, f.loadPath(s.URL("a.csv")).Status)
	f.verify()
}

// An interrupted run records nothing about the file that it was reading.
func TestStoppingWhileAnObjectIsRead(t *testing.T) {
	t.Parallel()
	s, f := tests3.New(t), newFixture(t)
	s.Put("a.csv", sheetOf(t, 1))
	stop := errors.New("interrupted")
	for reading := int32(1); reading <= 2; reading++ {
		ctx, cancel := context.WithCancelCause(t.Context())
		var readings atomic.Int32
		p := s.Proxy(func(*http.Request) tests3.Fault {
			if readings.Add(1) != reading {
				return tests3.Fault{}
			}
			time.AfterFunc(time.Second/5, func() { cancel(stop) })
			return tests3.Fault{Hangs: true, After: 5000}
		})
		_, err := f.loader.Load(ctx, f.request(p.URL("a.csv")))
		require.ErrorIs(t, err, context.Canceled, reading)
		assert.NotErrorIs(t, err, bucket.ErrUnavailable)
		cancel(nil)
	}
	assert.Zero(t, one[int64](f, "SELECT count(*) FROM etl_files"))
}

func TestBadObjects(t *testing.T) {
	t.Parallel()
	s, f := tests3.New(t), newFixture(t)
	s.Put("cut.csv.gz", []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"))
	s.Put("head.csv", []byte("a,b\n1,2\n"))
	s.Put("whole.csv", sheetOf(t, 1))
	p := s.Proxy(func(r *http.Request) tests3.Fault {
		return tests3.Fault{Breaks: true, After: map[bool]int64{true: 5000}[r.Header.Get("Range") == ""]}
	})
	for location, code := range map[string]string{
		s.URL("none.csv"):                      extract.CodeNotFound,
		s.URL("cut.csv.gz"):                    extract.CodeTruncated,
		s.URL("head.csv"):                      extract.CodeMissingColumn,
		s.URL("whole.csv") + "&anonymous=true": extract.CodeUnreadable,
		p.URL("whole.csv"):                     extract.CodeTruncated,
	} {
		got := f.loadPath(location)
		assert.Equal(t, code, got.ErrorCode, got.Error)
		assert.Equal(t, path.Base(at(t, location).String()), path.Base(got.Path))
		assert.NotContains(t, got.Error, "endpoint=")
	}
}
