package bucket

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Schemes of stores, and of plain files.
const (
	schemeS3    = "s3"
	schemeGS    = "gs"
	schemeAzure = "azblob"
	schemeFile  = "file"
)

// parameters are what may follow the ? of a URL.
func parameters(scheme string) []string {
	switch scheme {
	case schemeS3:
		return []string{"region", "endpoint", "use_path_style", "profile", "role", "anonymous", "dualstack", "fips", "accelerate",
			"ssetype", "kmskeyid", "request_checksum_calculation", "response_checksum_validation"}
	case schemeGS:
		return []string{"anonymous"}
	case schemeAzure:
		return []string{"storage_account", "domain", "protocol", "cdn", "localemu"}
	}
	return nil
}

// location is a URL taken apart.
type location struct {
	scheme string
	bucket string
	key    string // as the store has it, with no / before it
	query  string // parameters, as they were written
}

// schemes of URLs that can be opened.
func schemes() []string { return []string{schemeS3, schemeGS, schemeAzure, schemeFile} }

// IsURL tells a URL, whether it can be opened or not, from a path of this machine.
func IsURL(location string) bool {
	scheme, _, found := strings.Cut(location, "://")
	return found && !strings.ContainsAny(scheme, `/\`)
}

// Name is a location without its parameters, as it may be shown and noted. That of
// a path is the path.
func Name(location string) string {
	if !IsURL(location) {
		return location
	}
	name, _, _ := strings.Cut(location, "?")
	scheme, rest, _ := strings.Cut(name, "://")
	host, key, slash := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = host[i+1:] // what stands before it might be a secret
	}
	if slash {
		host += "/"
	}
	return scheme + "://" + host + key
}

// Local is the path that a location names on this machine, if it does: it is no
// URL, or that of a file.
func Local(location string) (file string, ok bool) {
	if !IsURL(location) {
		return location, true
	}
	l, err := parse(location)
	if err != nil || l.scheme != schemeFile {
		return "", false
	}
	return "/" + l.key, true
}

// Check says what is wrong with a URL, in words that follow its name. Parameters
// that a store does not know are refused. For s3 they are region, endpoint,
// use_path_style (true by default for a server with an endpoint of its own),
// profile, role, anonymous, dualstack, fips, accelerate, ssetype and kmskeyid for
// writing, and request_checksum_calculation and response_checksum_validation; for gs
// anonymous; for azblob storage_account, domain, protocol, cdn and localemu.
func Check(location string) error {
	_, err := parse(location)
	return err
}

// Split gives the folder that an object is in, with the parameters, and its name
// there. The name of a folder, a URL that ends in / or has a bucket alone, is "".
func Split(location string) (folder, name string, err error) {
	l, err := named(location)
	if err != nil {
		return "", "", err
	}
	l.key, name = path.Split(l.key)
	return l.String(), name, nil
}

// parse takes a URL apart. Its errors never show it: a secret might be in it.
func parse(text string) (l location, err error) {
	scheme, rest, _ := strings.Cut(text, "://")
	if !IsURL(text) || !slices.Contains(schemes(), scheme) {
		return l, fmt.Errorf("has not one of the schemes %s://", strings.Join(schemes(), "://, "))
	}
	l.scheme = scheme
	rest, l.query, _ = strings.Cut(rest, "?")
	var key string
	l.bucket, key, _ = strings.Cut(rest, "/")
	if l.key, err = url.PathUnescape(key); err != nil {
		return l, errors.New("has a % in it that encodes nothing; write %25")
	}
	switch {
	case scheme == schemeFile && l.bucket != "":
		return l, errors.New("is no file: its URL begins with three slashes, file:///")
	case scheme == schemeFile:
	case strings.Contains(l.bucket, "@"):
		return l, errors.New("has a user in it; credentials come from the environment")
	case l.bucket == "":
		return l, errors.New("names no bucket")
	case strings.Contains(l.bucket, ":"):
		return l, errors.New("names a server instead of a bucket; set AWS_ENDPOINT_URL, or the parameter endpoint")
	}
	return l, l.checkQuery()
}

// named is parse with errors that say of which location they are.
func named(text string) (location, error) {
	l, err := parse(text)
	if err != nil {
		err = fmt.Errorf("%s %w", Name(text), err)
	}
	return l, err
}

func (l location) checkQuery() error {
	values, err := url.ParseQuery(l.query)
	if err != nil {
		return errors.New("has parameters that cannot be read")
	}
	known := parameters(l.scheme)
	for name := range values {
		if slices.Contains(known, name) {
			continue
		}
		if len(known) == 0 {
			return fmt.Errorf("has the parameter %q, want none", name)
		}
		return fmt.Errorf("has the parameter %q, want %s", name, strings.Join(known, ", "))
	}
	return nil
}

// String is the URL with its parameters.
func (l location) String() string {
	text := l.name()
	if l.query != "" {
		text += "?" + l.query
	}
	return text
}

// name is the URL without its parameters. Only what parse would take for
// something else is encoded, so that names stay readable.
func (l location) name() string {
	return l.scheme + "://" + l.bucket + "/" + strings.NewReplacer("%", "%25", "?", "%3F").Replace(l.key)
}

// parameters are those of the URL, which were checked.
func (l location) parameters() url.Values {
	values, _ := url.ParseQuery(l.query) // parse has read it
	return values
}

// folder is the location with a key that ends in /, or with none.
func (l location) folder() location {
	if l.key != "" && !strings.HasSuffix(l.key, "/") {
		l.key += "/"
	}
	return l
}

// in is the object of that name in a folder.
func (l location) in(name string) location {
	l = l.folder()
	l.key += name
	return l
}
