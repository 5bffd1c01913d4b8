package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
)

const (
	documentVersion  = "1.0.0" // of the API's contract, not of the program
	documentTitle    = "Tally"
	documentPath     = "/openapi"
	problemTypesMark = "{{problem-types}}" // is replaced by the list of them

	tagTransactions = "Transactions"
	tagRuns         = "Runs"
	tagRejects      = "Rejects"
	tagPartitions   = "Partitions"
	tagHealth       = "Health"

	requestIDReference  = "#/components/headers/RequestId"
	retryAfterReference = "#/components/headers/RetryAfter"
	exampleRequestID    = "6JHGDA54PDBBDC4P2LDBHGTQFS"
	bearerScheme        = "bearer"
	basicScheme         = "basic"
	jsonContentType     = "application/json"
	csvContentType      = "text/csv"
	maxInt64            = "9223372036854775807" // not in huma's bounds of integers, which are floats
)

const documentDescription = `Exact, always-current summaries of each user's transactions, and the ledger of the runs that loaded them.

**Numbers.** Amounts are JSON numbers with at least two decimals, more only where the data has more. They are exact.

**Lists** come in pages: ` + "`limit`" + ` sets the page size, ` + "`next_cursor`" + ` (also ` + "`Link: <…>; rel=\"next\"`" + `) points to the next page. Cursors are opaque.

**Errors** are RFC 9457 problems, ` + "`application/problem+json`" + `, with a stable ` + "`type`" + ` and the request's id, which is also in ` + "`X-Request-Id`" + ` of every response. The types are:

` + problemTypesMark + `
**Tokens** are required on a non-loopback address, and on loopback once the first token has been added: as ` + "`Authorization: Bearer`" + `, or as the password of any user with Basic authentication. A reader's token can read; an operator's can also make changes.

Unknown query parameters are rejected. Besides the responses listed with each operation, the status is 404 for an unknown path, 405 for an unsupported method, and 417, 501 or 505 for malformed HTTP; each is a problem too.`

// humaConfig omits huma's defaults: its documentation pages load from a CDN, its routes for
// the document fill a variable without a lock, and its transformer adds $schema to responses.
func humaConfig() huma.Config {
	registry := huma.NewMapRegistry("#/components/schemas/", schemaName)
	// huma describes errors with its own model; finishProblem answers with ours.
	registry.RegisterTypeAlias(reflect.TypeFor[huma.ErrorModel](), reflect.TypeFor[Problem]())
	registry.RegisterTypeAlias(reflect.TypeFor[money.Sum](), reflect.TypeFor[sumSchema]())
	registry.RegisterTypeAlias(reflect.TypeFor[civil.Date](), reflect.TypeFor[dateSchema]())
	registry.RegisterTypeAlias(reflect.TypeFor[json.RawMessage](), reflect.TypeFor[objectSchema]())
	format := huma.Format{Marshal: marshalJSON, Unmarshal: unmarshalJSON}
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI:        "3.1.0",
			Info:           &huma.Info{Title: documentTitle, Version: documentVersion},
			Components:     &huma.Components{Schemas: registry},
			OnAddOperation: []huma.AddOpFunc{completeOperation},
		},
		Formats: map[string]huma.Format{
			jsonContentType: format, "json": format, // "json" of application/problem+json
			csvContentType: {Marshal: marshalCSV, Unmarshal: func([]byte, any) error { return huma.ErrUnknownContentType }},
		},
		DefaultFormat: jsonContentType,
		Transformers:  []huma.Transformer{finishProblem},
	}
}

// completeOperation adds what huma has no tag for.
func completeOperation(_ *huma.OpenAPI, op *huma.Operation) {
	// Without it a body of unknown length would reach the middleware's limit first, and be a 500.
	op.MaxBodyBytes = maxBodyBytes
	if op.Method == http.MethodGet && len(op.Security) > 0 {
		addMinEpoch(op)
	}
	for _, p := range op.Parameters {
		// Generators of clients repeat a list's name unless told otherwise, some in any case.
		// OpenAPI cannot describe the comma-separated form beside it.
		if p.In == "query" && p.Schema.Type == huma.TypeArray {
			repeated := true // huma follows the pointer
			p.Explode = &repeated
		}
		if p.Schema.Format == "int64" && p.Schema.Maximum == nil {
			p.Schema.Extensions = map[string]any{"maximum": json.Number(maxInt64)}
		}
		if len(p.Schema.Examples) > 0 {
			p.Example = p.Schema.Examples[0] // where Swagger UI looks for it
		}
	}
}

// schemaName is huma's name of a type, but RunPage instead of PageRun.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	if item, ok := strings.CutPrefix(name, "Page"); ok {
		return item + "Page"
	}
	return name
}

type (
	sumSchema    struct{} // of a [money.Sum]
	dateSchema   struct{} // of a [civil.Date]
	objectSchema struct{} // of a json.RawMessage: an object passed on as it is stored
)

func (sumSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeNumber, Format: "decimal", Examples: []any{json.Number("10240.50")},
		Description: "An exact decimal with at least two decimals, more only where the data has more. " +
			"Parse it as a decimal if you need more than the 15 digits of a float.",
		// oapi-codegen takes a number of an unknown format for a float32, too short for most sums.
		Extensions: map[string]any{"x-go-type": "json.Number"},
	}
}

func (dateSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date", Examples: []any{"2024-01-31"}}
}

func (objectSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// marshalJSON writes one line, in one write.
func marshalJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

// marshalCSV writes the list of an operation that has it.
func marshalCSV(w io.Writer, v any) error {
	list, ok := v.(interface{ writeCSV(w io.Writer) error })
	if !ok {
		return fmt.Errorf("write CSV: %T is no list", v)
	}
	return list.writeCSV(w)
}

// unmarshalJSON reads a body, first as any value for huma to validate, then into the
// operation's type.
func unmarshalJSON(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("read JSON: %w", err)
	}
	if tree, ok := v.(*any); ok {
		*tree = strict(*tree)
	}
	return nil
}

// strict replaces what huma's validation accepts against the schema: null for an optional
// member, and a member's name in other letter case (encoding/json reads both). No schema of a
// body admits null or has a name that is not in lower case.
func strict(value any) any {
	switch v := value.(type) {
	case nil:
		return struct{}{} // of a type that no schema has
	case []any:
		for i := range v {
			v[i] = strict(v[i])
		}
	case map[string]any:
		members := make(map[string]any, len(v))
		for name, member := range v {
			if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
				name += "\x00" // equal to no name in any letter case
			}
			members[name] = strict(member)
		}
		return members
	}
	return value
}

// addMetadata adds what all operations share.
func addMetadata(document *huma.OpenAPI) {
	var types strings.Builder
	for _, k := range kinds {
		fmt.Fprintf(&types, "- `%s` (%d): %s.\n", k.uri(), k.status, k.title)
	}
	document.Info.Description = strings.Replace(documentDescription, problemTypesMark, types.String(), 1)
	document.Info.License = &huma.License{Name: "Apache-2.0", URL: "https://www.apache.org/licenses/LICENSE-2.0.html"}
	document.Servers = []*huma.Server{{URL: "/", Description: "The service that serves this document."}}
	document.Tags = []*huma.Tag{
		{Name: tagTransactions, Description: "Users' transactions and their summaries."},
		{Name: tagRuns, Description: "The ledger: runs, their files, rejected rows and log lines."},
		{Name: tagRejects, Description: "What was not loaded, and changes after the load."},
		{Name: tagPartitions, Description: "The months of transactions."},
		{Name: tagHealth, Description: "Liveness and readiness probes."},
	}
	components := document.Components
	components.Headers = map[string]*huma.Header{
		"RequestId": stringHeader("The request's id, as in the service's log.", exampleRequestID),
		"Epoch": {Description: "The number of the last data-changing commit that the answer includes. Only with read replicas.",
			Schema: &huma.Schema{Type: huma.TypeInteger, Format: "int64", Examples: []any{42}}},
		"ServedBy": {Description: "The database server that answered: the primary or a replica. Only with read replicas.",
			Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{"primary", "replica"}}},
		"RetryAfter": {Description: "The seconds to wait before retrying.", Schema: &huma.Schema{Type: huma.TypeInteger, Format: "int32"}},
	}
	components.SecuritySchemes = map[string]*huma.SecurityScheme{
		bearerScheme: {Type: "http", Scheme: "bearer", Description: "The secret that tally token add prints."},
		basicScheme:  {Type: "http", Scheme: "basic", Description: "Any user name, with a token's secret as the password."},
	}
	schema := components.Schemas.Schema(reflect.TypeFor[Problem](), true, "")
	components.Responses = map[string]*huma.Response{}
	for _, k := range kinds {
		switch r := components.Responses[k.component()]; {
		case k.name == kindNotFound.name || k.name == kindMethodNotAllowed.name: // of no operation
		case r == nil:
			components.Responses[k.component()] = problemResponse(k, schema)
		default:
			r.Description += " Or: " + k.title + "."
			r.Content[problemContentType].Examples[k.name] = exampleOf(k)
		}
	}
}

func problemResponse(k kind, schema *huma.Schema) *huma.Response {
	headers := map[string]*huma.Header{requestIDHeader: {Ref: requestIDReference}}
	if k.status == http.StatusUnauthorized {
		headers["WWW-Authenticate"] = &huma.Header{
			Description: "The supported authentication schemes: Bearer and Basic.", Schema: &huma.Schema{Type: huma.TypeString},
		}
	}
	if k.retry() {
		headers["Retry-After"] = &huma.Header{Ref: retryAfterReference}
	}
	examples := map[string]*huma.Example{k.name: exampleOf(k)}
	return &huma.Response{
		Description: k.title + ".", Headers: headers,
		Content: map[string]*huma.MediaType{problemContentType: {Schema: schema, Examples: examples}},
	}
}

// exampleOf is a problem as a client sees it.
func exampleOf(k kind) *huma.Example {
	p := k.problem()
	switch k.name {
	case kindInvalid.name:
		p = invalid(ProblemError{Location: "path.user_id", Message: "must be an integer from 1 to 2147483647 in decimal digits"})
	case kindNotReady.name:
		p.NotReady = []string{"database"}
	}
	return &huma.Example{Summary: k.title, Value: p.withRequestID(exampleRequestID)}
}

// documentWriters write the document, by path, in OpenAPI 3.1 and, for tools that do not read
// that yet, in 3.0.
func documentWriters(document *huma.OpenAPI) map[string]func() ([]byte, error) {
	return map[string]func() ([]byte, error){
		documentPath + ".json":     document.MarshalJSON,
		documentPath + ".yaml":     document.YAML,
		documentPath + "-3.0.json": downgraded(document.Downgrade),
		documentPath + "-3.0.yaml": downgraded(document.DowngradeYAML),
	}
}

// downgraded fixes what huma writes for 3.0: the format of base64 is byte there, and the
// largest integer went through a float.
func downgraded(write func() ([]byte, error)) func() ([]byte, error) {
	base64 := regexp.MustCompile(`(?m)("format":"|^ +format: )base64("|$)`)
	return func() ([]byte, error) {
		body, err := write()
		body = base64.ReplaceAll(body, []byte("${1}byte${2}"))
		return bytes.ReplaceAll(body, []byte("9223372036854776000"), []byte(maxInt64)), err
	}
}

// mountDocument renders each form when it is first requested: four of them would be most of
// the work of [New], and most services are never asked.
func mountDocument(mux *http.ServeMux, document *huma.OpenAPI) {
	for path, write := range documentWriters(document) {
		handler := sync.OnceValue(func() http.Handler {
			body, err := write()
			if err != nil {
				panic(fmt.Errorf("render %s: %w", path, err)) // the operations are wrong, which a test would show
			}
			return constant("application/"+path[len(path)-len("json"):], endLine(body))
		})
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) { handler().ServeHTTP(w, r) })
	}
}

func endLine(body []byte) []byte { return append(bytes.TrimSuffix(body, []byte("\n")), '\n') }

// constant always answers with the same bytes.
func constant(contentType string, body []byte) http.Handler {
	length := strconv.Itoa(len(body))
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Content-Length", length)
		_, _ = w.Write(body) // a client that is gone needs no answer
	})
}
