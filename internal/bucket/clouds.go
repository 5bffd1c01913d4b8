//go:build allstores

package bucket

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"cloud.google.com/go/storage"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azure "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"gocloud.dev/blob"
	"gocloud.dev/blob/azureblob"
	"gocloud.dev/blob/gcsblob"
	"gocloud.dev/gcerrors"
	"gocloud.dev/gcp"
	"google.golang.org/api/googleapi"
)

// cloud is a bucket of Google's or Azure's.
type cloud struct{ *blob.Bucket }

func openCloud(ctx context.Context, l Location) (store, error) {
	open := openGS
	if l.scheme == schemeAzure {
		open = openAzure
	}
	b, err := open(ctx, l)
	if err != nil {
		return nil, err
	}
	return cloud{b}, nil
}

// openGS takes Application Default Credentials, as gcloud has them.
func openGS(ctx context.Context, l Location) (*blob.Bucket, error) {
	if l.parameters().Get("anonymous") == "true" {
		return gcsblob.OpenBucket(ctx, gcp.NewAnonymousHTTPClient(gcp.DefaultTransport()), l.bucket, nil)
	}
	credentials, err := gcp.DefaultCredentials(ctx)
	if err != nil {
		return nil, errors.Join(errors.New("no credentials for Google Cloud: set GOOGLE_APPLICATION_CREDENTIALS, or run gcloud auth application-default login"), err)
	}
	client, err := gcp.NewHTTPClient(gcp.DefaultTransport(), gcp.CredentialsTokenSource(credentials))
	if err != nil {
		return nil, err
	}
	return gcsblob.OpenBucket(ctx, client, l.bucket, nil)
}

// openAzure takes the account and its credentials from AZURE_STORAGE_…, or from
// where the Azure SDK finds an identity.
func openAzure(ctx context.Context, l Location) (*blob.Bucket, error) {
	if l.parameters().Get("storage_account") == "" && azureblob.NewDefaultServiceURLOptions().AccountName == "" {
		return nil, errors.New("no storage account: set AZURE_STORAGE_ACCOUNT, or add ?storage_account=… (and AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or an identity of Azure)")
	}
	// This opener keeps parameters from sending a SAS token to another server.
	return blob.DefaultURLMux().OpenBucketURL(ctx, &url.URL{Scheme: l.scheme, Host: l.bucket, RawQuery: l.query})
}

func (c cloud) get(ctx context.Context, key, tag string, from int64) (answer, error) {
	r, err := c.NewRangeReader(ctx, key, from, -1, &blob.ReaderOptions{BeforeRead: func(as func(any) bool) error { return pin(as, tag) }})
	if err != nil {
		return answer{}, err
	}
	v := version{modified: r.ModTime().UnixNano()}
	var google *storage.Reader
	var microsoft azure.DownloadStreamResponse
	switch {
	case r.As(&google):
		v.tag = strconv.FormatInt(google.Attrs.Generation, 10)
	case r.As(&microsoft) && microsoft.ETag != nil:
		v.tag = string(*microsoft.ETag)
	}
	return answer{r, v, r.Size()}, nil
}

// pin has a request answered with that version or not at all.
func pin(as func(any) bool, tag string) error {
	var google **storage.ObjectHandle
	var microsoft *azure.DownloadStreamOptions
	switch {
	case as(&google):
		// What is stored compressed must arrive so: its size would not fit.
		*google = (*google).ReadCompressed(true)
		if tag != "" {
			generation, err := strconv.ParseInt(tag, 10, 64)
			*google = (*google).Generation(generation)
			return err
		}
	case as(&microsoft) && tag != "":
		microsoft.AccessConditions = &azure.AccessConditions{ModifiedAccessConditions: &azure.ModifiedAccessConditions{IfMatch: new(azcore.ETag(tag))}}
	}
	return nil
}

func (c cloud) head(ctx context.Context, key string) (object, error) {
	found, err := c.Attributes(ctx, key)
	if err != nil {
		return object{}, err
	}
	return object{key, tagOf(found.As), found.Size}, nil
}

// tagOf is the version's tag in the answer to a listing, or to a question for attributes;
// "" where there is none.
func tagOf(as func(any) bool) string {
	var google storage.ObjectAttrs
	var listed container.BlobItem
	var asked azure.GetPropertiesResponse
	switch {
	case as(&google):
		return strconv.FormatInt(google.Generation, 10)
	case as(&listed) && listed.Properties != nil && listed.Properties.ETag != nil:
		return string(*listed.Properties.ETag)
	case as(&asked) && asked.ETag != nil:
		return string(*asked.ETag)
	}
	return ""
}

func (c cloud) list(ctx context.Context, prefix string, shallow bool, found func(object)) error {
	options := &blob.ListOptions{Prefix: prefix}
	if shallow {
		options.Delimiter = "/"
	}
	for list := c.List(options); ; {
		next, err := list.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		found(object{next.Key, tagOf(next.As), next.Size})
	}
}

func (c cloud) remove(ctx context.Context, key string) error { return c.Delete(ctx, key) }

func (c cloud) create(ctx context.Context, key, contentType string) (io.WriteCloser, error) {
	return c.NewWriter(ctx, key, &blob.WriterOptions{ContentType: contentType, BufferSize: partSize, MaxConcurrency: 1})
}

func (c cloud) status(err error) int {
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		return http.StatusNotFound
	case gcerrors.PermissionDenied:
		return http.StatusForbidden
	case gcerrors.FailedPrecondition:
		return http.StatusPreconditionFailed
	case gcerrors.InvalidArgument:
		return http.StatusBadRequest
	}
	if microsoft, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return microsoft.StatusCode
	}
	if google, ok := errors.AsType[*googleapi.Error](err); ok {
		return google.Code
	}
	return 0
}

func (c cloud) close() error { return c.Close() }
