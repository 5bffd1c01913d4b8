//go:build !allstores

package bucket

import (
	"context"
	"errors"
)

// openCloud says how to get a program that has the clients.
func openCloud(_ context.Context, l Location) (store, error) {
	advice := "build it with -tags allstores, or use the image"
	if l.scheme == schemeGS {
		advice += ", or the bucket's S3 endpoint: s3://" + l.bucket + "/…?endpoint=https://storage.googleapis.com with an HMAC key"
	}
	return nil, errors.New("this program was built without the clients of Google and Azure: " + advice)
}
