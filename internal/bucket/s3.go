package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/logging"
	gcaws "gocloud.dev/aws"
	"gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"
)

// anyRegion is for servers of one's own, which have no regions; requests are
// signed for one nevertheless.
const anyRegion = "us-east-1"

// openS3 takes credentials, region and endpoint from where the AWS tools look for
// them. A server with an endpoint of its own is asked for /bucket/key and not for
// bucket.server/key: it seldom has the names of all its buckets in the DNS.
func (l Location) openS3(ctx context.Context) (*blob.Bucket, error) {
	q := l.parameters()
	own := takeAll(q, "endpoint", "use_path_style", "accelerate", "ssetype", "kmskeyid")
	config, err := gcaws.V2ConfigFromURLParams(ctx, q)
	if err != nil {
		return nil, err
	}
	accelerate, err := flag(own, "accelerate", false)
	if err != nil {
		return nil, err
	}
	if _, err := flag(own, "use_path_style", false); err != nil {
		return nil, err
	}
	client := s3.NewFromConfig(config, func(o *s3.Options) {
		o.UseAccelerate = accelerate
		o.Logger = logging.Nop{} // what matters comes back as an error
		if own["endpoint"] != "" {
			o.BaseEndpoint = aws.String(own["endpoint"])
		}
		o.UsePathStyle, _ = flag(own, "use_path_style", o.BaseEndpoint != nil) // it was read above
		if o.Region == "" && o.BaseEndpoint != nil {
			o.Region = anyRegion
		}
	})
	if client.Options().Region == "" {
		return nil, errors.New("no region: set AWS_REGION, or add ?region=…")
	}
	if err := l.haveCredentials(ctx, config.Credentials); err != nil {
		return nil, err
	}
	return s3blob.OpenBucket(ctx, client, l.bucket, &s3blob.Options{
		EncryptionType:             types.ServerSideEncryption(own["ssetype"]),
		KMSEncryptionID:            own["kmskeyid"],
		RequestChecksumCalculation: config.RequestChecksumCalculation,
	})
}

// haveCredentials looks for them now, since what the first request says otherwise
// is hard to read. A service that issues them may be away; the last place to be
// looked at, the machine's own role, means that there are none.
func (l Location) haveCredentials(ctx context.Context, provider aws.CredentialsProvider) error {
	if provider == nil || aws.IsCredentialsProvider(provider, (*aws.AnonymousCredentials)(nil)) {
		return nil
	}
	_, err := provider.Retrieve(ctx)
	switch {
	case err == nil:
		return nil
	case aws.IsCredentialsProvider(provider, (*ec2rolecreds.Provider)(nil)):
		return fmt.Errorf("no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE: %w", err)
	}
	return explain(ctx, l.String(), fmt.Errorf("credentials for S3: %w", err))
}

// takeAll moves parameters out of q.
func takeAll(q url.Values, names ...string) map[string]string {
	taken := map[string]string{}
	for _, name := range names {
		if value := q.Get(name); value != "" {
			taken[name] = value
		}
		q.Del(name)
	}
	return taken
}

func flag(values map[string]string, name string, otherwise bool) (bool, error) {
	value := strings.TrimSpace(values[name])
	if value == "" {
		return otherwise, nil
	}
	on, err := strconv.ParseBool(value)
	if err != nil {
		return false, fmt.Errorf("parameter %s: want true or false", name)
	}
	return on, nil
}
