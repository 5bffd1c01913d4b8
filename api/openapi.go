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

	"github.com/danielgtaylor/huma/v2"
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
	jsonContentType    = "application/json"
)

const documentDescription = `Exact, always-current summaries of each user's transactions, and the record of the runs that loaded them.

**Numbers.** Amounts are JSON numbers with at least two decimals, more only where the data has more. They are exact.

**Lists** come by pages: ` + "`limit`" + ` bounds a page, ` + "`next_cursor`" + ` (also ` + "`Link: <…>; rel=\"next\"`" + `) leads to the next one. Cursors are opaque.

**Errors** are problems as RFC 9457 has them, ` + "`application/problem+json`" + `, with a stable ` + "`type`" + ` and the request's id, which ` + "`X-Request-Id`" + ` holds on every answer. The types are:

` + problemTypesMark + `
Unknown query parameters are refused. Besides the answers listed with each operation, an unknown address is a 404 and a method that an address does not take a 405, each a problem as well.`

// humaConfig leaves out what huma would add by itself: its documentation pages
// load from a CDN, its routes for the description fill a variable without a
// lock, and its transformer puts a $schema key into every answer.
func humaConfig() huma.Config {
	registry := huma.NewMapRegistry("#/components/schemas/", schemaName)
	// huma describes the errors of operations with its own model; finish answers
	// with ours.
	registry.RegisterTypeAlias(reflect.TypeFor[huma.ErrorModel](), reflect.TypeFor[Problem]())
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI:    "3.1.0",
			Info:       &huma.Info{Title: documentTitle, Version: documentVersion},
			Components: &huma.Components{Schemas: registry},
		},
		Formats: map[string]huma.Format{
			jsonContentType: {Marshal: marshalJSON, Unmarshal: json.Unmarshal},
			"json":          {Marshal: marshalJSON, Unmarshal: json.Unmarshal}, // of application/problem+json
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

// describe fills in what is said once for all operations.
func describe(document *huma.OpenAPI) {
	var types strings.Builder
	for _, k := range kinds {
		fmt.Fprintf(&types, "- `%s` (%d): %s.\n", k.uri(), k.status, k.title)
	}
	document.Info.Description = strings.Replace(documentDescription, problemTypesMark, types.String(), 1)
	document.Info.License = &huma.License{Name: "Apache-2.0", URL: "https://www.apache.org/licenses/LICENSE-2.0.html"}
	document.Servers = []*huma.Server{{URL: "/", Description: "The service that this description was read from."}}
	document.Tags = []*huma.Tag{
		{Name: tagTransactions, Description: "Users' transactions and their summaries."},
		{Name: tagRuns, Description: "The ledger: runs, the files they read, the rows they did not load, what they logged."},
		{Name: tagHealth, Description: "For probes."},
	}
	components := document.Components
	components.Headers = map[string]*huma.Header{
		requestIDComponent: {
			Description: "The request's id, under which the service's log has it.",
			Schema:      &huma.Schema{Type: huma.TypeString, Examples: []any{exampleRequestID}},
		},
		retryAfterComponent: {
			Description: "After how many seconds to try again.",
			Schema:      &huma.Schema{Type: huma.TypeInteger, Format: "int32"},
		},
	}
	problem := components.Schemas.Schema(reflect.TypeFor[Problem](), true, "")
	components.Responses = map[string]*huma.Response{}
	for _, r := range problemResponses {
		components.Responses[r.name] = r.response(problem)
	}
}

// illustrate repeats the examples of parameters where Swagger UI looks for them.
func illustrate(document *huma.OpenAPI) {
	for _, path := range document.Paths {
		for _, p := range path.Get.Parameters {
			if len(p.Schema.Examples) > 0 {
				p.Example = p.Schema.Examples[0]
			}
		}
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
	invalidResponse        = problemResponse{"InvalidRequest", http.StatusUnprocessableEntity, []kind{kindInvalid}}
	internalResponse       = problemResponse{"InternalError", http.StatusInternalServerError, []kind{kindInternal}}
	unavailableResponse    = problemResponse{"Unavailable", http.StatusServiceUnavailable, []kind{kindUnavailable, kindTimeout}}
	notReadyResponse       = problemResponse{"NotReady", http.StatusServiceUnavailable, []kind{kindNotReady}}

	problemResponses = [...]problemResponse{
		noTransactionsResponse, runNotFoundResponse, notAcceptableResponse, invalidResponse,
		internalResponse, unavailableResponse, notReadyResponse,
	}
	// runResponses are the errors of whatever is under one run.
	runResponses = []problemResponse{
		runNotFoundResponse, notAcceptableResponse, invalidResponse, internalResponse, unavailableResponse,
	}
)

func (r problemResponse) response(schema *huma.Schema) *huma.Response {
	headers := map[string]*huma.Header{requestIDHeader: {Ref: "#/components/headers/" + requestIDComponent}}
	examples := map[string]*huma.Example{}
	var titles []string
	for _, k := range r.kinds {
		titles = append(titles, k.title+".")
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
		p = invalid(ProblemError{Location: "path.user_id", Message: "must be an integer from 1 to 2147483647 in plain digits"})
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

// responses are an operation's answers, each error by reference.
func responses(ok *huma.Response, problems ...problemResponse) map[string]*huma.Response {
	all := map[string]*huma.Response{"200": ok}
	for _, p := range problems {
		all[strconv.Itoa(p.status)] = &huma.Response{Ref: "#/components/responses/" + p.name}
	}
	return all
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

// downgraded mends what huma writes for 3.0, where the format of base64 is byte.
func downgraded(write func() ([]byte, error)) func() ([]byte, error) {
	base64 := regexp.MustCompile(`(?m)("format":"|^ +format: )base64("|$)`)
	return func() ([]byte, error) {
		body, err := write()
		return base64.ReplaceAll(body, []byte("${1}byte${2}")), err
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
