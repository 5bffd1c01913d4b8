package api

import (
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/danielgtaylor/huma/v2/humatest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the committed description anew")

func renderings(tb testing.TB) map[string]string {
	tb.Helper()
	operations := humago.New(http.NewServeMux(), humaConfig())
	newService(Config{}).register(operations)
	out := map[string]string{}
	for path, write := range documentWriters(operations.OpenAPI()) {
		body, err := write()
		require.NoError(tb, err)
		out[path] = string(endLine(body))
	}
	return out
}

// TestDocument holds the committed description to the operations.
func TestDocument(t *testing.T) {
	t.Parallel()
	all := renderings(t)
	for path, file := range map[string]string{"/openapi.yaml": "openapi.yaml", "/openapi-3.0.yaml": "openapi-3.0.yaml"} {
		if *update {
			require.NoError(t, os.WriteFile(file, []byte(all[path]), 0o644))
		}
		committed, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Equal(t, string(committed), all[path], "%s is not what the operations say: go generate ./api", file)
	}
}

func TestDocumentIsServed(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{Version: "9.9.9"})
	for path, body := range renderings(t) {
		w := ask(h, http.MethodGet, path)
		assert.Equal(t, http.StatusOK, w.Code)
		assert.Equal(t, body, w.Body.String(), path)
		assert.NotContains(t, body, "9.9.9")
		assert.NotContains(t, body, "$schema")
		assert.NotContains(t, body, "ErrorModel")
		assert.Contains(t, w.Header().Get("Content-Type"), path[len(path)-4:])
	}
}

type document struct {
	OpenAPI string `json:"openapi"`
	Paths   map[string]map[string]struct {
		OperationID string   `json:"operationId"`
		Tags        []string `json:"tags"`
		Summary     string   `json:"summary"`
		Security    *[]map[string][]string
		Description string `json:"description"`
		Responses   map[string]json.RawMessage
	} `json:"paths"`
}

func TestDocumentIsComplete(t *testing.T) {
	t.Parallel()
	all := renderings(t)
	for path, version := range map[string]string{"/openapi.json": "3.1.0", "/openapi-3.0.json": "3.0.3"} {
		var doc document
		require.NoError(t, json.Unmarshal([]byte(all[path]), &doc))
		assert.Equal(t, version, doc.OpenAPI)
		assert.Len(t, doc.Paths, strings.Count(all["/openapi.yaml"], "\n  /"), "the paths of the golden document")
		ids := map[string]bool{}
		for address, methods := range doc.Paths {
			for _, op := range methods {
				assert.False(t, ids[op.OperationID], op.OperationID)
				ids[op.OperationID] = true
				assert.NotEmpty(t, op.OperationID, address)
				assert.NotEmpty(t, op.Summary, address)
				assert.NotEmpty(t, op.Description, address)
				assert.Len(t, op.Tags, 1, address)
				for _, status := range []string{"200", "400", "406", "413", "422", "431", "500"} {
					assert.Contains(t, op.Responses, status, address)
				}
				assert.Equal(t, strings.Contains(address, "{") || address == "/rejects/replay", op.Responses["404"] != nil, address)
				assert.Equal(t, address != "/livez", op.Responses["503"] != nil, address)
				assert.Equal(t, address != "/livez", op.Responses["429"] != nil, address)
				probe := address == "/livez" || address == "/readyz"
				for _, status := range []string{"401", "403"} {
					assert.Equal(t, !probe, op.Responses[status] != nil, address)
				}
				if assert.NotNil(t, op.Security, address); !probe {
					assert.Equal(t, []map[string][]string{{"bearer": {}}, {"basic": {}}}, *op.Security, address)
				} else {
					assert.Empty(t, *op.Security, address)
				}
			}
		}
		assertReferences(t, all[path])
	}
}

// TestDocumentIsFitForGenerators holds what a generator would make a poor client of.
func TestDocumentIsFitForGenerators(t *testing.T) {
	t.Parallel()
	all := renderings(t)
	for _, path := range []string{"/openapi.json", "/openapi-3.0.json", "/openapi.yaml", "/openapi-3.0.yaml"} {
		body := all[path]
		amounts := len(regexp.MustCompile(`format"?: ?"?decimal`).FindAllString(body, -1))
		assert.NotZero(t, amounts)
		assert.Equal(t, amounts, strings.Count(body, "json.Number"), "an amount that Go would read as a float32")
		assert.NotContains(t, body, "PageRun")
		assert.Contains(t, body, "RunPage")
		assert.NotRegexp(t, `format"?: ?"?base64`, body, "3.0 calls it byte")
		assert.Equal(t, strings.Contains(path, "3.0"), regexp.MustCompile(`format"?: ?"?byte`).MatchString(body))
	}
}

// TestBodiesAreStrict holds what strict presumes of every body that an operation takes,
// and that it is in force there.
func TestBodiesAreStrict(t *testing.T) {
	t.Parallel()
	operations := humatest.Wrap(t, humago.New(http.NewServeMux(), humaConfig()))
	newService(Config{}).register(operations)
	registry := operations.OpenAPI().Components.Schemas
	bodies := 0
	for path, item := range operations.OpenAPI().Paths {
		for _, op := range operationsOf(item) {
			if op.RequestBody == nil {
				continue
			}
			require.Len(t, op.RequestBody.Content, 1, path)
			schema := op.RequestBody.Content[jsonContentType].Schema
			assertStrict(t, registry, path, schema)
			for name := range resolved(registry, schema).Properties {
				bodies++
				address := strings.NewReplacer("{reject_id}", "3:42", "{file_id}", "3", "{id}", "7").Replace(path)
				w := post(newHandler(t, Config{}), address, jsonContentType, `{"`+name+`":null}`)
				p := requireProblem(t, w, http.StatusUnprocessableEntity, "invalid-request")
				var wrong []string // others may be missing
				for _, e := range p.Errors {
					wrong = append(wrong, e.Location)
				}
				assert.Contains(t, wrong, "body."+name)
			}
		}
	}
	assert.NotZero(t, bodies)
}

func resolved(registry huma.Registry, schema *huma.Schema) *huma.Schema {
	for schema.Ref != "" {
		schema = registry.SchemaFromRef(schema.Ref)
	}
	return schema
}

func assertStrict(t *testing.T, registry huma.Registry, path string, schema *huma.Schema) {
	t.Helper()
	schema = resolved(registry, schema)
	assert.False(t, schema.Nullable, path)
	assert.Empty(t, schema.OneOf, path)
	assert.Empty(t, schema.AnyOf, path)
	if schema.Items != nil {
		assertStrict(t, registry, path+"[]", schema.Items)
	}
	if schema.Type == huma.TypeObject {
		assert.Equal(t, false, schema.AdditionalProperties, path)
	}
	for name, member := range schema.Properties {
		assert.Regexp(t, `^[a-z0-9_]+$`, name, path)
		assertStrict(t, registry, path+"."+name, member)
	}
}

// assertReferences looks every $ref up.
func assertReferences(tb testing.TB, body string) {
	tb.Helper()
	var tree any
	require.NoError(tb, json.Unmarshal([]byte(body), &tree))
	references := regexp.MustCompile(`"\$ref":"#/([^"]+)"`).FindAllStringSubmatch(body, -1)
	require.NotEmpty(tb, references)
	for _, reference := range references {
		node := tree
		for _, name := range strings.Split(reference[1], "/") {
			object, ok := node.(map[string]any)
			require.True(tb, ok, reference[1])
			node = object[name]
		}
		assert.NotNil(tb, node, reference[1])
	}
}

// operationsOf are a path's operations.
func operationsOf(item *huma.PathItem) []*huma.Operation {
	all := []*huma.Operation{item.Get, item.Put, item.Post, item.Delete, item.Patch}
	return slices.DeleteFunc(all, func(op *huma.Operation) bool { return op == nil })
}
