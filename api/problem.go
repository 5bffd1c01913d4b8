package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
)

const (
	problemContentType = "application/problem+json"
	problemsPath       = "/problems/"
	retryAfterSeconds  = 2
)

// Problem is the body of every error (RFC 9457).
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

// ProblemError is one error in a request.
type ProblemError struct {
	Location string `json:"location" example:"path.user_id" doc:"The part of the request (path, query, header or body) and the parameter's name."`
	Message  string `json:"message" example:"must be an integer from 1 to 2147483647 in decimal digits" doc:"The expected value."`
}

// Error is the problem's detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus tells huma the status.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders tells huma the headers.
func (p *Problem) GetHeaders() http.Header { return p.header }

// ContentType tells huma the media type.
func (p *Problem) ContentType(string) string { return problemContentType }

// withRequestID returns a copy with the id, since a problem may be shared.
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

// write sends the problem, without the headers of the body that it replaces.
func (p *Problem) write(w http.ResponseWriter) {
	body := p.body()
	header := w.Header()
	for _, name := range []string{"Content-Encoding", "Etag", "Last-Modified"} {
		header.Del(name)
	}
	maps.Copy(header, p.header)
	header.Set("Content-Type", problemContentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // a client that is gone needs no answer
}

// invalid is the problem of an invalid request. Location and message must not contain input.
func invalid(errors ...ProblemError) *Problem {
	p := kindInvalid.problem()
	p.Errors = errors
	if len(errors) > 0 {
		p.Detail = errors[0].Location + " " + errors[0].Message + "."
	}
	return p
}

// ofStatus is the problem of a response without a body.
func ofStatus(status int) *Problem {
	for _, k := range kinds {
		if k.status == status {
			return k.problem()
		}
	}
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: "The request was rejected."}
}
