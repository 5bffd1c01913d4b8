package tests3

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opentax/tally/internal/bucket"
)

const (
	programVariable = "TALLY_TEST_S3"
	programName     = "versitygw"

	accessKey = "tally-test"
	secretKey = "tally-test-secret"
	region    = "us-east-1"
	// Bucket is the name of the bucket that New creates.
	Bucket = "tally"

	startTimeout = 20 * time.Second
	pollEvery    = 10 * time.Millisecond
)

// Setenv sets the servers' keys in this process's environment, and disables all other
// sources of credentials.
func Setenv() error {
	for name, value := range environment() {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}

func environment() map[string]string {
	return map[string]string{
		"AWS_ACCESS_KEY_ID": accessKey, "AWS_SECRET_ACCESS_KEY": secretKey, "AWS_REGION": region,
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	}
}

// Server is an S3 server. Its methods fail the test on error.
type Server struct {
	tb      testing.TB
	program string
	dir     string
	address string
	process *exec.Cmd
	stores  bucket.Stores // for what the test writes
}

// New starts a server with an empty bucket, and stops it when the test ends.
func New(tb testing.TB) *Server {
	tb.Helper()
	program := os.Getenv(programVariable)
	if program == "" {
		var err error
		if program, err = exec.LookPath(programName); err != nil {
			tb.Skipf("no S3 server: install versitygw, or set %s to its path", programVariable)
		}
	}
	s := &Server{tb: tb, program: program, dir: tb.TempDir(), address: freeAddress(tb)}
	for _, name := range []string{filepath.Join("data", Bucket), "metadata"} {
		if err := os.MkdirAll(filepath.Join(s.dir, name), 0o700); err != nil {
			tb.Fatalf("S3 server: %v", err)
		}
	}
	tb.Cleanup(s.Stop)
	s.Start()
	return s
}

// freeAddress returns an unused address, which the server keeps when it restarts.
func freeAddress(tb testing.TB) string {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("S3 server: %v", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// Start starts the server, also after Stop, and waits until it responds.
func (s *Server) Start() {
	s.tb.Helper()
	// The keys are arguments, since the test may set other keys in its environment.
	s.process = exec.CommandContext(context.Background(), s.program, "--quiet", "--port", s.address, "--access", accessKey, "--secret", secretKey,
		"--region", region, "posix", "--sidecar", filepath.Join(s.dir, "metadata"), filepath.Join(s.dir, "data"))
	output, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.tb.Fatalf("S3 server: %v", err)
	}
	defer func() { _ = output.Close() }() // the process has its own descriptor
	s.process.Stdout, s.process.Stderr = output, output
	if err := s.process.Start(); err != nil {
		s.tb.Fatalf("S3 server: %v", err)
	}
	deadline := time.Now().Add(startTimeout)
	for !s.responds() {
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(output.Name())
			s.tb.Fatalf("the S3 server does not respond; its log: %s", log)
		}
		time.Sleep(pollEvery)
	}
}

func (s *Server) responds() bool {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.Endpoint(), http.NoBody)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close() // any response will do
	return true
}

// Stop kills the server, to simulate an outage.
func (s *Server) Stop() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill() // the error is that it has exited
	_ = s.process.Wait()
	s.process = nil
}

// Endpoint returns the server's URL.
func (s *Server) Endpoint() string { return "http://" + s.address }

// URL returns the URL of an object or prefix in the bucket, with the endpoint as a
// parameter.
func (s *Server) URL(key string) string { return urlAt(s.Endpoint(), key) }

// At is URL as a location.
func (s *Server) At(key string) bucket.Location { return parsed(s.tb, s.URL(key)) }

func parsed(tb testing.TB, url string) bucket.Location {
	tb.Helper()
	l, err := bucket.Parse(url)
	if err != nil {
		tb.Fatalf("S3 server: %v", err)
	}
	return l
}

func urlAt(endpoint, key string) string {
	return fmt.Sprintf("s3://%s/%s?%s", Bucket, key, url.Values{"endpoint": {endpoint}, "region": {region}}.Encode())
}

// Env returns the environment for a process that uses the server without an endpoint in
// its URLs.
func (s *Server) Env() []string {
	env := []string{"AWS_ENDPOINT_URL=" + s.Endpoint()}
	for name, value := range environment() {
		env = append(env, name+"="+value)
	}
	return env
}

// Put writes an object.
func (s *Server) Put(key string, content []byte) {
	s.tb.Helper()
	ctx := context.Background()
	target, err := s.stores.Target(ctx, s.At(""))
	if err != nil {
		s.tb.Fatalf("S3 server: %v", err)
	}
	if err := bucket.WriteFile(ctx, target, key, content); err != nil {
		s.tb.Fatalf("S3 server: write %s: %v", key, err)
	}
}

// Write writes an object directly into the server's data folder, which is faster than
// Put for many objects.
func (s *Server) Write(key string, content []byte) {
	s.tb.Helper()
	path := filepath.Join(s.dir, "data", Bucket, filepath.FromSlash(key))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.tb.Fatalf("S3 server: %v", err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		s.tb.Fatalf("S3 server: %v", err)
	}
}

// Remove removes an object from the server's data folder.
func (s *Server) Remove(key string) {
	s.tb.Helper()
	if err := os.Remove(filepath.Join(s.dir, "data", Bucket, filepath.FromSlash(key))); err != nil {
		s.tb.Fatalf("S3 server: %v", err)
	}
}

// Objects returns the name, size and modification time of each object.
func (s *Server) Objects() []string {
	s.tb.Helper()
	var objects []string
	root := filepath.Join(s.dir, "data")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		objects = append(objects, fmt.Sprintf("%s %d %s", strings.TrimPrefix(path, root), info.Size(), info.ModTime().Format(time.RFC3339Nano)))
		return nil
	})
	if err != nil {
		s.tb.Fatalf("S3 server: %v", err)
	}
	return objects
}
