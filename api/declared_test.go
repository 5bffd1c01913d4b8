package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	faults "github.com/santhosh-tekuri/jsonschema/v6/kind"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// declaredOperation is an operation as the description has it.
type declaredOperation struct {
	method, path string
	ID           string                     `json:"operationId"`
	Parameters   []declaredParameter        `json:"parameters"`
	Responses    map[string]json.RawMessage `json:"responses"`

	responses map[int]declaredResponse
}

type declaredParameter struct {
	Name     string         `json:"name"`
	In       string         `json:"in"`
	Required bool           `json:"required"`
	Schema   declaredSchema `json:"schema"`
}

// declaredSchema is what parameters have of JSON Schema.
type declaredSchema struct {
	Type      any             `json:"type"`
	Format    string          `json:"format"`
	Enum      []string        `json:"enum"`
	Minimum   *int64          `json:"minimum"`
	Maximum   *int64          `json:"maximum"`
	MinLength int             `json:"minLength"`
	MaxLength int             `json:"maxLength"`
	Pattern   string          `json:"pattern"`
	MaxItems  int             `json:"maxItems"`
	Items     *declaredSchema `json:"items"`
}

// declaredResponse is the bodies that may come, by media type, and the headers.
type declaredResponse struct {
	bodies  map[string]*jsonschema.Schema
	headers []string
}

// declaredOperations reads the description that the handler serves.
func declaredOperations(tb testing.TB, h http.Handler) []*declaredOperation {
	tb.Helper()
	served := ask(h, http.MethodGet, "/openapi.json").Body.Bytes()
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(served))
	require.NoError(tb, err)
	compiler := newSchemaCompiler(tb, tree)
	var document struct {
		Paths map[string]map[string]*declaredOperation `json:"paths"`
	}
	require.NoError(tb, json.Unmarshal(served, &document))
	var all []*declaredOperation
	for path, methods := range document.Paths {
		for method, op := range methods {
			op.method, op.path = strings.ToUpper(method), path
			op.responses = map[int]declaredResponse{}
			for status, raw := range op.Responses {
				code, err := strconv.Atoi(status)
				require.NoError(tb, err)
				at := "/paths/" + pointer(path) + "/" + method + "/responses/" + status
				op.responses[code] = readResponse(tb, compiler, tree, at, raw)
			}
			all = append(all, op)
		}
	}
	require.NotEmpty(tb, all)
	slices.SortFunc(all, func(a, b *declaredOperation) int { return strings.Compare(a.ID, b.ID) })
	return all
}

const schemaBase = "tally:///openapi.json"

// newSchemaCompiler holds formats too, those of OpenAPI included.
func newSchemaCompiler(tb testing.TB, tree any) *jsonschema.Compiler {
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	compiler.AssertContent()
	for name, bits := range map[string]int{"int32": 32, "int64": 64} {
		compiler.RegisterFormat(&jsonschema.Format{Name: name, Validate: func(v any) error {
			if n, ok := v.(json.Number); ok {
				_, err := strconv.ParseInt(n.String(), 10, bits)
				return err
			}
			return nil
		}})
	}
	amount := regexp.MustCompile(`^-?(0|[1-9][0-9]*)\.[0-9]{2,}$`)
	compiler.RegisterFormat(&jsonschema.Format{Name: "decimal", Validate: func(v any) error {
		if n, ok := v.(json.Number); ok && !amount.MatchString(n.String()) {
			return errors.New("no decimal with two decimals or more")
		}
		return nil
	}})
	require.NoError(tb, compiler.AddResource(schemaBase, tree))
	return compiler
}

func pointer(name string) string {
	return url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
}

// readResponse follows a response's reference and compiles its schemas.
func readResponse(tb testing.TB, compiler *jsonschema.Compiler, tree any, at string, raw json.RawMessage) declaredResponse {
	tb.Helper()
	var response struct {
		Ref     string                     `json:"$ref"`
		Content map[string]json.RawMessage `json:"content"`
		Headers map[string]json.RawMessage `json:"headers"`
	}
	require.NoError(tb, json.Unmarshal(raw, &response))
	if response.Ref != "" {
		at = strings.TrimPrefix(response.Ref, "#")
		node := tree
		for name := range strings.SplitSeq(strings.TrimPrefix(at, "/"), "/") {
			node = node.(map[string]any)[name]
		}
		target, err := json.Marshal(node)
		require.NoError(tb, err)
		response.Ref = ""
		require.NoError(tb, json.Unmarshal(target, &response))
	}
	out := declaredResponse{bodies: map[string]*jsonschema.Schema{}}
	for mediaType := range response.Content {
		schema, err := compiler.Compile(schemaBase + "#" + at + "/content/" + pointer(mediaType) + "/schema")
		require.NoError(tb, err)
		out.bodies[mediaType] = schema
	}
	for name := range response.Headers {
		out.headers = append(out.headers, name)
	}
	return out
}

// plainInteger is how an integer is to be spelled.
var plainInteger = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)

// admits reports whether a parameter's text is valid under its schema.
func (s declaredSchema) admits(text string) bool {
	switch {
	case s.Items != nil:
		items := strings.Split(text, ",")
		return len(items) <= s.MaxItems && !slices.ContainsFunc(items, func(item string) bool { return !s.Items.admits(item) })
	case s.Type == "integer":
		n, ok := new(big.Int).SetString(text, 10)
		if !ok || !plainInteger.MatchString(text) {
			return false
		}
		low, high := s.bounds()
		return n.Cmp(big.NewInt(low)) >= 0 && n.Cmp(big.NewInt(high)) <= 0
	case len(s.Enum) > 0:
		return slices.Contains(s.Enum, text)
	case s.Format == "date":
		day, err := time.Parse(time.DateOnly, text)
		return err == nil && day.Year() > 0 && regexp.MustCompile(s.Pattern).MatchString(text)
	}
	length := utf8.RuneCountInString(text)
	return length >= s.MinLength && length <= s.MaxLength && regexp.MustCompile(s.Pattern).MatchString(text)
}

func (s declaredSchema) bounds() (low, high int64) {
	low, high = math.MinInt64, math.MaxInt64
	if s.Format == "int32" {
		low, high = math.MinInt32, math.MaxInt32
	}
	if s.Minimum != nil {
		low = *s.Minimum
	}
	if s.Maximum != nil {
		high = *s.Maximum
	}
	return low, high
}

// admits reports whether the path and the query are valid under the description.
func (op *declaredOperation) admits(id, rawQuery string) bool {
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return false
	}
	known := 0
	for _, p := range op.Parameters {
		switch p.In {
		case "path":
			if !p.Schema.admits(id) {
				return false
			}
		case "query":
			values := query[p.Name]
			if p.Schema.Items != nil && len(values) > 0 { // a list may be repeated, comma-separated, or both
				values = []string{strings.Join(values, ",")}
			}
			if len(values) > 1 || (len(values) == 1 && !p.Schema.admits(values[0])) || (len(values) == 0 && p.Required) {
				return false
			}
			known += len(values)
		}
	}
	return known == len(query)
}

// sometimes are the headers that an answer may lack, as their descriptions say: a
// last page has no Link, and without replicas there is one server.
var sometimes = []string{"Link", "Last-Modified", "Tally-Run", epochHeader, servedByHeader}

// requireDeclared compares a response with the responses of its operation.
func (op *declaredOperation) requireDeclared(tb testing.TB, w *httptest.ResponseRecorder) {
	tb.Helper()
	declared, ok := op.responses[w.Code]
	require.True(tb, ok, "%s does not declare the status %d", op.ID, w.Code)
	for _, name := range declared.headers {
		if !slices.Contains(sometimes, name) {
			assert.NotEmpty(tb, w.Header().Get(name), "%s %d: header %s", op.ID, w.Code, name)
		}
	}
	if len(declared.bodies) == 0 {
		assert.Empty(tb, string(inflated(tb, w)), "%s %d declares no body", op.ID, w.Code)
		return
	}
	schema := declared.bodies[w.Header().Get("Content-Type")]
	require.NotNil(tb, schema, "%s %d does not declare %q", op.ID, w.Code, w.Header().Get("Content-Type"))
	require.True(tb, utf8.Valid(inflated(tb, w)))
	body, err := jsonschema.UnmarshalJSON(bytes.NewReader(inflated(tb, w)))
	require.NoError(tb, err, "%s %d", op.ID, w.Code)
	require.NoError(tb, schema.Validate(body), "%s %d", op.ID, w.Code)
	if w.Code >= http.StatusBadRequest {
		problem := body.(map[string]any)
		assert.Equal(tb, strconv.Itoa(w.Code), problem["status"].(json.Number).String())
		assert.Equal(tb, w.Header().Get(requestIDHeader), problem["request_id"])
	}
}

// TestDeclaredSchemasRefuse keeps the check itself from going blind: a schema that
// admits anything would let every answer through.
func TestDeclaredSchemasRefuse(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{})
	ops := declaredOperations(t, h)
	at := slices.IndexFunc(ops, func(op *declaredOperation) bool { return op.ID == "getUserSummary" })
	require.GreaterOrEqual(t, at, 0)
	schema := ops[at].responses[http.StatusOK].bodies[jsonContentType]
	for body, keyword := range map[string]jsonschema.ErrorKind{
		`{"user_id":1,"total_transactions":1,"total_amount":1.00}`:                                                     &faults.Required{},
		`{"user_id":1,"total_transactions":1,"total_amount":1.00,"average_transaction_amount":1.00,"x":1}`:             &faults.AdditionalProperties{},
		`{"user_id":0,"total_transactions":1,"total_amount":1.00,"average_transaction_amount":1.00}`:                   &faults.Minimum{},
		`{"user_id":2147483648,"total_transactions":1,"total_amount":1.00,"average_transaction_amount":1.00}`:          &faults.Format{},
		`{"user_id":1,"total_transactions":9223372036854775808,"total_amount":1.00,"average_transaction_amount":1.00}`: &faults.Format{},
		`{"user_id":1,"total_transactions":1,"total_amount":1.0,"average_transaction_amount":1.00}`:                    &faults.Format{},
		`{"user_id":1,"total_transactions":1,"total_amount":"1.00","average_transaction_amount":1.00}`:                 &faults.Type{},
	} {
		tree, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
		require.NoError(t, err)
		err = schema.Validate(tree)
		var invalid *jsonschema.ValidationError
		require.ErrorAs(t, err, &invalid, body)
		for len(invalid.Causes) == 1 { // through the references
			invalid = invalid.Causes[0]
		}
		assert.IsType(t, keyword, invalid.ErrorKind, body)
	}
	tree, err := jsonschema.UnmarshalJSON(strings.NewReader(contractBody))
	require.NoError(t, err)
	require.NoError(t, schema.Validate(tree))
}
