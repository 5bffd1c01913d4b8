package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
)

const (
	// documentVersion is the API's own version, not the program's: it moves when
	// the contract does.
	documentVersion = "1.0.0"
	documentTitle   = "Tally"
	documentPath    = "/openapi"
	// problemTypesMark stands in the description for the list of problem types.
	problemTypesMark = "{{problem-types}}"

	tagTransactions = "Transactions"
	tagRuns         = "Runs"
	tagHealth       = "Health"

	requestIDComponent = "RequestId"
	bearerScheme       = "bearer"
	basicScheme        = "basic"
	jsonContentType    = "application/json"
)

const documentDescription = `Exact, always-current summaries of each user's transactions, and the ledger of the runs that loaded them.

**Numbers.** Amounts are JSON numbers with at least two decimals, more only where the data has more. They are exact.

**Lists** come in pages: ` + "`limit`" + ` sets the page size, ` + "`next_cursor`" + ` (also ` + "`Link: <…>; rel=\"next\"`" + `) points to the next page. Cursors are opaque.

**Errors** are RFC 9457 problems, ` + "`application/problem+json`" + `, with a stable ` + "`type`" + ` and the request's id, which is also in ` + "`X-Request-Id`" + ` of every response. The types are:

` + problemTypesMark + `
**Tokens** are required on a non-loopback address, and on loopback once the first token has been added: as ` + "`Authorization: Bearer`" + `, or as the password of any user with Basic authentication. A reader's token can read; an operator's can also make changes.

Unknown query parameters are rejected. Besides the responses listed with each operation, the status is 404 for an unknown path, 405 for an unsupported method, and 417, 501 or 505 for malformed HTTP; each is a problem too.`

// humaConfig leaves out what huma would add by itself: its documentation pages
// load from a CDN, its routes for the description fill a variable without a
// lock, and its transformer puts a $schema key into every answer.
func humaConfig() huma.Config {
	registry := huma.NewMapRegistry("#/components/schemas/", schemaName)
	// huma describes the errors of operations with its own model; finish answers
	// with ours.
	registry.RegisterTypeAlias(reflect.TypeFor[huma.ErrorModel](), reflect.TypeFor[Problem]())
	registry.RegisterTypeAlias(reflect.TypeFor[money.Sum](), reflect.TypeFor[sumSchema]())
	registry.RegisterTypeAlias(reflect.TypeFor[civil.Date](), reflect.TypeFor[dateSchema]())
	registry.RegisterTypeAlias(reflect.TypeFor[json.RawMessage](), reflect.TypeFor[objectSchema]())
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI:    "3.1.0",
			Info:       &huma.Info{Title: documentTitle, Version: documentVersion},
			Components: &huma.Components{Schemas: registry},
			// Else a body of unknown length would run into the front's limit before
			// huma's, and be a 500.
			OnAddOperation: []huma.AddOpFunc{func(_ *huma.OpenAPI, op *huma.Operation) { op.MaxBodyBytes = maxBodyBytes }},
		},
		Formats: map[string]huma.Format{
			jsonContentType: {Marshal: marshalJSON, Unmarshal: unmarshalJSON},
			"json":          {Marshal: marshalJSON, Unmarshal: unmarshalJSON}, // of application/problem+json
		},
		DefaultFormat: jsonContentType,
		Transformers:  []huma.Transformer{finish},
	}
}

// schemaName is huma's name of a type, and RunPage where huma says PageRun: clients
// are generated with these names.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	if item, ok := strings.CutPrefix(name, "Page"); ok {
		return item + "Page"
	}
	return name
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

// unmarshalJSON reads a body, once as any value for huma to validate and once into the
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

// strict replaces what huma's validation accepts although the schema does not: null for
// an optional member, and a member's name in other letters (encoding/json reads both). No
// schema of a body admits null or has a name that is not in lower case.
func strict(value any) any {
	switch v := value.(type) {
	case nil:
		return struct{}{} // of no type that a schema has
	case []any:
		for i := range v {
			v[i] = strict(v[i])
		}
	case map[string]any:
		members := make(map[string]any, len(v))
		for name, member := range v {
			if strings.ContainsFunc(name, outsideNames) {
				name += "\x00" // equal to no name, in any letters
			}
			members[name] = strict(member)
		}
		return members
	}
	return value
}

func outsideNames(r rune) bool { return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') }

// addMetadata fills in what is said once for all operations.
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
		{Name: tagHealth, Description: "Liveness and readiness probes."},
	}
	components := document.Components
	components.Headers = map[string]*huma.Header{
		requestIDComponent: {
			Description: "The request's id, as in the service's log.",
			Schema:      &huma.Schema{Type: huma.TypeString, Examples: []any{exampleRequestID}},
		},
		retryAfterComponent: {
			Description: "The seconds to wait before retrying.",
			Schema:      &huma.Schema{Type: huma.TypeInteger, Format: "int32"},
		},
	}
	components.SecuritySchemes = map[string]*huma.SecurityScheme{
		bearerScheme: {Type: "http", Scheme: "bearer", Description: "The secret that tally token add prints."},
		basicScheme:  {Type: "http", Scheme: "basic", Description: "Any user name, with a token's secret as the password."},
	}
	problem := components.Schemas.Schema(reflect.TypeFor[Problem](), true, "")
	components.Responses = map[string]*huma.Response{}
	for _, r := range problemResponses {
		components.Responses[r.name] = r.response(problem)
	}
}

// operationsOf are a path's operations, whatever their methods.
func operationsOf(item *huma.PathItem) []*huma.Operation {
	all := []*huma.Operation{item.Get, item.Put, item.Post, item.Delete, item.Patch}
	return slices.DeleteFunc(all, func(op *huma.Operation) bool { return op == nil })
}

// addSecurity says of each operation what it asks for, and what it answers without.
func addSecurity(document *huma.OpenAPI) {
	for path, item := range document.Paths {
		problems := []problemResponse{unauthorizedResponse, forbiddenResponse, tooManyRequestsResponse}
		schemes := []map[string][]string{{bearerScheme: {}}, {basicScheme: {}}}
		switch path {
		case livezPath:
			problems, schemes = nil, []map[string][]string{}
		case readyzPath:
			problems, schemes = []problemResponse{tooManyRequestsResponse}, []map[string][]string{}
		}
		for _, op := range operationsOf(item) {
			op.Security = schemes
			for _, p := range problems {
				op.Responses[strconv.Itoa(p.status)] = p.reference()
			}
		}
	}
}

// addParameterDetails adds to the description what huma has no tag for.
func addParameterDetails(document *huma.OpenAPI) {
	for _, item := range document.Paths {
		for _, op := range operationsOf(item) {
			for _, p := range op.Parameters {
				explode(p)
				bound(p.Schema)
				if len(p.Schema.Examples) > 0 {
					p.Example = p.Schema.Examples[0] // where Swagger UI looks for it
				}
			}
		}
	}
}

// explode says of a list in a query that its name is repeated: what the generators of
// clients write where nothing else is said, and some (openapi-python-client) whatever is
// said. The comma-separated form, which OpenAPI cannot describe beside it, is in words.
func explode(p *huma.Param) {
	if p.In == "query" && p.Schema.Type == huma.TypeArray {
		repeated := true // huma goes by the flag that p.Explode points to
		p.Explode = &repeated
	}
}

// maxInt64 as a text: huma has the bounds of integers as floats, which cannot hold it.
const maxInt64 = "9223372036854775807"

// bound declares the maximum of an integer that has none but its format's.
func bound(schema *huma.Schema) {
	if schema.Format == "int64" && schema.Maximum == nil {
		schema.Extensions = map[string]any{"maximum": json.Number(maxInt64)}
	}
}

const (
	exampleRequestID    = "6JHGDA54PDBBDC4P2LDBHGTQFS"
	retryAfterComponent = "RetryAfter"
)

// problemResponse is an error answer that operations share.
type problemResponse struct {
	name   string // in the description's components
	status int
	kinds  []kind
}

var (
	noTransactionsResponse = problemResponse{"NoTransactions", http.StatusNotFound, []kind{kindNoTransactions}}
	runNotFoundResponse    = problemResponse{"RunNotFound", http.StatusNotFound, []kind{kindRunNotFound}}
	notAcceptableResponse  = problemResponse{"NotAcceptable", http.StatusNotAcceptable, []kind{kindNotAcceptable}}
	preconditionResponse   = problemResponse{"PreconditionFailed", http.StatusPreconditionFailed, []kind{kindPrecondition}}
	invalidResponse        = problemResponse{"InvalidRequest", http.StatusUnprocessableEntity, []kind{kindInvalid}}
	internalResponse       = problemResponse{"InternalError", http.StatusInternalServerError, []kind{kindInternal}}
	unavailableResponse    = problemResponse{"Unavailable", http.StatusServiceUnavailable, []kind{kindUnavailable, kindTimeout}}
	notReadyResponse       = problemResponse{"NotReady", http.StatusServiceUnavailable, []kind{kindNotReady}}

	unauthorizedResponse    = problemResponse{"Unauthorized", http.StatusUnauthorized, []kind{kindUnauthorized}}
	forbiddenResponse       = problemResponse{"Forbidden", http.StatusForbidden, []kind{kindForbidden, kindCrossOrigin, kindForeignHost}}
	tooManyRequestsResponse = problemResponse{"TooManyRequests", http.StatusTooManyRequests, []kind{kindTooManyRequests}}

	badRequestResponse       = problemResponse{"BadRequest", http.StatusBadRequest, []kind{kindBadRequest}}
	requestTimeoutResponse   = problemResponse{"RequestTimeout", http.StatusRequestTimeout, []kind{kindRequestTimeout}}
	contentTooLargeResponse  = problemResponse{"ContentTooLarge", http.StatusRequestEntityTooLarge, []kind{kindContentTooLarge}}
	headersTooLargeResponse  = problemResponse{"HeadersTooLarge", http.StatusRequestHeaderFieldsTooLarge, []kind{kindHeadersTooLarge}}
	unsupportedMediaResponse = problemResponse{"UnsupportedMediaType", http.StatusUnsupportedMediaType, []kind{kindUnsupportedMedia}}

	problemResponses = [...]problemResponse{
		badRequestResponse, requestTimeoutResponse, contentTooLargeResponse, unsupportedMediaResponse, headersTooLargeResponse,
		unauthorizedResponse, forbiddenResponse, tooManyRequestsResponse, noTransactionsResponse, runNotFoundResponse,
		notAcceptableResponse, preconditionResponse, invalidResponse,
		internalResponse, unavailableResponse, notReadyResponse,
	}
	// commonResponses are the errors of every operation. With the first one the server
	// answers what it cannot read as a request.
	commonResponses = []problemResponse{
		badRequestResponse, notAcceptableResponse, contentTooLargeResponse, invalidResponse, headersTooLargeResponse, internalResponse,
	}
	// runResponses are the errors of whatever is under one run.
	runResponses = []problemResponse{runNotFoundResponse, unavailableResponse}
)

func (r problemResponse) response(schema *huma.Schema) *huma.Response {
	headers := map[string]*huma.Header{requestIDHeader: {Ref: "#/components/headers/" + requestIDComponent}}
	examples := map[string]*huma.Example{}
	var titles []string
	for _, k := range r.kinds {
		titles = append(titles, k.title+".")
		if k.status == http.StatusUnauthorized {
			headers["WWW-Authenticate"] = &huma.Header{
				Description: "The supported authentication schemes: Bearer and Basic.",
				Schema:      &huma.Schema{Type: huma.TypeString},
			}
		}
		if k.retry {
			headers["Retry-After"] = &huma.Header{Ref: "#/components/headers/" + retryAfterComponent}
		}
		examples[k.name] = &huma.Example{Summary: k.title, Value: exampleOf(k)}
	}
	return &huma.Response{
		Description: strings.Join(titles, " Or: "),
		Headers:     headers,
		Content:     map[string]*huma.MediaType{problemContentType: {Schema: schema, Examples: examples}},
	}
}

// exampleOf is a problem as a client sees it.
func exampleOf(k kind) *Problem {
	p := k.problem()
	switch k.name {
	case kindInvalid.name:
		p = invalid(ProblemError{Location: "path.user_id", Message: "must be an integer from 1 to 2147483647 in decimal digits"})
	case kindNotReady.name:
		p.NotReady = []string{"database"}
	}
	return p.withRequestID(exampleRequestID)
}

// success is an operation's 200; huma adds the schema.
func success(description string, example any) *huma.Response {
	return &huma.Response{
		Description: description,
		Headers:     map[string]*huma.Header{requestIDHeader: {Ref: "#/components/headers/" + requestIDComponent}},
		Content:     map[string]*huma.MediaType{jsonContentType: {Example: example}},
	}
}

// responses are an operation's answers, each error by reference: those that it has itself,
// and those of every operation.
func responses(ok *huma.Response, problems ...problemResponse) map[string]*huma.Response {
	all := map[string]*huma.Response{"200": ok}
	for _, p := range slices.Concat(commonResponses, problems) {
		all[strconv.Itoa(p.status)] = p.reference()
	}
	return all
}

func (r problemResponse) reference() *huma.Response {
	return &huma.Response{Ref: "#/components/responses/" + r.name}
}

// rendering is the description in one of its forms.
type rendering struct {
	path        string
	contentType string
	body        []byte
}

// render writes the description in OpenAPI 3.1 and, for tools that do not read
// that yet, in 3.0.
func render(document *huma.OpenAPI) ([]rendering, error) {
	type form struct {
		path, contentType string
		write             func() ([]byte, error)
	}
	var out []rendering
	for _, f := range []form{
		{documentPath + ".json", jsonContentType, document.MarshalJSON},
		{documentPath + ".yaml", "application/yaml", document.YAML},
		{documentPath + "-3.0.json", jsonContentType, downgraded(document.Downgrade)},
		{documentPath + "-3.0.yaml", "application/yaml", downgraded(document.DowngradeYAML)},
	} {
		body, err := f.write()
		if err != nil {
			return nil, fmt.Errorf("render %s: %w", f.path, err)
		}
		if !bytes.HasSuffix(body, []byte("\n")) {
			body = append(body, '\n')
		}
		out = append(out, rendering{f.path, f.contentType, body})
	}
	return out, nil
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

func mountDocument(mux *http.ServeMux, document *huma.OpenAPI) error {
	renderings, err := render(document)
	if err != nil {
		return err
	}
	for _, r := range renderings {
		mux.Handle("GET "+r.path, constant(r.contentType, r.body))
	}
	return nil
}

// constant answers with the same bytes every time.
func constant(contentType string, body []byte) http.Handler {
	length := strconv.Itoa(len(body))
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Content-Length", length)
		_, _ = w.Write(body) // a client that is gone needs no answer
	})
}
