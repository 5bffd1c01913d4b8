package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/azureblob"
	"gocloud.dev/blob/gcsblob"
	"gocloud.dev/gcp"
)

// Stores are the stores in use. Each is opened once, so that not every object
// looks for credentials. The zero value is ready; it is safe for concurrent use.
type Stores struct {
	mu      sync.Mutex
	open    map[Location]*blob.Bucket
	silence time.Duration // the usual, but for a test
}

// bucket is the whole bucket of a location.
func (s *Stores) bucket(ctx context.Context, l Location) (*blob.Bucket, error) {
	l.key = ""
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.open[l]; b != nil {
		return b, nil
	}
	b, err := l.open(ctx)
	if err != nil {
		return nil, err
	}
	if s.open == nil {
		s.open = map[Location]*blob.Bucket{}
	}
	s.open[l] = b
	return b, nil
}

// Close lets go of the connections. The stores must not be in use.
func (s *Stores) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, b := range s.open {
		errs = append(errs, b.Close())
	}
	s.open = nil
	return errors.Join(errs...)
}

// open opens the whole bucket.
func (l Location) open(ctx context.Context) (*blob.Bucket, error) {
	var b *blob.Bucket
	var err error
	switch l.scheme {
	case schemeS3:
		b, err = l.openS3(ctx)
	case schemeGS:
		b, err = l.openGS(ctx)
	case schemeAzure:
		b, err = l.openAzure(ctx)
	default:
		err = errors.New("it is no object store")
	}
	if err == nil || Away(err) {
		return b, err
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s: %w", l.String(), context.Cause(ctx))
	}
	return nil, &answer{l.String(), ErrSetup, err}
}

// openGS takes Application Default Credentials, as gcloud has them.
func (l Location) openGS(ctx context.Context) (*blob.Bucket, error) {
	if l.parameters().Get("anonymous") == "true" {
		return gcsblob.OpenBucket(ctx, gcp.NewAnonymousHTTPClient(gcp.DefaultTransport()), l.bucket, nil)
	}
	credentials, err := gcp.DefaultCredentials(ctx)
	if err != nil {
		return nil, fmt.Errorf("no credentials for Google Cloud: set GOOGLE_APPLICATION_CREDENTIALS, or run gcloud auth application-default login: %w", err)
	}
	client, err := gcp.NewHTTPClient(gcp.DefaultTransport(), gcp.CredentialsTokenSource(credentials))
	if err != nil {
		return nil, err
	}
	return gcsblob.OpenBucket(ctx, client, l.bucket, nil)
}

// openAzure takes the account and its credentials from AZURE_STORAGE_…, or from
// where the Azure SDK finds an identity.
func (l Location) openAzure(ctx context.Context) (*blob.Bucket, error) {
	if l.parameters().Get("storage_account") == "" && azureblob.NewDefaultServiceURLOptions().AccountName == "" {
		return nil, errors.New("no storage account: set AZURE_STORAGE_ACCOUNT, or add ?storage_account=… (and AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or an identity of Azure)")
	}
	// This opener keeps parameters from sending a SAS token to another server.
	return blob.DefaultURLMux().OpenBucketURL(ctx, &url.URL{Scheme: l.scheme, Host: l.bucket, RawQuery: l.query})
}
