package bucket_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
)

// amazon issues credentials for roles, tasks and machines, and has no objects.
type amazon struct {
	*httptest.Server
	mu      sync.Mutex
	refuses bool
	asked   []string // of the service that issues credentials
	key     string   // the last request for an object was signed with
	region  string
	token   string
}

var signed = regexp.MustCompile(`Credential=([^/]+)/\d+/([^/]+)/s3`)

func newAmazon(t *testing.T) *amazon {
	t.Helper()
	a := &amazon{}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

func (a *amazon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	until := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	action := r.FormValue("Action")
	switch {
	case action != "":
		a.asked = append(a.asked, fmt.Sprint(action, " ", r.FormValue("RoleArn"), r.FormValue("WebIdentityToken")))
		if a.refuses {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Code>AccessDenied</Code><Message>not you</Message></Error></ErrorResponse>`)
			return
		}
		_, _ = fmt.Fprintf(w, `<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult><Credentials><AccessKeyId>OF-A-ROLE</AccessKeyId>
			<SecretAccessKey>s</SecretAccessKey><SessionToken>token</SessionToken><Expiration>%[2]s</Expiration></Credentials></%[1]sResult></%[1]sResponse>`, action, until)
	case r.URL.Path == "/task":
		_, _ = fmt.Fprintf(w, `{"AccessKeyId":"OF-A-TASK","SecretAccessKey":"s","Token":"token","Expiration":%q}`, until)
	default:
		a.key, a.region, a.token = "", "", r.Header.Get("X-Amz-Security-Token")
		if found := signed.FindStringSubmatch(r.Header.Get("Authorization")); found != nil {
			a.key, a.region = found[1], found[2]
		}
		w.WriteHeader(http.StatusNotFound)
	}
}

// Not parallel: it sets the environment.
func TestCredentials(t *testing.T) {
	a, dir := newAmazon(t), t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	const role = "arn:aws:iam::123456789012:role/reader"
	shared := map[string]string{
		"AWS_CONFIG_FILE": file("config", "[default]\nregion = eu-north-1\n[profile lake]\nregion = eu-west-3\nendpoint_url = "+a.URL+"\n"),
		"AWS_SHARED_CREDENTIALS_FILE": file("credentials", "[default]\naws_access_key_id = OF-DEFAULT\naws_secret_access_key = s\n"+
			"[lake]\naws_access_key_id = OF-LAKE\naws_secret_access_key = s\n"),
	}
	for name, c := range map[string]struct {
		env        map[string]string
		parameters string
		key        string // and region
		token      string
		asked      []string
	}{
		"environment":      {key: "tally-test us-east-1"},
		"over the profile": {env: map[string]string{"AWS_PROFILE": "lake"}, key: "tally-test us-east-1"},
		"anonymous":        {parameters: "&anonymous=true", key: " "},
		"file":             {env: map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_REGION": ""}, key: "OF-DEFAULT eu-north-1"},
		"a profile":        {env: map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_REGION": "", "AWS_PROFILE": "lake"}, key: "OF-LAKE eu-west-3"},
		"that of the URL":  {parameters: "&profile=lake&region=eu-south-1", key: "OF-LAKE eu-south-1"},
		"a role": {parameters: "&role=" + role, key: "OF-A-ROLE us-east-1", token: "token",
			asked: []string{"AssumeRole " + role}},
		"a pod": {env: map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_WEB_IDENTITY_TOKEN_FILE": file("token", "jwt"), "AWS_ROLE_ARN": role},
			key: "OF-A-ROLE us-east-1", token: "token", asked: []string{"AssumeRoleWithWebIdentity " + role + "jwt"}},
		"a task": {env: map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_CONTAINER_CREDENTIALS_FULL_URI": a.URL + "/task"},
			key: "OF-A-TASK us-east-1", token: "token"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, env := range []map[string]string{shared, c.env, {"AWS_ENDPOINT_URL": a.URL}} {
				for variable, value := range env {
					t.Setenv(variable, value)
				}
			}
			a.asked = nil
			_, err := new(bucket.Stores).Read(t.Context(), at(t, "s3://lake/a.csv?use_path_style=true"+c.parameters))
			require.ErrorIs(t, err, fs.ErrNotExist)
			assert.Equal(t, c.key, a.key+" "+a.region)
			assert.Equal(t, c.token, a.token)
			assert.Equal(t, c.asked, a.asked)
		})
	}
}

// A service that issues credentials and does not answer may answer later; one that refuses
// is a matter of the settings. Not parallel: it sets the environment.
func TestCredentialsThatAreNotIssued(t *testing.T) {
	a := newAmazon(t)
	t.Setenv("AWS_ENDPOINT_URL", a.URL)
	l := at(t, "s3://lake/a.csv?role=arn:aws:iam::123456789012:role/reader")
	a.refuses = true
	_, err := new(bucket.Stores).Read(t.Context(), l)
	require.ErrorIs(t, err, bucket.ErrSetup)
	require.ErrorContains(t, err, "not you")
	assert.True(t, bucket.Permanent(err))
	a.Close()
	_, err = new(bucket.Stores).Read(t.Context(), l)
	require.ErrorIs(t, err, bucket.ErrUnavailable)
	assert.False(t, bucket.Permanent(err))

	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", a.URL+"/task")
	_, err = new(bucket.Stores).Read(t.Context(), at(t, "s3://lake/a.csv"))
	require.ErrorIs(t, err, bucket.ErrUnavailable)
}

// A wait for credentials is shared, ends for each caller with its context, and delays no request to
// a store that is open. Not parallel: it sets the environment.
func TestWaitForCredentials(t *testing.T) {
	a, asked, goOn := newAmazon(t), make(chan struct{}, 10), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("Action") != "" {
			asked <- struct{}{}
			select {
			case <-goOn:
			case <-r.Context().Done():
			}
		}
		a.ServeHTTP(w, r)
	}))
	defer server.Close()
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	var stores bucket.Stores
	read := func(ctx context.Context, name string) error {
		_, err := stores.Read(ctx, at(t, name))
		return err
	}
	const open, slow = "s3://lake/a.csv", "s3://lake/a.csv?role=arn:aws:iam::123456789012:role/reader"
	require.ErrorIs(t, read(t.Context(), open), fs.ErrNotExist)
	first, leave := context.WithCancel(t.Context())
	left, second := make(chan error, 1), make(chan error, 1)
	go func() { left <- read(first, slow) }()
	<-asked
	go func() { second <- read(t.Context(), slow) }()
	require.ErrorIs(t, read(t.Context(), open), fs.ErrNotExist)
	leave()
	require.ErrorIs(t, <-left, context.Canceled)
	assert.Empty(t, second, "still waiting")
	close(goOn)
	require.ErrorIs(t, <-second, fs.ErrNotExist)
	assert.Empty(t, asked)
}
