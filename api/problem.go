package api

import (
	"encoding/json"
	"net/http"
	"strconv"
)

const (
	problemContentType = "application/problem+json"
	problemsPath       = "/problems/"
	// retryAfterSeconds is what a client is asked to wait before it tries again.
	retryAfterSeconds = 2
)

// Problem is the body of every error, as RFC 9457 has it.
type Problem struct {
	Type      string         `json:"type" format:"uri-reference" example:"/problems/no-transactions" doc:"A stable identifier of the kind of problem: a relative URL whose page describes it."`
	Title     string         `json:"title" example:"The user has no transactions" doc:"A summary of the kind of problem; the same for every problem of a type."`
	Status    int            `json:"status" format:"int32" minimum:"400" maximum:"599" example:"404" doc:"The status code of the response."`
	Detail    string         `json:"detail" example:"No transaction of this user has been loaded." doc:"An explanation of this occurrence. Never contains input from the request."`
	RequestID string         `json:"request_id,omitempty" required:"true" example:"6JHGDA54PDBBDC4P2LDBHGTQFS" doc:"The request's id, as in X-Request-Id and the service's log."`
	Errors    []ProblemError `json:"errors,omitempty" nullable:"false" doc:"The errors of an invalid request."`
	NotReady  []string       `json:"not_ready,omitempty" nullable:"false" example:"[\"database\"]" doc:"The missing parts of a service that is not ready."`

	header http.Header
}

// ProblemError is one thing that is wrong with a request.
type ProblemError struct {
	Location string `json:"location" example:"path.user_id" doc:"The part of the request (path, query, header or body) and the parameter's name."`
	Message  string `json:"message" example:"must be an integer from 1 to 2147483647 in decimal digits" doc:"The expected value."`
}

// Error is the problem's detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus tells huma the status to answer with.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders tells huma the headers that go with the problem.
func (p *Problem) GetHeaders() http.Header { return p.header }

// ContentType tells huma the media type, whatever it would have chosen.
func (p *Problem) ContentType(string) string { return problemContentType }

// withRequestID is a copy, since a problem may be built before its request is
// known.
func (p *Problem) withRequestID(id string) *Problem {
	answered := *p
	answered.RequestID = id
	return &answered
}

// body is the problem as JSON, in one line.
func (p *Problem) body() []byte {
	body, err := json.Marshal(p)
	if err != nil { // a struct of strings and numbers always marshals
		panic(err)
	}
	return append(body, '\n')
}

// write answers with the problem. Headers of the body that it replaces go.
func (p *Problem) write(w http.ResponseWriter) {
	body := p.body()
	header := w.Header()
	for _, name := range []string{"Content-Encoding", "Etag", "Last-Modified"} {
		header.Del(name)
	}
	for name, values := range p.header {
		header[name] = values
	}
	header.Set("Content-Type", problemContentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // a client that is gone needs no answer
}

// kind is one type of problem.
type kind struct {
	name   string // the last part of its type's URI; never changes
	status int
	title  string
	detail string // what happened, where nothing more is known
	help   string // for the type's page: why it happens and what to do
	retry  bool   // whether Retry-After goes with it
}

func (k kind) uri() string { return problemsPath + k.name }

func (k kind) problem() *Problem {
	p := &Problem{Type: k.uri(), Title: k.title, Status: k.status, Detail: k.detail}
	if k.retry {
		p.header = http.Header{"Retry-After": {strconv.Itoa(retryAfterSeconds)}}
	}
	return p
}

// invalid is the problem of a request with something wrong in it. The location
// and the message hold words of the API's description only.
func invalid(errors ...ProblemError) *Problem {
	p := kindInvalid.problem()
	p.Errors = errors
	if len(errors) > 0 {
		p.Detail = errors[0].Location + " " + errors[0].Message + "."
	}
	return p
}

// ofStatus is the problem of an answer that said no more than its status.
func ofStatus(status int) *Problem {
	for _, k := range kinds {
		if k.status == status {
			return k.problem()
		}
	}
	return &Problem{
		Type:   "about:blank",
		Title:  http.StatusText(status),
		Status: status,
		Detail: "The request was rejected.",
	}
}

var (
	kindNotFound = kind{
		name: "not-found", status: http.StatusNotFound,
		title:  "Not found",
		detail: "There is no resource at this path.",
		help:   "The service has no such path. /openapi.json lists its paths.",
	}
	kindNoTransactions = kind{
		name: "no-transactions", status: http.StatusNotFound,
		title:  "The user has no transactions",
		detail: "No transaction of this user has been loaded.",
		help:   "No file with a transaction of this user has been loaded. A later load may change that.",
	}
	kindRunNotFound = kind{
		name: "run-not-found", status: http.StatusNotFound,
		title:  "The run does not exist",
		detail: "There is no run with this id.",
		help:   "No run has this id. GET /runs lists the runs there are.",
	}
	kindBadRequest = kind{
		name: "bad-request", status: http.StatusBadRequest,
		title:  "The request is malformed",
		detail: "The service cannot parse the request.",
		help:   "The request was rejected before it reached an operation. Send it as the API's description specifies.",
	}
	kindMethodNotAllowed = kind{
		name: "method-not-allowed", status: http.StatusMethodNotAllowed,
		title:  "The method is not allowed",
		detail: "This path does not support the request's method; the Allow header lists the supported ones.",
		help:   "The path exists but supports other methods, which the response's Allow header lists.",
	}
	kindNotAcceptable = kind{
		name: "not-acceptable", status: http.StatusNotAcceptable,
		title:  "The response type is not acceptable",
		detail: "The operation returns application/json, which the request's Accept header excludes.",
		help:   "Operations return application/json. Omit the Accept header, or include that type.",
	}
	kindPrecondition = kind{
		name: "precondition-failed", status: http.StatusPreconditionFailed,
		title:  "The precondition failed",
		detail: "The resource does not match the request's If-Match or If-Unmodified-Since.",
		help:   "The resource has changed since the response with that entity tag or date. Repeat the request without the condition to get the current version.",
	}
	kindInvalid = kind{
		name: "invalid-request", status: http.StatusUnprocessableEntity,
		title:  "The request is invalid",
		detail: "A part of the request does not match the API's description.",
		help:   "A path or query parameter is invalid, unknown, repeated, or a cursor of another list; or the body is invalid. \"errors\" lists each one with the expected value.",
	}
	kindUnauthorized = kind{
		name: "unauthorized", status: http.StatusUnauthorized,
		title:  "A token is required",
		detail: "The request has no token, or an unknown or revoked one.",
		help:   "Send a token as \"Authorization: Bearer …\", or as the password of any user with Basic authentication, for which a browser prompts. An operator creates one with tally token add.",
	}
	kindForbidden = kind{
		name: "forbidden", status: http.StatusForbidden,
		title:  "The token lacks permission",
		detail: "The token has the role reader, and the request would make a change.",
		help:   "A reader's token can only read. Changes require the role operator: tally token add NAME --role operator.",
	}
	kindCrossOrigin = kind{
		name: "cross-origin", status: http.StatusForbidden,
		title:  "The request comes from another site",
		detail: "Pages of other sites may not make changes.",
		help:   "According to Sec-Fetch-Site and Origin, a browser sent this request for a page of another site. Only the service's own pages may make changes.",
	}
	kindForeignHost = kind{
		name: "foreign-host", status: http.StatusForbidden,
		title:  "The host name is not allowed",
		detail: "Without tokens the service accepts only an IP address, localhost or a name without dots as host.",
		help:   "The Host header has a name that a page on the internet could have pointed at this machine. Use an IP address, or add a token (tally token add): with tokens any name is accepted.",
	}
	kindContentTooLarge = kind{
		name: "content-too-large", status: http.StatusRequestEntityTooLarge,
		title:  "The body is too large",
		detail: "The body exceeds the limit.",
		help:   "A body may have at most 64 KiB.",
	}
	kindUnsupportedMedia = kind{
		name: "unsupported-media-type", status: http.StatusUnsupportedMediaType,
		title:  "The media type is not supported",
		detail: "The operation accepts application/json.",
		help:   "Send the body as application/json, with that Content-Type.",
	}
	kindRequestTimeout = kind{
		name: "request-timeout", status: http.StatusRequestTimeout,
		title:  "The request timed out",
		detail: "The body did not arrive in time.",
		help:   "The service waits a few seconds for a body. Send it without pauses.",
	}
	kindHeadersTooLarge = kind{
		name: "headers-too-large", status: http.StatusRequestHeaderFieldsTooLarge,
		title:  "The headers are too large",
		detail: "The URL and the headers exceed the limit.",
		help:   "The URL and headers of a request may have at most 32 KiB in total.",
	}
	kindTooManyRequests = kind{
		name: "too-many-requests", status: http.StatusTooManyRequests, retry: true,
		title:  "Too many requests",
		detail: "The token, or the address if there is no token, has exceeded its request rate.",
		help:   "Wait for the time in Retry-After, and send fewer requests. The operator sets the limit with rate_limit.",
	}
	kindInternal = kind{
		name: "internal-error", status: http.StatusInternalServerError,
		title:  "The service failed",
		detail: "The service failed to answer the request. Its log has the cause under the request's id.",
		help:   "A fault of the service, not of the request. Report it with the problem's request_id: the service's log has the cause under that id.",
	}
	kindUnavailable = kind{
		name: "unavailable", status: http.StatusServiceUnavailable, retry: true,
		title:  "The database is unavailable",
		detail: "The database is temporarily unavailable.",
		help:   "The database is unreachable, restarting or out of disk space. Retry after the time in Retry-After.",
	}
	kindTimeout = kind{
		name: "timeout", status: http.StatusServiceUnavailable, retry: true,
		title:  "The request took too long",
		detail: "The request exceeded its time limit.",
		help:   "The service canceled the request. Retry after the time in Retry-After, or request a smaller page.",
	}
	kindNotReady = kind{
		name: "not-ready", status: http.StatusServiceUnavailable, retry: true,
		title:  "The service is not ready",
		detail: "A required part is unavailable.",
		help:   "\"not_ready\" lists the unavailable parts, for example \"database\". Send no traffic here until /readyz answers 200.",
	}
)

// kinds are all types of problem. Where a status has several, the first one is
// what an answer with that status and nothing else means.
var kinds = [...]kind{
	kindBadRequest, kindUnauthorized, kindForbidden, kindCrossOrigin, kindForeignHost,
	kindNotFound, kindNoTransactions, kindRunNotFound, kindMethodNotAllowed, kindNotAcceptable,
	kindRequestTimeout, kindPrecondition, kindContentTooLarge, kindUnsupportedMedia, kindInvalid, kindTooManyRequests, kindHeadersTooLarge,
	kindInternal, kindUnavailable, kindTimeout, kindNotReady,
}
