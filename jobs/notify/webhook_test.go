package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// The example of Standard Webhooks.
func TestSignature(t *testing.T) {
	t.Parallel()
	key, err := Webhook{Secret: testSecret}.key()
	require.NoError(t, err)
	assert.Equal(t, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
		signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`)))
}

func hook(t *testing.T, handler http.HandlerFunc) Channel {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	channels, err := Config{Webhook: Webhook{URL: Secret(server.URL + "/key-in-the-path"), Secret: testSecret}}.Channels()
	require.NoError(t, err)
	require.Len(t, channels, 1)
	return channels[0]
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 5, 11, 0, 0, 0, 0, time.UTC)
	c := hook(t, func(w http.ResponseWriter, r *http.Request) {
		payload, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		key, err := Webhook{Secret: testSecret}.key()
		assert.NoError(t, err)
		id, sent := r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp")
		assert.Equal(t, "msg_1", id)
		assert.Equal(t, signature(key, id, sent, payload), r.Header.Get("webhook-signature"))
		assert.JSONEq(t, `{"type": "run.failed", "timestamp": "2024-05-11T00:00:00Z", "data": {"state": "open"}}`, string(payload))
		w.WriteHeader(http.StatusNoContent)
	})
	require.NoError(t, c.Send(t.Context(), Message{ID: "msg_1", Type: "run.failed", Time: at, Data: map[string]string{"state": "open"}}))
	assert.NotContains(t, c.Target, "key")
}

func TestWebhookAnswers(t *testing.T) {
	t.Parallel()
	status := 0
	c := hook(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", status)
	})
	for status = range map[int]bool{301: true, 307: true, 400: true, 410: true, 429: true, 500: true, 503: true} {
		err := c.Send(t.Context(), Message{ID: "msg_1"})
		require.Error(t, err, status)
		assert.ErrorContains(t, err, fmt.Sprint(status))
		assert.Equal(t, status == http.StatusGone, strings.Contains(err.Error(), ErrGone.Error()))
		assert.NotContains(t, err.Error(), "key-in-the-path")
	}
}

// An error of the connection has the address, but not the path, which may be a key.
func TestWebhookUnavailable(t *testing.T) {
	t.Parallel()
	c := hook(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else the server does not see that the client has left
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := c.Send(ctx, Message{ID: "msg_1"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.NotContains(t, err.Error(), "key-in-the-path")
}

func TestSettings(t *testing.T) {
	t.Parallel()
	hook := func(url, secret string) Config {
		return Config{Webhook: Webhook{URL: Secret(url), Secret: Secret(secret)}}
	}
	mail := func(smtp, from string, to ...string) Config {
		return Config{Mail: Mail{SMTP: Secret(smtp), From: from, To: to}}
	}
	for want, c := range map[string]Config{
		"webhook: url: want https":                 hook("ftp://example.com", testSecret),
		"webhook: url: http to another host needs": hook("http://127.example.com/x", testSecret),
		"webhook: secret: want whsec_":             hook("https://example.com", "hunter2"),
		"webhook: secret: want whsec_ and 24":      hook("https://example.com", "whsec_aHVudGVyMg=="),
		"mail: smtp: want smtp://":                 mail("https://ann:hunter2@example.com", "a@b.c", "d@e.f"),
		"mail: from: ":                             mail("smtp://example.com", "operator", "d@e.f"),
		"mail: to: want at least":                  mail("smtp://example.com", "a@b.c"),
		"mail: to: ":                               mail("smtp://example.com", "a@b.c", "d@e.f\r\nBcc: g@h.i"),
	} {
		_, err := c.Channels()
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "hunter2")
		shown, jsonErr := json.Marshal(c)
		require.NoError(t, jsonErr)
		for _, text := range []string{string(shown), fmt.Sprintf("%v %+v %#v %s", c, c, c, c.Webhook.Secret)} {
			assert.NotContains(t, text, "hunter2")
			assert.NotContains(t, text, testSecret)
		}
	}
	for _, ok := range []Config{
		{}, hook("https://example.com/x", testSecret), hook("http://localhost:9000", testSecret), hook("http://[::1]:9000", testSecret),
		{Webhook: Webhook{URL: "http://receiver:9000", Secret: testSecret, AllowHTTP: true}}, mail("smtps://ann:x@example.com", "Tally <a@b.c>", "d@e.f"),
	} {
		_, err := ok.Channels()
		assert.NoError(t, err)
	}
}
