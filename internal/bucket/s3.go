package bucket

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"
	"github.com/minio/minio-go/v7/pkg/s3utils"
	"golang.org/x/sync/errgroup"

	"github.com/opentax/tally/internal/panics"
)

const (
	requestTries = 5           // of the client, which waits up to a second between them
	anyRegion    = "us-east-1" // of servers without regions: requests are signed for one nevertheless

	partSize     = 8 << 20          // is sent at a time, and held in memory twice
	abortTimeout = 10 * time.Second // for the parts of a failed upload to be removed
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
	options := &minio.Options{Secure: secure, Transport: rereadable{transport}, Region: c.region, MaxRetries: requestTries}
	// By default a server with an endpoint of its own is asked for /bucket/key and not for bucket.server/key, since it
	// seldom has the names of all its buckets in the DNS.
	switch c.Get("use_path_style") {
	case "true":
		options.BucketLookup = minio.BucketLookupPath
	case "false":
		options.BucketLookup = minio.BucketLookupDNS
	}
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

func (s *s3Store) head(ctx context.Context, key string) (object, error) {
	info, err := s.client.StatObject(ctx, s.bucket, key, minio.StatObjectOptions{})
	return object{key, info.ETag, info.Size}, err
}

func (s *s3Store) list(ctx context.Context, prefix string, shallow bool, found func(object)) error {
	options := minio.ListObjectsOptions{Prefix: prefix, Recursive: !shallow, FetchOwner: new(false)}
	for info := range s.client.ListObjectsIter(ctx, s.bucket, options) {
		if info.Err != nil {
			return info.Err
		}
		found(object{info.Key, info.ETag, info.Size})
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

// s3Upload sends an object: in one request where it is small, else each part while the
// next one is filled.
type s3Upload struct {
	*s3Store
	ctx     context.Context
	key     string
	options minio.PutObjectOptions

	filling, spare []byte
	sending        errgroup.Group // the part on its way; keeps the first error
	id             string         // of the upload in parts
	parts          []minio.CompletePart
}

func (s *s3Store) create(ctx context.Context, key, contentType string) (io.WriteCloser, error) {
	return &s3Upload{s3Store: s, ctx: ctx, key: key, options: minio.PutObjectOptions{ContentType: contentType, ServerSideEncryption: s.sse}}, nil
}

func (u *s3Upload) Write(b []byte) (n int, err error) {
	for n < len(b) {
		if len(u.filling) == partSize {
			if err := u.send(); err != nil {
				return n, err
			}
		}
		room := min(len(b)-n, partSize-len(u.filling))
		if want := len(u.filling) + room; want > cap(u.filling) { // by and by: most objects are small
			u.filling = append(make([]byte, 0, min(partSize, max(want, 2*cap(u.filling)))), u.filling...)
		}
		u.filling = append(u.filling, b[n:n+room]...)
		n += room
	}
	return n, nil
}

// send begins to send a part, once the one before has arrived.
func (u *s3Upload) send() error {
	if err := u.sending.Wait(); err != nil {
		return err
	}
	part, number := u.filling, len(u.parts)+1
	u.filling, u.spare = u.spare[:0], part
	u.parts = append(u.parts, minio.CompletePart{PartNumber: number})
	u.sending.Go(func() (err error) {
		defer panics.Recover(&err)
		if u.id == "" {
			if u.id, err = u.client.NewMultipartUpload(u.ctx, u.bucket, u.key, u.options); err != nil {
				return err
			}
		}
		options := minio.PutObjectPartOptions{Md5Base64: checksum(part)}
		sent, err := u.client.PutObjectPart(u.ctx, u.bucket, u.key, u.id, number, bytes.NewReader(part), int64(len(part)), options)
		u.parts[number-1].ETag = sent.ETag
		return err
	})
	return nil
}

// Close completes the object, or removes the parts that have arrived.
func (u *s3Upload) Close() error {
	if len(u.parts) == 0 {
		_, err := u.client.PutObject(u.ctx, u.bucket, u.key, bytes.NewReader(u.filling), int64(len(u.filling)), checksum(u.filling), "", u.options)
		return err
	}
	err := u.send() // what is left, never nothing
	if err == nil {
		err = u.sending.Wait()
	}
	if err == nil {
		_, err = u.client.CompleteMultipartUpload(u.ctx, u.bucket, u.key, u.id, u.parts, minio.PutObjectOptions{})
	}
	if err != nil && u.id != "" {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(u.ctx), abortTimeout)
		defer cancel()
		_ = u.client.AbortMultipartUpload(ctx, u.bucket, u.key, u.id) // what stays is for the store's own rules
	}
	return err
}

// rereadable has net/http finish with a request's body before the response is closed or an
// error returned: it may go on reading the body after the response has come, and the
// library's next attempt reads the same one from the start.
type rereadable struct{ http.RoundTripper }

func (t rereadable) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return t.RoundTripper.RoundTrip(r)
	}
	closed := make(chan struct{})  // once net/http does not read any more, also after an error
	r = r.WithContext(r.Context()) // a copy
	r.Body = body{r.Body, sync.OnceFunc(func() { close(closed) })}
	response, err := t.RoundTripper.RoundTrip(r)
	if err != nil {
		<-closed
		return nil, err
	}
	response.Body = body{response.Body, func() { <-closed }} // closing it also ends the sending
	return response, nil
}

type body struct {
	io.ReadCloser
	closed func()
}

func (b body) Close() error {
	defer b.closed()
	return b.ReadCloser.Close()
}

func checksum(content []byte) string {
	sum := md5.Sum(content) // which every server compares
	return base64.StdEncoding.EncodeToString(sum[:])
}
