package bucket

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"
	"github.com/minio/minio-go/v7/pkg/s3utils"
)

const (
	// requestTries bounds the client, which waits up to a second between them.
	requestTries = 5
	// anyRegion is for servers of one's own, which have no regions; requests are signed
	// for one nevertheless.
	anyRegion = "us-east-1"
)

// s3Store is a bucket of Amazon S3, or of a server that speaks its protocol.
type s3Store struct {
	client    minio.Core
	transport *http.Transport
	bucket    string
	sse       encrypt.ServerSide // of what is written
}

// openS3 takes credentials, region and endpoint from where the AWS tools look for them.
func openS3(ctx context.Context, l Location) (store, error) {
	c := newS3Config(l.parameters())
	for _, name := range []string{"use_path_style", "anonymous"} {
		if value := c.Get(name); value != "" && value != "true" && value != "false" {
			return nil, errors.New("parameter " + name + ": want true or false")
		}
	}
	secure := strings.HasPrefix(c.endpoint, "https://")
	transport, err := minio.DefaultTransport(secure)
	if err != nil {
		return nil, err
	}
	s := &s3Store{transport: transport, bucket: l.bucket}
	options := &minio.Options{Secure: secure, Transport: rereadable{transport}, Region: c.region, BucketLookup: c.lookup(), MaxRetries: requestTries}
	if s.sse, err = c.encryption(); err != nil {
		return nil, err
	}
	if c.region == "" {
		return nil, errors.New("no region: set AWS_REGION, or add ?region=…")
	}
	if options.Creds, err = c.credentials(ctx); err != nil {
		return nil, err
	}
	if s.client.Client, err = minio.New(c.endpoint, options); err != nil {
		return nil, err
	}
	s.client.SetS3EnableDualstack(strings.Contains(c.endpoint, ".dualstack."))
	return s, s3utils.CheckValidBucketName(l.bucket)
}

// s3Config is how a store is reached.
type s3Config struct {
	url.Values
	profile, region, endpoint string
}

func newS3Config(q url.Values) s3Config {
	c := s3Config{Values: q, profile: cmp.Or(q.Get("profile"), os.Getenv("AWS_PROFILE"), "default")}
	c.region = cmp.Or(q.Get("region"), os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"), c.setting("region"))
	c.endpoint = cmp.Or(q.Get("endpoint"), os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"), c.setting("endpoint_url"))
	if c.endpoint == "" {
		c.endpoint = "https://s3.amazonaws.com" // the client asks that of the region
	} else {
		c.region = cmp.Or(c.region, anyRegion)
	}
	return c
}

// lookup is automatic by default: a server with an endpoint of its own is asked for
// /bucket/key and not for bucket.server/key, since it seldom has the names of all its
// buckets in the DNS.
func (c s3Config) lookup() minio.BucketLookupType {
	return map[string]minio.BucketLookupType{"true": minio.BucketLookupPath, "false": minio.BucketLookupDNS}[c.Get("use_path_style")]
}

func (c s3Config) encryption() (encrypt.ServerSide, error) {
	switch kind := c.Get("ssetype"); {
	case kind == "aws:kms":
		return encrypt.NewSSEKMS(c.Get("kmskeyid"), nil)
	case kind == "AES256":
		return encrypt.NewSSE(), nil
	case kind != "" || c.Has("kmskeyid"):
		return nil, errors.New("parameter ssetype: want AES256, or aws:kms with kmskeyid")
	}
	return nil, nil //nolint:nilnil // none is no error
}

func (s *s3Store) get(ctx context.Context, key, tag string, from int64) (answer, error) {
	options := minio.GetObjectOptions{Checksum: true} // compared with what arrives, where the whole object does
	var err error
	if tag != "" {
		err = options.SetMatchETag(tag)
	}
	if from > 0 {
		err = errors.Join(err, options.SetRange(from, 0))
	}
	if err != nil {
		return answer{}, err
	}
	body, info, _, err := s.client.GetObject(ctx, s.bucket, key, options)
	return answer{body, version{info.ETag, info.LastModified.UnixNano()}, from + info.Size}, err
}

func (s *s3Store) list(ctx context.Context, prefix string, shallow bool, found func(string, int64)) error {
	options := minio.ListObjectsOptions{Prefix: prefix, Recursive: !shallow, FetchOwner: new(false)}
	for object := range s.client.ListObjectsIter(ctx, s.bucket, options) {
		if object.Err != nil {
			return object.Err
		}
		found(object.Key, object.Size)
	}
	return ctx.Err() // which ends it without an error
}

func (s *s3Store) remove(ctx context.Context, key string) error {
	return s.client.RemoveObject(ctx, s.bucket, key, minio.RemoveObjectOptions{})
}

func (s *s3Store) status(err error) int {
	if _, ok := errors.AsType[credentials.ErrorResponse](err); ok {
		return http.StatusForbidden
	}
	response, _ := errors.AsType[minio.ErrorResponse](err)
	return response.StatusCode
}

func (s *s3Store) close() error {
	s.transport.CloseIdleConnections()
	return nil
}
