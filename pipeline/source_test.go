package pipeline_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/tests3"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/synthetic"
	"github.com/opentax/tally/pipeline/transform"
)

const header = "transaction_id,user_id,amount,transaction_date\n"

func TestMain(m *testing.M) {
	if err := tests3.Setenv(); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// at is the location that a path or a URL names.
func at(t *testing.T, text string) bucket.Location {
	t.Helper()
	l, err := bucket.Parse(text)
	require.NoError(t, err)
	return l
}

// A source lists the same files from a store as from a disk.
func TestObjectsAreListedAsFilesAre(t *testing.T) {
	t.Parallel()
	s, dir := tests3.New(t), t.TempDir()
	for _, name := range []string{
		"in/b.csv", "in/a.csv", "in/B.CSV.GZ", "in/c.tsv.zst", "in/d.psv", "in/e.txt", "in/2024-01-05.csv", "in/f.csv.zip",
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
		"": 1, "in": 8, "in/": 8, "in/a.csv": 1, "in/notes.md": 1, "in/*.csv": 4, "in/*": 11, "in/[ab].csv": 2, "in/dir.csv": 1,
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
			assert.Equal(t, s.At(strings.TrimPrefix(file.String(), "s3://"+tests3.Bucket+"/")), file.Location, "with the parameters that open it")
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

func TestCheckObject(t *testing.T) {
	t.Parallel()
	s := tests3.New(t)
	var content bytes.Buffer
	require.NoError(t, synthetic.Write(t.Context(), &content, synthetic.File{Rows: 20_000, Users: 100, Seed: 1}))
	s.Put("a.csv", content.Bytes())
	profile, err := transform.Check(t.Context(), new(bucket.Stores), s.At("a.csv"), transform.Rules{}, 0)
	require.NoError(t, err)
	assert.Equal(t, "s3://tally/a.csv", profile.Path)
	assert.Equal(t, int64(20_000), profile.Read)
}
