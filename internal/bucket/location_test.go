package bucket_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
)

func TestIsURL(t *testing.T) {
	t.Parallel()
	for _, location := range []string{"s3://b", "gs://b/k", "azblob://c/k", "file:///tmp/a", "ftp://host/a"} {
		assert.True(t, bucket.IsURL(location), location)
	}
	for _, path := range []string{"", "a.csv", "/srv/in", "./s3:/x", "/srv/s3://x", `C:\in`, "2024-01-01.csv"} {
		assert.False(t, bucket.IsURL(path), path)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, good := range []string{
		"s3://b", "s3://b/", "s3://b/a b/c#1.csv", "s3://b/100%25.csv", "gs://b/a?anonymous=true", "azblob://c/a?storage_account=x",
		"s3://b/a?endpoint=http://localhost:9000&use_path_style=true&region=eu-central-1", "file:///srv/in",
	} {
		assert.NoError(t, bucket.Check(good), good)
	}
	for bad, why := range map[string]string{
		"/srv/in":                "has not one of the schemes",
		"http://host/a":          "has not one of the schemes",
		"mem://":                 "has not one of the schemes",
		"s3://":                  "names no bucket",
		"s3:///a":                "names no bucket",
		"s3://key:secret@b/a":    "has a user in it",
		"s3://localhost:9000/b":  "names a server instead of a bucket",
		"s3://b/100%.csv":        "write %25",
		"s3://b/a?secret=hunter": `has the parameter "secret"`,
		"file:///a?x=1":          `has the parameter "x", want none`,
		"file://a/b":             "three slashes",
	} {
		err := bucket.Check(bad)
		require.ErrorContains(t, err, why, bad)
		assert.NotContains(t, err.Error(), "hunter")
		_, err = bucket.Open(t.Context(), bad)
		if bucket.IsURL(bad) {
			require.ErrorContains(t, err, why, bad)
			assert.NotContains(t, err.Error(), "key:secret")
		}
	}
}

func TestNameHoldsNoSecrets(t *testing.T) {
	t.Parallel()
	for location, name := range map[string]string{
		"s3://b/a.csv?endpoint=x&role=y": "s3://b/a.csv",
		"s3://key:secret@b/a.csv":        "s3://b/a.csv",
		"s3://b":                         "s3://b",
		"/srv/what?.csv":                 "/srv/what?.csv",
	} {
		assert.Equal(t, name, bucket.Name(location))
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	for location, want := range map[string][2]string{
		"s3://b/a/c.csv":          {"s3://b/a/", "c.csv"},
		"s3://b/c.csv?region=x":   {"s3://b/?region=x", "c.csv"},
		"s3://b":                  {"s3://b/", ""},
		"s3://b/a/":               {"s3://b/a/", ""},
		"s3://b/50%25/a%3Fb.csv":  {"s3://b/50%25/", "a?b.csv"},
		"s3://b/in/*.csv?role=rn": {"s3://b/in/?role=rn", "*.csv"},
	} {
		folder, name, err := bucket.Split(location)
		require.NoError(t, err, location)
		assert.Equal(t, want, [2]string{folder, name}, location)
	}
}

func TestLocal(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]string{"/srv/in": "/srv/in", "file:///srv/a%20b": "/srv/a b", "s3://b/a": ""} {
		path, ok := bucket.Local(location)
		assert.Equal(t, want, path)
		assert.Equal(t, want != "", ok)
	}
}

// What an error says of a web address is without its parameters, which can be a signature.
func TestShownErrorsHoldNoSecrets(t *testing.T) {
	t.Parallel()
	inner := errors.New(`Get "https://acct.blob.core.windows.net/lake/manifest.json?sig=hunter2&sv=2020": dial tcp: refused`)
	err := bucket.Shown(fmt.Errorf("read manifest.json: %w", inner))
	assert.Equal(t, `read manifest.json: Get "https://acct.blob.core.windows.net/lake/manifest.json": dial tcp: refused`, err.Error())
	assert.ErrorIs(t, err, inner)
	assert.NoError(t, bucket.Shown(nil))
}

// The ledger looks exports up by the name, so it is one name however the place is written.
func TestPlaceNameIsThatOfOpen(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]string{
		"s3://b": "s3://b", "s3://b/": "s3://b", "s3://b/a/lake//": "s3://b/a/lake", "s3://b//a?region=eu": "s3://b/a", "s3://b/a%20b": "s3://b/a b",
		"file:///srv/lake/": "/srv/lake", "/srv/lake/": "/srv/lake", "ftp://b/a": "ftp://b/a",
	} {
		assert.Equal(t, want, bucket.PlaceName(location), location)
	}
	dir := t.TempDir()
	for _, location := range []string{dir + "/", "file://" + dir} {
		place, err := bucket.Open(t.Context(), location)
		require.NoError(t, err)
		assert.Equal(t, place.Name, bucket.PlaceName(location))
		require.NoError(t, place.Close())
	}
}
