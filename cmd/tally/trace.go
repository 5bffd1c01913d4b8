package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/opentax/tally/internal/otlp"
)

// exportTimeout bounds the sending of the last spans.
const exportTimeout = 5 * time.Second

// trace sends spans where OpenTelemetry's own environment variables name an endpoint,
// over HTTP; they also set its headers, the service's name and the sampling. stop
// sends what is left.
func (env *environment) trace(ctx context.Context) (stop func(), err error) {
	if _, endpoint := otlpVariable("ENDPOINT"); endpoint == "" || os.Getenv("OTEL_SDK_DISABLED") == "true" {
		return func() {}, nil
	}
	config, err := otlpConfig()
	if err != nil {
		return nil, usageError{err}
	}
	exporter, err := otlptrace.New(ctx, otlp.New(config))
	if err != nil {
		return nil, err
	}
	named, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "tally"), attribute.String("service.version", codeVersion()),
	), resource.WithHost(), resource.WithFromEnv())
	if err != nil {
		return nil, usageError{fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)}
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(named))
	env.tracer = provider
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), exportTimeout)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			env.logger.WarnContext(ctx, "the last spans were not sent", "error", err)
		}
	}, nil
}

// otlpVariable is a variable of OpenTelemetry's exporter: that of traces, or that of
// everything.
func otlpVariable(name string) (full, value string) {
	full = "OTEL_EXPORTER_OTLP_TRACES_" + name
	if value = strings.TrimSpace(os.Getenv(full)); value == "" {
		full = "OTEL_EXPORTER_OTLP_" + name
		value = strings.TrimSpace(os.Getenv(full))
	}
	return full, value
}

// otlpConfig is what the variables set. A value that cannot be read is an error with
// the variable's name.
func otlpConfig() (otlp.Config, error) {
	var c otlp.Config
	for _, v := range []struct {
		name string
		set  func(*otlp.Config, string) error
	}{{"ENDPOINT", setEndpoint}, {"HEADERS", setHeaders}, {"TIMEOUT", setTimeout}, {"COMPRESSION", setCompression}, {"CERTIFICATE", setCertificate}, {"CLIENT_CERTIFICATE", setClientCertificate}} {
		full, value := otlpVariable(v.name)
		if err := v.set(&c, value); err != nil {
			return c, fmt.Errorf("%s: %w", full, err)
		}
	}
	return c, nil
}

// setEndpoint takes the endpoint for traces as it is, and that for everything as the
// folder of theirs.
func setEndpoint(c *otlp.Config, value string) error {
	at, err := url.Parse(value)
	if err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Host == "" {
		return errors.New("not an http or https URL")
	}
	if os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		at = at.JoinPath("v1/traces")
	}
	c.URL = at.String()
	return nil
}

func setHeaders(c *otlp.Config, value string) error {
	c.Headers = map[string]string{}
	for pair := range strings.SplitSeq(value, ",") {
		name, escaped, found := strings.Cut(strings.TrimSpace(pair), "=")
		text, err := url.PathUnescape(escaped)
		switch {
		case name == "" && !found:
		case !found || err != nil:
			return errors.New("not name=value, comma-separated")
		default:
			c.Headers[strings.TrimSpace(name)] = strings.TrimSpace(text)
		}
	}
	return nil
}

func setTimeout(c *otlp.Config, value string) error {
	ms, err := strconv.Atoi(cmp.Or(value, "10000"))
	c.Timeout = time.Duration(ms) * time.Millisecond
	if err != nil || ms < 0 {
		return errors.New("not a number of milliseconds")
	}
	return nil
}

func setCompression(c *otlp.Config, value string) error {
	c.Gzip = value == "gzip"
	if !c.Gzip && value != "" && value != "none" {
		return errors.New("neither gzip nor none")
	}
	return nil
}

func setCertificate(c *otlp.Config, path string) error {
	c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if path == "" {
		return nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	c.TLS.RootCAs = x509.NewCertPool()
	if !c.TLS.RootCAs.AppendCertsFromPEM(pem) {
		return errors.New("no certificate in the file")
	}
	return nil
}

func setClientCertificate(c *otlp.Config, path string) error {
	_, key := otlpVariable("CLIENT_KEY")
	if path == "" || key == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(path, key)
	c.TLS.Certificates = []tls.Certificate{pair}
	return err
}
