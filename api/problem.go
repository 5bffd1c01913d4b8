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
	Type      string         `json:"type" format:"uri-reference" example:"/problems/no-transactions" doc:"Names the kind of problem. Stable, relative to the service, and a page that describes it."`
	Title     string         `json:"title" example:"The user has no transactions" doc:"The kind of problem in words; the same for every problem of a type."`
	Status    int            `json:"status" format:"int32" minimum:"400" maximum:"599" example:"404" doc:"The status of the answer."`
	Detail    string         `json:"detail" example:"No transaction of this user has been loaded." doc:"What happened this time. Repeats nothing that the client sent."`
	RequestID string         `json:"request_id,omitempty" required:"true" example:"6JHGDA54PDBBDC4P2LDBHGTQFS" doc:"The request's id, also in X-Request-Id and in the service's log."`
	Errors    []ProblemError `json:"errors,omitempty" nullable:"false" doc:"Of an invalid request: what is wrong with it."`
	NotReady  []string       `json:"not_ready,omitempty" nullable:"false" example:"[\"database\"]" doc:"Of a service that is not ready: the parts that are missing."`

	header http.Header
}

// ProblemError is one thing that is wrong with a request.
type ProblemError struct {
	Location string `json:"location" example:"path.user_id" doc:"Where in the request: path, query, header or body, and the name of a parameter of this operation."`
	Message  string `json:"message" example:"must be an integer from 1 to 2147483647 in plain digits" doc:"What is expected there."`
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
		Detail: "The request was refused.",
	}
}

var (
	kindNotFound = kind{
		name: "not-found", status: http.StatusNotFound,
		title:  "Nothing is here",
		detail: "There is nothing at this address.",
		help:   "The address is none of the service's. /openapi.json lists those that are.",
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
		title:  "The request cannot be read",
		detail: "The request is not one that this service can read.",
		help:   "The request is malformed before any operation looks at it. Send it as the API's description says.",
	}
	kindMethodNotAllowed = kind{
		name: "method-not-allowed", status: http.StatusMethodNotAllowed,
		title:  "The method is not allowed here",
		detail: "This address does not take the request's method; the Allow header says which ones it takes.",
		help:   "The address exists, and takes other methods. The answer's Allow header names them.",
	}
	kindNotAcceptable = kind{
		name: "not-acceptable", status: http.StatusNotAcceptable,
		title:  "The answer would not be acceptable",
		detail: "The operation answers in application/json, which the request's Accept header rules out.",
		help:   "Operations answer in application/json. Leave the Accept header out, or let it admit that type.",
	}
	kindPrecondition = kind{
		name: "precondition-failed", status: http.StatusPreconditionFailed,
		title:  "The precondition does not hold",
		detail: "What is here is not what the request's If-Match or If-Unmodified-Since asks for.",
		help:   "It has changed since the entity tag or date in If-Match or If-Unmodified-Since was given out. Ask without the condition for what is there now.",
	}
	kindInvalid = kind{
		name: "invalid-request", status: http.StatusUnprocessableEntity,
		title:  "The request is not valid",
		detail: "A part of the request is not as the API's description says.",
		help:   "A path or query parameter is outside what the API's description allows, is unknown, is given twice, or is a cursor that belongs to another list; or the body is not as it should be. \"errors\" names each one and what is expected there.",
	}
	kindUnauthorized = kind{
		name: "unauthorized", status: http.StatusUnauthorized,
		title:  "A token is needed",
		detail: "The request has no token, or one that this service does not know or no longer accepts.",
		help:   "Send a token as \"Authorization: Bearer …\", or as the password of any user with Basic authentication, as a browser asks for it. An operator makes one with tally token add.",
	}
	kindForbidden = kind{
		name: "forbidden", status: http.StatusForbidden,
		title:  "The token does not allow this",
		detail: "The token is a reader's, and the request would change something.",
		help:   "A reader's token is for reading. What changes something needs one with the role operator: tally token add NAME --role operator.",
	}
	kindCrossOrigin = kind{
		name: "cross-origin", status: http.StatusForbidden,
		title:  "The request comes from another site",
		detail: "A page of another site may not change anything here.",
		help:   "A browser sent this for a page that is not this service's own (Sec-Fetch-Site and Origin say so). Only its own pages may change something.",
	}
	kindForeignHost = kind{
		name: "foreign-host", status: http.StatusForbidden,
		title:  "The service goes by another name",
		detail: "Without tokens the service answers to an address, to localhost or to a name without dots alone.",
		help:   "The Host header has a name that a page on the internet could have pointed at this machine. Ask by address, or add a token (tally token add): with tokens any name will do.",
	}
	kindContentTooLarge = kind{
		name: "content-too-large", status: http.StatusRequestEntityTooLarge,
		title:  "The body is too large",
		detail: "The body is larger than any operation takes.",
		help:   "No operation takes a body of more than 64 KiB.",
	}
	kindUnsupportedMedia = kind{
		name: "unsupported-media-type", status: http.StatusUnsupportedMediaType,
		title:  "The body is of another type",
		detail: "The operation takes application/json.",
		help:   "Send the body as application/json, and say so in Content-Type.",
	}
	kindRequestTimeout = kind{
		name: "request-timeout", status: http.StatusRequestTimeout,
		title:  "The request came too slowly",
		detail: "The body did not come in the time that there is for it.",
		help:   "The service waits some seconds for a body, and gives up then. Send it in one go.",
	}
	kindHeadersTooLarge = kind{
		name: "headers-too-large", status: http.StatusRequestHeaderFieldsTooLarge,
		title:  "The headers are too large",
		detail: "The address and the headers are larger than this service reads.",
		help:   "The address and headers of a request may have 32 KiB in all.",
	}
	kindTooManyRequests = kind{
		name: "too-many-requests", status: http.StatusTooManyRequests, retry: true,
		title:  "There were too many requests",
		detail: "The token, or the address where there is none, has made more requests than it may.",
		help:   "Wait for as long as Retry-After says, and ask less often. The operator sets the limit with rate_limit.",
	}
	kindInternal = kind{
		name: "internal-error", status: http.StatusInternalServerError,
		title:  "The service failed",
		detail: "The service failed to answer this request. Its log has the cause under the request's id.",
		help:   "A fault of the service, not of the request. Report it with the problem's request_id: the service's log has the cause under that id.",
	}
	kindUnavailable = kind{
		name: "unavailable", status: http.StatusServiceUnavailable, retry: true,
		title:  "The database is not available",
		detail: "The database cannot answer at the moment.",
		help:   "The database is away, restarting or out of room. Try again after the time that Retry-After gives.",
	}
	kindTimeout = kind{
		name: "timeout", status: http.StatusServiceUnavailable, retry: true,
		title:  "The request took too long",
		detail: "The answer was not ready in the time that a request may take.",
		help:   "The service gave the request up. Try again after the time that Retry-After gives, or ask for a smaller page.",
	}
	kindNotReady = kind{
		name: "not-ready", status: http.StatusServiceUnavailable, retry: true,
		title:  "The service is not ready",
		detail: "A part that the service needs is missing.",
		help:   "\"not_ready\" names the parts that are missing, \"database\" for one. Send no traffic here until /readyz answers 200.",
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
