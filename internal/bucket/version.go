package bucket

import (
	"cloud.google.com/go/storage"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azure "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"
)

// version is how a store tells one content of an object from the next one.
type version struct {
	etag       string // of S3 and Azure
	generation int64  // of Google
	modified   int64  // Unix time in ns
}

// versionOf is the version that an answer gives.
func versionOf(r *blob.Reader) version {
	v := version{modified: r.ModTime().UnixNano()}
	var amazon s3.GetObjectOutput
	var google *storage.Reader
	var microsoft azure.DownloadStreamResponse
	switch {
	case r.As(&amazon):
		v.etag = aws.ToString(amazon.ETag)
	case r.As(&google):
		v.generation = google.Attrs.Generation
	case r.As(&microsoft):
		if microsoft.ETag != nil {
			v.etag = string(*microsoft.ETag)
		}
	}
	return v
}

// pin has a request answered with that version or not at all. Without one, any
// will do.
func (v version) pin(as func(any) bool) error {
	var amazon *s3.GetObjectInput
	var google **storage.ObjectHandle
	var microsoft *azure.DownloadStreamOptions
	switch {
	case as(&amazon):
		if v.etag != "" {
			amazon.IfMatch = &v.etag
		}
	case as(&google):
		// What is stored compressed must arrive so: its size would not fit.
		*google = (*google).ReadCompressed(true)
		if v.generation != 0 {
			*google = (*google).Generation(v.generation)
		}
	case as(&microsoft):
		if v.etag != "" {
			etag := azcore.ETag(v.etag)
			microsoft.AccessConditions = &azure.AccessConditions{ModifiedAccessConditions: &azure.ModifiedAccessConditions{IfMatch: &etag}}
		}
	}
	return nil
}
