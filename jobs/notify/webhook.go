package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	webhookTimeout  = 15 * time.Second // as Standard Webhooks recommends: 15 to 30 s
	maxResponse     = 64 << 10
	secretPrefix    = "whsec_"
	minSecretLength = 24 // bytes, as in Standard Webhooks
	maxSecretLength = 64
)

// Webhook is a receiver of messages by HTTP POST, in the form of Standard Webhooks
// (github.com/standard-webhooks/standard-webhooks).
type Webhook struct {
	URL Secret `yaml:"url"` // some receivers have a key in the path
	// Secret is whsec_ and 24 to 64 bytes in base64.
	Secret Secret `yaml:"secret"`
	// AllowHTTP permits http to a host other than this machine: anyone in between can read
	// the messages.
	AllowHTTP bool `yaml:"allow_http"`
}

func (w Webhook) channel() (Channel, error) {
	target, err := url.Parse(string(w.URL))
	if err != nil || target.Host == "" {
		return Channel{}, errors.New("url: want https://host/path")
	}
	switch {
	case target.Scheme == "http" && (w.AllowHTTP || isLoopback(target.Hostname())), target.Scheme == "https":
	case target.Scheme == "http":
		return Channel{}, errors.New("url: http to another host needs allow_http: true")
	default:
		return Channel{}, errors.New("url: want https://host/path")
	}
	key, err := w.key()
	if err != nil {
		return Channel{}, err
	}
	client := &http.Client{
		Timeout:       webhookTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
	}
	return Channel{ChannelWebhook, target.Scheme + "://" + target.Host, func(ctx context.Context, m Message) error {
		return post(ctx, client, target, key, m)
	}}, nil
}

func (w Webhook) key() ([]byte, error) {
	text, ok := strings.CutPrefix(string(w.Secret), secretPrefix)
	key, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(key) < minSecretLength || len(key) > maxSecretLength {
		return nil, fmt.Errorf("secret: want %s and %d to %d bytes in base64", secretPrefix, minSecretLength, maxSecretLength)
	}
	return key, nil
}

// body is the payload that Standard Webhooks recommends.
type body struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      any       `json:"data"`
}

func post(ctx context.Context, client *http.Client, target *url.URL, key []byte, m Message) error {
	payload, err := json.Marshal(body{m.Type, m.Time.UTC(), m.Data})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(payload))
	if err != nil {
		return errors.New("make the request") // the error has the URL
	}
	at := strconv.FormatInt(time.Now().Unix(), 10)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "tally")
	request.Header.Set("webhook-id", m.ID)
	request.Header.Set("webhook-timestamp", at)
	request.Header.Set("webhook-signature", signature(key, m.ID, at, payload))
	response, err := client.Do(request)
	if failed, ok := errors.AsType[*url.Error](err); ok {
		return failed.Err // without the URL
	}
	if err != nil {
		return err
	}
	defer response.Body.Close()                                            //nolint:errcheck // it was only read
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxResponse)) // the status decides
	switch {
	case response.StatusCode/100 == 2:
		return nil
	case response.StatusCode == http.StatusGone:
		return ErrGone
	}
	return fmt.Errorf("the receiver answered %d %s", response.StatusCode, http.StatusText(response.StatusCode))
}

// signature is version 1 of Standard Webhooks: HMAC-SHA256 of id.timestamp.body.
func signature(key []byte, id, at string, payload []byte) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.", id, at)
	mac.Write(payload)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
