package bucket_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, good := range []string{
		"s3://b", "s3://b/", "s3://b/a b/c#1.csv", "s3://b/100%25.csv", "gs://b/a?anonymous=true", "azblob://c/a?storage_account=x",
		"s3://b/a?endpoint=http://localhost:9000&use_path_style=true&region=eu-central-1",
	} {
		l, err := bucket.Parse(good)
		require.NoError(t, err, good)
		_, local := l.Local()
		assert.False(t, local, good)
		assert.False(t, l.IsZero(), good)
	}
	for bad, why := range map[string]string{
		"http://host/a":                       "http://host/a has not one of the schemes",
		"ftp://lake":                          "has not one of the schemes s3://, gs://, azblob://",
		"mem://":                              "has not one of the schemes",
		"s3://":                               "names no bucket",
		"s3:///a":                             "names no bucket",
		"s3://key:secret@b/a":                 "s3://b/a has a user in it",
		"s3://localhost:9000/b":               "names a server instead of a bucket",
		"s3://b/100%.csv":                     "s3://b/100%.csv has a % in it that encodes nothing; write %25",
		"s3://b/a?secret=hunter":              `s3://b/a has the parameter "secret"`,
		"s3://b/a?accelerate=true":            `has the parameter "accelerate", want region, endpoint, use_path_style, profile, role, anonymous, ssetype, kmskeyid`,
		"s3://b/a%FF.csv":                     "has a key that no store has",
		"file:///a?x=1":                       `has the parameter "x", want none`,
		"file://a/b":                          "three slashes",
		"s3://b/" + strings.Repeat("a", 1025): "has a key that no store has",
	} {
		l, err := bucket.Parse(bad)
		require.ErrorContains(t, err, why, bad)
		assert.NotContains(t, err.Error(), "hunter")
		assert.NotContains(t, err.Error(), "key:secret")
		assert.True(t, l.IsZero())
		require.EqualError(t, l.UnmarshalText([]byte(bad)), err.Error())
	}
}

func TestLocalPaths(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]string{
		"": "", "a.csv": "a.csv", "/srv/in": "/srv/in", "./s3:/x": "./s3:/x", "/srv/s3://x": "/srv/s3://x", `C:\in`: `C:\in`, "/srv/what?.csv": "/srv/what?.csv",
		"file:///srv/a%20b": "/srv/a b", "2024-01-01.csv": "2024-01-01.csv",
	} {
		l := at(t, location)
		path, ok := l.Local()
		assert.True(t, ok)
		assert.Equal(t, want, path)
		assert.Equal(t, bucket.Path(want), l)
		assert.Equal(t, location == "", l.IsZero())
	}
}

// Whatever prints it, a location shows what may be noted.
func TestPrintedLocationsHoldNoSecrets(t *testing.T) {
	t.Parallel()
	for location, name := range map[string]string{
		"s3://b/a.csv?endpoint=x&role=y": "s3://b/a.csv",
		"s3://b":                         "s3://b",
		"s3://b/?region=eu":              "s3://b",
		"/srv/what?.csv":                 "/srv/what?.csv",
		"s3://b/50%25/a%3Fb%20c.csv":     "s3://b/50%25/a%3Fb c.csv",
	} {
		l := at(t, location)
		assert.Equal(t, name, l.String())
		assert.Equal(t, name, fmt.Sprintf("%v", l))
		assert.Equal(t, name, fmt.Sprintf("%#v", l))
		assert.Equal(t, "{L:"+name+"}", fmt.Sprintf("%+v", struct{ L bucket.Location }{l}))
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "path", l)
		assert.NotContains(t, log.String(), "role=")
		assert.Contains(t, log.String(), fmt.Sprintf(`"path":%q`, name))
		if name != "s3://b" {
			assert.Equal(t, name, at(t, name).String(), "a name is read as what it is the name of")
		}
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
		folder, name := at(t, location).Split()
		assert.Equal(t, at(t, want[0]), folder, location)
		assert.Equal(t, want[1], name, location)
		if name != "" {
			assert.Equal(t, at(t, location), folder.Join(name))
		}
	}
	assert.Equal(t, at(t, "s3://b/a/c.csv"), at(t, "s3://b/a").Join("c.csv"))
	assert.Equal(t, at(t, "s3://b/in/2024-01-05/*.csv?role={date}"), at(t, "s3://b/in/{date}/*.csv?role={date}").Replace("{date}", "2024-01-05"))
}

// What an error says of a web address is without its parameters, which can be a signature.
func TestRedactedErrorsHoldNoSecrets(t *testing.T) {
	t.Parallel()
	inner := errors.New(`Get "https://acct.blob.core.windows.net/lake/manifest.json?sig=hunter2&sv=2020": dial tcp: refused`)
	err := bucket.Redact(fmt.Errorf("read manifest.json: %w", inner))
	assert.Equal(t, `read manifest.json: Get "https://acct.blob.core.windows.net/lake/manifest.json": dial tcp: refused`, err.Error())
	assert.ErrorIs(t, err, inner)
	assert.NoError(t, bucket.Redact(nil))
}

// The ledger finds exports by the name, so it is one name however the target is written.
func TestNameOfATargetIsOne(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]string{
		"s3://b": "s3://b", "s3://b/": "s3://b", "s3://b/a/lake//": "s3://b/a/lake", "s3://b//a?region=eu": "s3://b/a", "s3://b/a%20b": "s3://b/a b",
		"file:///srv/lake/": "/srv/lake", "/srv/lake/": "/srv/lake",
	} {
		assert.Equal(t, want, at(t, location).Clean().String(), location)
	}
	dir := t.TempDir()
	for _, location := range []string{dir + "/", "file://" + dir} {
		target, err := new(bucket.Stores).Target(t.Context(), at(t, location))
		require.NoError(t, err)
		assert.Equal(t, target.String(), at(t, location).Clean().String())
	}
}
