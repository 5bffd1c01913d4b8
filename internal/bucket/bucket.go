// Package bucket opens what a user names as a place for files: a folder, or a prefix of
// an S3, Google Cloud Storage or Azure bucket. Credentials come from where each
// provider's own tools take them: environment, shared files, the machine's role.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	gcaws "gocloud.dev/aws"
	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/s3blob"

	_ "gocloud.dev/blob/azureblob" // registers azblob://
	_ "gocloud.dev/blob/gcsblob"   // registers gs://
)

// schemes of the object stores that Tally reads and writes.
func schemes() []string { return []string{"s3", "gs", "azblob"} }

// IsURL tells a place in an object store from a path of this machine.
func IsURL(location string) bool {
	scheme, _, found := strings.Cut(location, "://")
	return found && !strings.ContainsAny(scheme, `/\`)
}

// Place is a folder, or a prefix of a bucket. Every key is relative to it.
type Place struct {
	*blob.Bucket
	// Name is how the place is called in messages and in the ledger: a whole path, or
	// the URL without its parameters.
	Name string

	folder string // of this machine; "" for a bucket
}

// Check says what is wrong with a URL, without opening it.
func Check(location string) error {
	_, err := parse(location)
	return err
}

func parse(location string) (*url.URL, error) {
	u, err := url.Parse(location)
	switch {
	case err != nil:
		return nil, errors.New("is no URL") // its own error would show what may be a secret
	case !slices.Contains(schemes(), u.Scheme):
		return nil, fmt.Errorf("has the scheme %s://, want %s://", u.Scheme, strings.Join(schemes(), "://, "))
	case u.Host == "":
		return nil, errors.New("names no bucket")
	case u.User != nil:
		return nil, errors.New("has a user in it; credentials come from the environment")
	}
	return u, nil
}

// Name is a URL without its parameters, as the ledger and messages have it.
func Name(location string) string {
	name, _, _ := strings.Cut(location, "?")
	return name
}

// Open opens a place: a folder, which is made where it is missing, or
// s3://, gs:// or azblob:// with a bucket and a prefix. Parameters of the URL are those
// of gocloud.dev, such as ?region=eu-central-1&endpoint=https://….
//
// That a bucket can be reached shows when it is used.
func Open(ctx context.Context, location string) (*Place, error) {
	if !IsURL(location) {
		return openFolder(location)
	}
	u, err := parse(location)
	if err != nil {
		return nil, fmt.Errorf("%s %w", Name(location), err)
	}
	prefix := strings.Trim(u.Path, "/")
	u.Path = ""
	opened, err := openBucket(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", Name(location), err)
	}
	if prefix != "" {
		opened = blob.PrefixedBucket(opened, prefix+"/")
	}
	return &Place{Bucket: opened, Name: strings.TrimSuffix(Name(location), "/")}, nil
}

func openBucket(ctx context.Context, u *url.URL) (*blob.Bucket, error) {
	if u.Scheme == s3blob.Scheme {
		return openS3(ctx, u)
	}
	return blob.OpenBucket(ctx, u.String())
}

// openS3 also sets what servers other than Amazon's need: the bucket in the path, since
// few of them have a host name for each, and a region, of which any will do.
func openS3(ctx context.Context, u *url.URL) (*blob.Bucket, error) {
	q := u.Query()
	general := u.Query()
	for _, own := range []string{"ssetype", "kmskeyid", "accelerate", "use_path_style", "s3ForcePathStyle", "disable_https"} {
		general.Del(own)
	}
	config, err := gcaws.V2ConfigFromURLParams(ctx, general)
	if err != nil {
		return nil, err
	}
	if q.Has("endpoint") || config.BaseEndpoint != nil {
		if !q.Has("use_path_style") && !q.Has("s3ForcePathStyle") {
			q.Set("use_path_style", "true")
		}
		if config.Region == "" {
			q.Set("region", "us-east-1")
		}
	}
	u.RawQuery = q.Encode()
	return new(s3blob.URLOpener).OpenBucketURL(ctx, u)
}

func openFolder(dir string) (*Place, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	// The temporary files of what is being written lie next to it, so that they can be
	// renamed, whatever is mounted where.
	options := &fileblob.Options{CreateDir: true, NoTempDir: true, Metadata: fileblob.MetadataDontWrite, DirFileMode: 0o755}
	opened, err := fileblob.OpenBucket(abs, options)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", abs, err)
	}
	return &Place{Bucket: opened, Name: abs, folder: abs}, nil
}

// Sync makes a file that was written outlast a power cut, and the names in its folder.
// With "" it is the place's own folder. An object store does so by itself.
func (p *Place) Sync(key string) error {
	if p.folder == "" {
		return nil
	}
	path := filepath.Join(p.folder, filepath.FromSlash(key))
	if err := syncPath(path); err != nil || key == "" {
		return err
	}
	for dir := filepath.Dir(path); len(dir) >= len(p.folder); dir = filepath.Dir(dir) {
		if err := syncPath(dir); err != nil {
			return err
		}
	}
	return nil
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
