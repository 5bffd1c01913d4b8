package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// notifyWith runs tally notify with a settings file.
func notifyWith(t *testing.T, settings string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, configName), []byte(settings), 0o600))
	var out, errors bytes.Buffer
	code = run(t.Context(), append([]string{"--data", dir, "notify"}, args...), &out, &errors)
	return code, out.String(), errors.String()
}

func TestNotifyTest(t *testing.T) {
	status := http.StatusNoContent
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	defer server.Close()
	t.Setenv("TALLY_TEST_SECRET", hookSecret)
	hook := "notify: {webhook: {url: " + server.URL + "/key-in-the-path, secret: '${TALLY_TEST_SECRET}'}}"

	code, stdout, stderr := notifyWith(t, hook, "--test")
	assert.Equal(t, []any{exitDone, "webhook to " + server.URL + ": delivered\n", ""}, []any{code, stdout, stderr})

	status = http.StatusBadGateway
	code, stdout, _ = notifyWith(t, hook, "--test", "--json")
	assert.Equal(t, exitFailed, code)
	assert.JSONEq(t, `{"channels": [{"channel": "webhook", "target": "`+server.URL+`", "delivered": false, "error": "webhook to `+
		server.URL+`: the receiver answered 502 Bad Gateway"}]}`, stdout)

	for settings, want := range map[string]string{"": "no channel is configured", "notify: {webhook: {url: '${TALLY_NOT_SET}'}}": "TALLY_NOT_SET is not set"} {
		code, _, stderr = notifyWith(t, settings, "--test")
		assert.Equal(t, exitUsage, code)
		assert.Contains(t, stderr, want)
	}
	code, _, stderr = notifyWith(t, hook)
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "--test")
}

// An error of the settings shows lines of the file, but no secret in them.
func TestErrorsOfTheSettingsHaveNoSecrets(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{"colour: red", "time_zone: [a]", "notify: 5"} {
		for _, notify := range []string{
			"notify:\n  webhook:\n    url: https://example.com/hunter2\n    secret: " + hookSecret + "\n  mail:\n    smtp: smtp://ann:hunter2@example.com\n",
			"notify: {webhook: {secret: 'hunter2 x', url: \"https://example.com/hunter2\"}, mail: {smtp: smtps://ann:p@hunter2@example.com}}\n",
		} {
			code, _, stderr := notifyWith(t, notify+wrong, "--test")
			assert.Equal(t, exitUsage, code)
			assert.NotContains(t, stderr, "hunter2")
			assert.NotContains(t, stderr, hookSecret)
		}
	}
}
