package main

import (
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

// exportTimeout bounds the export of the last spans.
const exportTimeout = 5 * time.Second

// trace exports spans to the endpoint in OpenTelemetry's own environment variables, over
// HTTP; they also set headers, the service's name and the sampling. stop exports the rest.
func (env *environment) trace(ctx context.Context) (stop func(), err error) {
	if otlpVariable("ENDPOINT") == "" || os.Getenv("OTEL_SDK_DISABLED") == "true" {
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
			env.logger.WarnContext(ctx, "the last spans were not exported", "error", err)
		}
	}, nil
}

// otlpName is the variable of OpenTelemetry's exporter in force: that of traces, or the
// one of all signals.
func otlpName(name string) string {
	if traces := "OTEL_EXPORTER_OTLP_TRACES_" + name; strings.TrimSpace(os.Getenv(traces)) != "" {
		return traces
	}
	return "OTEL_EXPORTER_OTLP_" + name
}

func otlpVariable(name string) string { return strings.TrimSpace(os.Getenv(otlpName(name))) }

// otlpConfig reads the variables. An error names the variable.
func otlpConfig() (c otlp.Config, err error) {
	c.Timeout, c.TLS = 10*time.Second, &tls.Config{MinVersion: tls.VersionTLS12}
	for name, set := range map[string]func(*otlp.Config, string) error{
		"ENDPOINT": setEndpoint, "HEADERS": setHeaders, "TIMEOUT": setTimeout, "COMPRESSION": setCompression,
		"CERTIFICATE": setCertificate, "CLIENT_CERTIFICATE": setClientCertificate,
	} {
		if value := otlpVariable(name); value != "" {
			if err := set(&c, value); err != nil {
				return c, fmt.Errorf("%s: %w", otlpName(name), err)
			}
		}
	}
	return c, nil
}

// setEndpoint uses the endpoint of traces as it is, and v1/traces below that of all signals.
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
	ms, err := strconv.Atoi(value)
	c.Timeout = time.Duration(ms) * time.Millisecond
	if err != nil || ms < 0 {
		return errors.New("not a number of milliseconds")
	}
	return nil
}

func setCompression(c *otlp.Config, value string) error {
	c.Gzip = value == "gzip"
	if !c.Gzip && value != "none" {
		return errors.New("neither gzip nor none")
	}
	return nil
}

func setCertificate(c *otlp.Config, path string) error {
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
	key := otlpVariable("CLIENT_KEY")
	if key == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(path, key)
	c.TLS.Certificates = []tls.Certificate{pair}
	return err
}
