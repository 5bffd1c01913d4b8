package bucket

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"
)

const (
	partSize     = 8 << 20          // is sent at a time, and held in memory twice
	abortTimeout = 10 * time.Second // for the parts of a failed upload to be removed
)

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
