package bucket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
	"gopkg.in/ini.v1"
)

const credentialsTimeout = 5 * time.Second // of a service that issues them

var errNoCredentials = errors.New("no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")

// credentials looks for them now, since what the first request says otherwise is hard to
// read. They are renewed before they expire.
func (c s3Config) credentials(ctx context.Context) (*credentials.Credentials, error) {
	if c.Get("anonymous") == "true" {
		return credentials.NewStatic("", "", "", credentials.SignatureAnonymous), nil
	}
	role := c.Get("role")
	if role != "" && !strings.HasPrefix(role, "arn:") {
		return nil, errors.New("parameter role: want the ARN of a role")
	}
	provider, issued := c.provider()
	found, err := retrieve(ctx, provider, issued)
	if err != nil || role == "" {
		return found, err
	}
	options := credentials.STSAssumeRoleOptions{RoleARN: role, RoleSessionName: "tally", Location: c.region}
	return retrieve(ctx, &assumedRole{credentials.STSAssumeRole{STSEndpoint: c.sts(), Options: options}, found}, true)
}

// provider is where credentials are, in the order of the AWS tools. Issued says that it is
// a service that is known to have some.
func (c s3Config) provider() (p credentials.Provider, issued bool) {
	file := &credentials.FileAWSCredentials{Profile: c.profile}
	switch {
	case c.Has("profile"):
		return file, false
	case os.Getenv("AWS_ACCESS_KEY_ID") != "":
		return &credentials.EnvAWS{}, false
	case os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE") != "":
		return &credentials.IAM{Endpoint: c.sts()}, true
	case os.Getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") != "", os.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI") != "":
		return &credentials.IAM{}, true
	case strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true"):
		return file, false
	}
	return &credentials.Chain{Providers: []credentials.Provider{file, &credentials.IAM{}}}, false
}

// retrieve distinguishes a service that is unavailable from one that refuses.
func retrieve(ctx context.Context, p credentials.Provider, issued bool) (*credentials.Credentials, error) {
	found := credentials.New(p)
	value, err := found.GetWithContext(&credentials.CredContext{Client: &http.Client{Timeout: credentialsTimeout}, Context: ctx})
	_, refused := errors.AsType[credentials.ErrorResponse](err)
	switch {
	case err == nil && value.AccessKeyID != "" && value.SecretAccessKey != "":
		return found, nil
	case err == nil:
		return nil, errNoCredentials
	case issued && !refused:
		return nil, fmt.Errorf("credentials for S3: %w: %w", ErrUnavailable, err)
	}
	return nil, fmt.Errorf("%w: %w", errNoCredentials, err)
}

// setting is one of the profile in ~/.aws/config, or "".
func (c s3Config) setting(name string) string {
	home, _ := os.UserHomeDir() // without one there is no such file
	file, err := ini.LooseLoad(cmp.Or(os.Getenv("AWS_CONFIG_FILE"), filepath.Join(home, ".aws", "config")))
	if err != nil {
		return "" // looking for credentials says what is wrong
	}
	section := "profile " + c.profile
	if c.profile == "default" {
		section = c.profile
	}
	return file.Section(section).Key(name).String()
}

// sts is the service that issues credentials for roles.
func (c s3Config) sts() string {
	domain := ".amazonaws.com"
	if strings.HasPrefix(c.region, "cn-") {
		domain += ".cn"
	}
	return cmp.Or(os.Getenv("AWS_ENDPOINT_URL_STS"), os.Getenv("AWS_ENDPOINT_URL"), "https://sts."+c.region+domain)
}

// assumedRole renews its credentials with those that it is assumed with, which may expire
// as well.
type assumedRole struct {
	credentials.STSAssumeRole
	base *credentials.Credentials
}

func (r *assumedRole) RetrieveWithCredContext(c *credentials.CredContext) (credentials.Value, error) {
	value, err := r.base.GetWithContext(c)
	if err != nil {
		return value, err
	}
	r.Options.AccessKey, r.Options.SecretKey, r.Options.SessionToken = value.AccessKeyID, value.SecretAccessKey, value.SessionToken
	return r.STSAssumeRole.RetrieveWithCredContext(c)
}
