package bucket

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// Schemes of stores, and of plain files.
const (
	schemeS3    = "s3"
	schemeGS    = "gs"
	schemeAzure = "azblob"
	schemeFile  = "file"
)

// parameters may follow the ? of a URL, by its scheme.
var parameters = map[string][]string{
	schemeS3:    {"region", "endpoint", "use_path_style", "profile", "role", "anonymous", "ssetype", "kmskeyid"},
	schemeGS:    {"anonymous"},
	schemeAzure: {"storage_account", "domain", "protocol", "cdn", "localemu"},
	schemeFile:  nil,
}

const maxKey = 1024 // bytes, which stores take

// Location is a path of this machine, or the URL of an object, a folder or a bucket. The
// zero value is no location. Equal locations are ==. Printed or logged, a location has
// no parameters.
type Location struct {
	scheme string // "" of a path
	bucket string
	key    string // as the store has it, with no / before it; or the path
	query  string // parameters, as they were written
}

// Path is the location of a file or folder of this machine.
func Path(path string) Location { return Location{key: path} }

// Parse reads a URL or a path; "" is no location. It refuses parameters that the store
// does not have. For s3 they are region, endpoint, use_path_style (true by default for a
// server with an endpoint of its own), profile, role, anonymous, and ssetype and kmskeyid
// for writing; for gs anonymous; for azblob storage_account, domain, protocol, cdn and
// localemu.
func Parse(text string) (Location, error) {
	scheme, rest, found := strings.Cut(text, "://")
	if !found || strings.ContainsAny(scheme, `/\`) {
		return Path(text), nil
	}
	rest, query, _ := strings.Cut(rest, "?")
	bucket, key, _ := strings.Cut(rest, "/")
	l := Location{scheme: scheme, bucket: bucket, query: query}
	var err error
	if l.key, err = url.PathUnescape(key); err != nil {
		err = errors.New("has a % in it that encodes nothing; write %25")
	} else {
		err = l.check()
	}
	if err != nil {
		user := strings.LastIndexByte(bucket, '@') + 1 // what stands before it might be a secret
		return Location{}, fmt.Errorf("%s://%s %w", scheme, rest[user:], err)
	}
	if scheme == schemeFile {
		return Path("/" + l.key), nil
	}
	return l, nil
}

// check says what is wrong with a URL, in words that follow its name.
func (l Location) check() error {
	known, ok := parameters[l.scheme]
	switch {
	case !ok:
		return errors.New("has not one of the schemes s3://, gs://, azblob://, file://")
	case l.scheme == schemeFile && l.bucket != "":
		return errors.New("is no file: its URL begins with three slashes, file:///")
	case l.scheme == schemeFile:
	case strings.Contains(l.bucket, "@"):
		return errors.New("has a user in it; credentials come from the environment")
	case l.bucket == "":
		return errors.New("names no bucket")
	case strings.Contains(l.bucket, ":"):
		return errors.New("names a server instead of a bucket; set AWS_ENDPOINT_URL, or the parameter endpoint")
	case len(l.key) > maxKey || !utf8.ValidString(l.key):
		return fmt.Errorf("has a key that no store has; want UTF-8 of at most %d bytes", maxKey)
	}
	values, err := url.ParseQuery(l.query)
	if err != nil {
		return errors.New("has parameters that cannot be read")
	}
	for name := range values {
		if !slices.Contains(known, name) {
			return fmt.Errorf("has the parameter %q, want %s", name, cmp.Or(strings.Join(known, ", "), "none"))
		}
	}
	return nil
}

// UnmarshalText is Parse, for settings and flags.
func (l *Location) UnmarshalText(text []byte) (err error) {
	*l, err = Parse(string(text))
	return err
}

// String is the path, or the URL without its parameters, as it may be shown and noted.
// Only what Parse would take for something else is encoded, so that names stay readable.
func (l Location) String() string {
	if l.scheme == "" {
		return l.key
	}
	name := l.scheme + "://" + l.bucket
	if l.key == "" {
		return name
	}
	return name + "/" + strings.NewReplacer("%", "%25", "?", "%3F").Replace(l.key)
}

// GoString is String: %#v shows no parameters either.
func (l Location) GoString() string { return l.String() }

// LogValue is String.
func (l Location) LogValue() slog.Value { return slog.StringValue(l.String()) }

// IsZero reports whether l is no location.
func (l Location) IsZero() bool { return l == Location{} }

// Local is the path on this machine, unless the location is one of a store.
func (l Location) Local() (path string, ok bool) {
	if l.scheme != "" {
		return "", false
	}
	return l.key, true
}

// Abs is the location whatever the working directory is: of a path, the absolute one.
func (l Location) Abs() (Location, error) {
	if l.scheme != "" || l.IsZero() {
		return l, nil
	}
	abs, err := filepath.Abs(l.key)
	return Path(abs), err
}

// Clean is the one location of a folder, however it was written: an absolute path, or a
// URL without a slash at its end.
func (l Location) Clean() Location {
	if l.scheme != "" {
		l.key = strings.Trim(l.key, "/")
		return l
	}
	if abs, err := l.Abs(); err == nil {
		return abs
	}
	return l
}

// Replace replaces a text in the path or key.
func (l Location) Replace(old, new string) Location {
	l.key = strings.ReplaceAll(l.key, old, new)
	return l
}

// Split parts an object from its folder. The name of a folder, a URL that ends in / or
// has a bucket only, is "".
func (l Location) Split() (folder Location, name string) {
	l.key, name = path.Split(l.key)
	return l, name
}

// Join is the object of that name in a folder.
func (l Location) Join(name string) Location {
	l = l.folder()
	l.key += name
	return l
}

// folder is the location with a key that ends in /, or with none.
func (l Location) folder() Location {
	if l.key != "" && !strings.HasSuffix(l.key, "/") {
		l.key += "/"
	}
	return l
}

func (l Location) parameters() url.Values {
	values, _ := url.ParseQuery(l.query) // it was checked
	return values
}
