package console_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSourcesWithoutData(t *testing.T) {
	t.Parallel()
	h, _ := newConsole(t, "", nil)
	page := text(get(t, h, http.StatusOK, "/console/sources"))
	assert.Contains(t, page, "No source has had a file yet.")
	assert.Contains(t, page, "No loaded amount has a mark of a currency.")
}

func TestSources(t *testing.T) {
	t.Parallel()
	h, _ := newConsole(t, data, nil)
	page := get(t, h, http.StatusOK, "/console/sources")
	assert.Contains(t, text(page), "slash: dmy 1/2/2024 is 2024-02-01 inbox/&lt;new&gt;.csv 7 in use")
	assert.Contains(t, text(page), "dot: dmy 1.2.2024 is 2024-02-01 inbox/&lt;new&gt;.csv 8 contradicted")
	assert.Contains(t, text(page), "dot: mdy 1.2.2024 is 2024-01-02 9 1 contradicted", "by a file that the ledger does not have")
	assert.Contains(t, text(page), "decimal: point 1,250 is 1250, and 1.250 is 1.25 inbox/&lt;new&gt;.csv 9 the settings decide")
	assert.Contains(t, text(page), "€ inbox/&lt;new&gt;.csv 3")
	assert.Contains(t, page, "<code>sources:\n  - name: shop\n    path: …\n    slash: dmy\n    columns: {&#34;amount&#34;: &#34;Betrag&#34;}\n    decimal: comma\n</code>")
}

// More sources than a page has.
func TestManySources(t *testing.T) {
	t.Parallel()
	h, _ := newConsole(t, data+`INSERT INTO etl_files (run_id, attempt, source, path, bytes, status, read, loaded, duplicate, conflict, rejected, rules, code_version, started_at)
		SELECT 1, 1, 'no: ' || to_char(n, 'FM000'), 'a', 1, 'loaded', 0, 0, 0, 0, 0, '{"delimiter": ";", "header": "none"}', '1', now() FROM generate_series(1, 60) n`, nil)
	first := get(t, h, http.StatusOK, "/console/sources")
	assert.Contains(t, first, `href="?after=no%3a%20025"`)
	assert.Contains(t, first, "- name: &#34;no: 001&#34;\n    path: …\n    delimiter: &#34;;&#34;\n    header: none\n")
	last := text(get(t, h, http.StatusOK, "/console/sources?after=no%3a%20050"))
	assert.Contains(t, last, "no: 060")
	assert.Contains(t, last, "shop")
	assert.NotContains(t, last, "no: 050 ")
}
