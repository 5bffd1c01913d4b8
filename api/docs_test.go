package api

import (
	"compress/gzip"
	"io"
	"net/http"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDocsNeedNoOtherHost(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{})
	outside := regexp.MustCompile(`(?i)https?:|["'(]//`)
	for _, path := range []string{"/docs", "/console/start.js", "/console/console.js", "/console/page.css", "/problems/", "/problems/not-found"} {
		w := ask(h, http.MethodGet, path)
		require.Equal(t, http.StatusOK, w.Code, path)
		assert.NotRegexp(t, outside, w.Body.String(), path)
		policy := w.Header().Get("Content-Security-Policy")
		assert.Contains(t, policy, "default-src 'none'")
		assert.NotContains(t, policy, "unsafe")
		assert.NotContains(t, policy, "http")
	}
	page := ask(h, http.MethodGet, "/docs")
	assert.Equal(t, "text/html; charset=utf-8", page.Header().Get("Content-Type"))
	assert.NotContains(t, page.Body.String(), "<style", "the policy would refuse it")
	assert.NotRegexp(t, `<script>|<script [^>]*>[^<]|\son[a-z]+=`, page.Body.String(), "the policy would refuse it")
	resources := regexp.MustCompile(`<(?:link|script) [^>]*(?:src|href)="(/[^"]+)"`).FindAllStringSubmatch(page.Body.String(), -1)
	require.Len(t, resources, 6)
	for _, resource := range resources {
		assert.Equal(t, http.StatusOK, ask(h, http.MethodGet, resource[1]).Code, resource[1])
	}
	assert.Contains(t, ask(h, http.MethodGet, "/console/start.js").Body.String(), "validatorUrl: null")
}

func TestDocsStylesNeedNoOtherHost(t *testing.T) {
	t.Parallel()
	w := ask(newHandler(t, Config{}), http.MethodGet, "/docs/swagger-ui.css", "Accept-Encoding: gzip")
	require.Equal(t, "gzip", w.Header().Get("Content-Encoding"))
	unpacked, err := gzip.NewReader(w.Body)
	require.NoError(t, err)
	styles, err := io.ReadAll(unpacked)
	require.NoError(t, err)
	assert.Greater(t, len(styles), 10_000)
	assert.NotRegexp(t, `url\(\s*["']?(https?:|//)|@import`, string(styles))
}

func TestRootLeadsToTheDocs(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{})
	for _, path := range []string{"/", "/docs/"} {
		w := ask(h, http.MethodGet, path)
		assert.Equal(t, http.StatusSeeOther, w.Code)
		assert.Equal(t, "/docs", w.Header().Get("Location"))
	}
}
