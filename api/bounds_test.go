package api

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestParametersAreBounded requires that every parameter has bounds in the description,
// whatever operation it comes with, and that what is just outside of them is refused.
func TestParametersAreBounded(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{})
	checked := 0
	for _, op := range declaredOperations(t, h) {
		for _, p := range op.Parameters {
			outside := p.Schema.outside(t, op.ID+" "+p.Name)
			require.NotEmpty(t, outside, "%s %s", op.ID, p.Name)
			for _, value := range outside {
				if p.In == "path" && value == "" {
					continue // another address
				}
				checked++
				w := httptest.NewRecorder()
				h.ServeHTTP(w, op.requestWith(p, value))
				require.Equal(t, http.StatusUnprocessableEntity, w.Code, "%s %s=%.80s", op.ID, p.Name, value)
				var problem Problem
				require.NoError(t, json.Unmarshal(w.Body.Bytes(), &problem))
				assert.Equal(t, p.In+"."+p.Name, problem.Errors[0].Location, "%s %s=%.80s", op.ID, p.Name, value)
			}
		}
	}
	assert.Greater(t, checked, 100)
}

// outside are values just beyond a parameter's bounds, of which it must have those that
// its type can have.
func (s declaredSchema) outside(t *testing.T, name string) []string {
	t.Helper()
	switch {
	case s.Type == "array":
		require.Positive(t, s.MaxItems, name)
		values := s.Items.outside(t, name+"[]")
		return append(values, strings.Repeat("1,", s.MaxItems)+"1")
	case s.Type == "integer":
		require.NotNil(t, s.Minimum, name)
		require.NotNil(t, s.Maximum, name)
		return []string{strconv.FormatInt(*s.Minimum-1, 10), strconv.FormatUint(uint64(*s.Maximum)+1, 10), "", "1.5", "one"}
	case len(s.Enum) > 0:
		return []string{"", s.Enum[0] + "s", strings.ToUpper(s.Enum[0])}
	case s.Format == "date":
		require.NotEmpty(t, s.Pattern, name)
		return []string{"", "0000-12-31", "10000-01-01", "2024-02-30", "2024-13-01", "2024-01-00", "2024-1-1", "2024-01-01T00:00:00Z"}
	case s.Pattern == "": // a header, of which net/http reads what is text
		require.Positive(t, s.MaxLength, name)
		return []string{strings.Repeat("A", s.MaxLength+1)}
	}
	require.Positive(t, s.MaxLength, name)
	require.Positive(t, s.MinLength, name)
	require.NotRegexp(t, s.Pattern, "!", name)
	return []string{"", strings.Repeat("A", s.MaxLength+1), "!"}
}

// requestWith asks with one parameter set; what else the operation needs is there.
func (op *declaredOperation) requestWith(p declaredParameter, value string) *http.Request {
	id, query := "7", url.Values{}
	for _, other := range op.Parameters {
		if other.Required && other.In == "query" {
			query.Set(other.Name, "7")
		}
	}
	switch p.In {
	case "path":
		id = value
	case "query":
		query.Set(p.Name, value)
	}
	var body io.Reader
	if op.method == http.MethodPost {
		body = strings.NewReader("{}")
	}
	r := httptest.NewRequest(op.method, pathParameter.ReplaceAllLiteralString(op.path, "7"), body)
	if body != nil {
		r.Header.Set("Content-Type", jsonContentType)
	}
	r.URL.Path = pathParameter.ReplaceAllLiteralString(op.path, id)
	r.URL.RawQuery = query.Encode()
	if p.In == "header" {
		r.Header.Set(p.Name, value)
	}
	return r
}
