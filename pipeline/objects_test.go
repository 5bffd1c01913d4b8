package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/tests3"
	"github.com/opentax/tally/pipeline"
)

func TestMain(m *testing.M) {
	if err := tests3.Setenv(); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// A source lists the same files from a store as from a disk.
func TestObjectsAreListedAsFilesAre(t *testing.T) {
	t.Parallel()
	s, dir := tests3.New(t), t.TempDir()
	for _, name := range []string{
		"in/b.csv", "in/a.csv", "in/B.CSV.GZ", "in/c.tsv.zst", "in/d.psv", "in/e.txt", "in/2024-01-05.csv",
		"in/.hidden.csv", "in/notes.md", "in/done.json", "in/below/x.csv", "in/2024-01-05/y.csv", "in/dir.csv/z.csv", "in.csv", "inside/q.csv",
	} {
		s.Put(name, []byte(header))
		local := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(local), 0o700))
		require.NoError(t, os.WriteFile(local, []byte(header), 0o600))
	}
	day := time.Date(2024, 1, 5, 0, 0, 0, 0, time.UTC)
	stores := new(bucket.Stores)
	for pattern, want := range map[string]int{
		"": 1, "in": 7, "in/": 7, "in/a.csv": 1, "in/notes.md": 1, "in/*.csv": 4, "in/*": 10, "in/[ab].csv": 2, "in/dir.csv": 1,
		"in/{date}.csv": 1, "in/{date}": 1, "in/{date}*": 1, "in/none-{date}.csv": 0, "none-{date}": 0, "none-{date}/*.csv": 0,
		"in/none*": 0, "none/*.csv": 0, "none": -1, "none/": -1, "none.csv": -1, "in/none.csv": -1,
	} {
		local, localErr := pipeline.Source{Name: "disk", Path: bucket.Path(filepath.Join(dir, pattern))}.Files(t.Context(), stores, day)
		stored, storedErr := pipeline.Source{Name: "s3", Path: s.At(pattern)}.Files(t.Context(), stores, day)
		if want < 0 {
			require.ErrorIs(t, localErr, fs.ErrNotExist, pattern)
			require.ErrorIs(t, storedErr, fs.ErrNotExist, pattern)
			continue
		}
		require.NoError(t, localErr, pattern)
		require.NoError(t, storedErr, pattern)
		assert.Len(t, stored, want, pattern)
		var localNames, storedNames []string
		for _, file := range local {
			localNames = append(localNames, strings.TrimPrefix(filepath.ToSlash(file.String()), dir+"/"))
		}
		for _, file := range stored {
			storedNames = append(storedNames, strings.TrimPrefix(file.String(), "s3://"+tests3.Bucket+"/"))
			assert.Equal(t, s.At(strings.TrimPrefix(file.String(), "s3://"+tests3.Bucket+"/")), file, "with the parameters that open it")
		}
		assert.Equal(t, localNames, storedNames, pattern)
		byURL, err := pipeline.Source{Name: "disk", Path: at(t, "file://"+dir+"/"+pattern)}.Files(t.Context(), stores, day)
		require.NoError(t, err, pattern)
		assert.Equal(t, local, byURL, pattern)
	}
}

func TestSourceURLIsChecked(t *testing.T) {
	t.Parallel()
	for location, why := range map[string]string{
		"s3://":                 "names no bucket",
		"s3://b/*/a.csv":        "only the last part",
		"s3://b/a?b.csv":        `has the parameter "b.csv"`,
		"s3://b/[.csv":          "syntax error in pattern",
		"ftp://host/a.csv":      "has not one of the schemes",
		"s3://key:secret@b/a":   "has a user in it",
		"s3://b/a?token=secret": `has the parameter "token"`,
	} {
		path, err := bucket.Parse(location)
		if err == nil {
			err = pipeline.CheckSources([]pipeline.Source{{Name: "x", Path: path}})
		}
		require.ErrorContains(t, err, why, location)
		assert.NotContains(t, err.Error(), "secret")
	}
	require.NoError(t, pipeline.CheckSources([]pipeline.Source{{Name: "x", Path: at(t, "s3://b/in/{date}/*.csv.gz")}}))
}

// sheetOf is a file that repeats and contradicts itself, so that it is read three
// times.
func sheetOf(t *testing.T, seed uint64) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, pipeline.Generate(t.Context(), &b, pipeline.Generator{Rows: 20_000, Users: 100, Seed: seed}))
	return b.Bytes()
}

func TestLoadObject(t *testing.T) {
	t.Parallel()
	s, f := tests3.New(t), newFixture(t)
	content := sheetOf(t, 1)
	s.Put("a.csv", content)
	before := s.Objects()
	got := f.loadPath(s.URL("a.csv"))
	assert.Equal(t, pipeline.StatusLoaded, got.Status, got.Error)
	assert.Equal(t, "s3://tally/a.csv", got.Path)
	assert.Equal(t, "s3://tally/a.csv", one[string](f, "SELECT path FROM etl_files"))
	assert.Positive(t, got.Duplicate+got.Conflict, "it was read three times")
	assert.Equal(t, pipeline.StatusUnchanged, f.load("same.csv", string(content)).Status)
	assert.Equal(t, before, s.Objects(), "a source is only read")
	f.verify()
}

// Every answer breaks off once or more, of plain and of compressed objects.
func TestLoadSurvivesBrokenAnswers(t *testing.T) {
	t.Parallel()
	s, f := tests3.New(t), newFixture(t)
	content := sheetOf(t, 2)
	var zipped, packed bytes.Buffer
	gz := gzip.NewWriter(&zipped)
	_, err := gz.Write(content)
	require.NoError(t, err)
	require.NoError(t, gz.Close())
	zs, err := zstd.NewWriter(&packed)
	require.NoError(t, err)
	_, err = zs.Write(content)
	require.NoError(t, err)
	require.NoError(t, zs.Close())
	want := f.load("disk.csv", string(content))
	for name, stored := range map[string][]byte{"a.csv": content, "a.csv.gz": zipped.Bytes(), "a.csv.zst": packed.Bytes()} {
		s.Put(name, stored)
		var broken atomic.Int32
		p := s.Proxy(func(*http.Request) tests3.Fault {
			broken.Add(1)
			return tests3.Fault{Breaks: true, After: int64(len(stored)/3 + 1)}
		})
		other := newFixture(t)
		got := other.loadPath(p.URL(name))
		assert.Equal(t, pipeline.StatusLoaded, got.Status, got.Error)
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
				assert.Equal(t, pipeline.CodeFileChanged, got.ErrorCode)
				assert.Zero(t, one[int64](f, "SELECT count(*) FROM transactions"))
			case c.reading == 0:
				assert.Equal(t, pipeline.CodeNotFound, got.ErrorCode)
			default:
				assert.Equal(t, pipeline.StatusLoaded, got.Status, got.Error)
				want, err := pipeline.Identify(t.Context(), new(bucket.Stores), s.At("a.csv"))
				require.NoError(t, err)
				assert.Equal(t, want.SHA256[:], one[[]byte](f, "SELECT sha256 FROM etl_files"))
			}
			f.verify()
		})
	}
}

// A store that is away is no fact about the file: there is nothing in the ledger.
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
		assert.True(t, pipeline.SourceAway(err), "reading %d: %v", reading, err)
		assert.True(t, pipeline.Retryable(err))
		_, bad := errors.AsType[*pipeline.FileError](err)
		assert.False(t, bad, err)
	}
	assert.Zero(t, one[int64](f, "SELECT count(*) FROM etl_files"))
	assert.Equal(t, pipeline.StatusLoaded, f.loadPath(s.URL("a.csv")).Status)
	f.verify()
}

// A run that is told to stop says nothing about the file that it was at.
func TestStoppingWhileAnObjectIsRead(t *testing.T) {
	t.Parallel()
	s, f := tests3.New(t), newFixture(t)
	s.Put("a.csv", sheetOf(t, 1))
	stop := errors.New("told to stop")
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
		assert.False(t, pipeline.SourceAway(err), err)
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
		s.URL("none.csv"):                      pipeline.CodeNotFound,
		s.URL("cut.csv.gz"):                    pipeline.CodeTruncated,
		s.URL("head.csv"):                      pipeline.CodeMissingColumn,
		s.URL("whole.csv") + "&anonymous=true": pipeline.CodeUnreadable,
		p.URL("whole.csv"):                     pipeline.CodeTruncated,
	} {
		got := f.loadPath(location)
		assert.Equal(t, code, got.ErrorCode, got.Error)
		assert.Equal(t, path.Base(at(t, location).String()), path.Base(got.Path))
		assert.NotContains(t, got.Error, "endpoint=")
	}
}

func TestCheckObject(t *testing.T) {
	t.Parallel()
	s := tests3.New(t)
	s.Put("a.csv", sheetOf(t, 1))
	profile, err := pipeline.Check(t.Context(), new(bucket.Stores), s.At("a.csv"), pipeline.Rules{})
	require.NoError(t, err)
	assert.Equal(t, "s3://tally/a.csv", profile.Path)
	assert.Equal(t, int64(20_000), profile.Read)
}
