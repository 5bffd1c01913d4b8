package api

import (
	"cmp"
	"context"
	"mime"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// guard runs before each operation: it rejects what no operation should see, and sets the
// operation's deadline.
func (s *service) guard(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	query, errs := readQuery(ctx.Operation(), r.URL.RawQuery)
	for _, p := range ctx.Operation().Parameters {
		if p.In == "path" && !wellFormed(p.Schema, r.PathValue(p.Name)) { // a resource has one address
			errs = append(errs, ProblemError{Location: "path." + p.Name, Message: expected(p.Schema)})
		}
	}
	csv := ctx.Operation().Metadata[producesCSV] == true && accepts(ctx.Header("Accept"), "text/*", csvContentType) &&
		!accepts(ctx.Header("Accept"), jsonContentType)
	var p *Problem
	switch {
	case !csv && !acceptsJSON(ctx.Header("Accept")):
		p = kindNotAcceptable.problem()
	case len(errs) > 0:
		p = invalid(errs...)
	}
	if p != nil {
		p.withRequestID(requestID(ctx.Context())).write(w)
		return
	}
	request := ctx.Context()
	if csv {
		request = context.WithValue(request, csvKey{}, true)
	}
	deadline := &deadlineContext{Context: request, at: time.Now().Add(s.RequestTimeout)}
	defer deadline.end()
	next(operationContext{ctx, deadline, query})
}

// humaContext has another name than its method Context, to be embedded.
type humaContext huma.Context

// operationContext is an operation's context: with the deadline, the parsed query, and no Accept
// header, since huma would copy a type that the client made up into Content-Type.
type operationContext struct {
	humaContext
	deadline context.Context
	query    url.Values
}

func (c operationContext) Context() context.Context { return c.deadline }

func (c operationContext) Header(name string) string {
	if name == "Accept" {
		return ""
	}
	return c.humaContext.Header(name)
}

// Query is a parameter's value, for a list all its values comma-separated, as huma reads it: a
// client may repeat the name, separate by commas, or both.
func (c operationContext) Query(name string) string { return strings.Join(c.query[name], ",") }

// Unwrap is how the adapter finds its own context again.
func (c operationContext) Unwrap() huma.Context { return c.humaContext }

// readQuery finds parameters that are unknown, repeated without being lists, or malformed. An
// unknown one is an error: a client that misspells a filter must not get an unfiltered answer.
func readQuery(op *huma.Operation, raw string) (query url.Values, errs []ProblemError) {
	if raw == "" {
		return nil, nil
	}
	query, err := url.ParseQuery(raw)
	if err != nil {
		return nil, []ProblemError{{Location: "query", Message: "is not a list of name=value pairs"}}
	}
	unknown := len(query)
	for _, p := range op.Parameters {
		if p.In != "query" || !query.Has(p.Name) {
			continue
		}
		unknown--
		if len(query[p.Name]) > 1 && p.Schema.Type != huma.TypeArray {
			errs = append(errs, ProblemError{Location: "query." + p.Name, Message: "must be given once"})
		} else if !wellFormed(p.Schema, strings.Join(query[p.Name], ",")) {
			errs = append(errs, ProblemError{Location: "query." + p.Name, Message: expected(p.Schema)})
		}
	}
	if unknown > 0 {
		errs = append(errs, ProblemError{Location: "query", Message: "contains an unknown parameter"})
	}
	return query, errs
}

// wellFormed rejects what huma accepts: a parameter without a value, which it takes as omitted
// (an empty filter would give an unfiltered answer), and integers with a sign or leading zeros.
func wellFormed(schema *huma.Schema, value string) bool {
	switch schema.Type {
	case huma.TypeArray:
		for item := range strings.SplitSeq(value, ",") {
			if !wellFormed(schema.Items, item) {
				return false
			}
		}
	case huma.TypeInteger:
		return canonical(value)
	case huma.TypeString:
		return value != ""
	}
	return true
}

// canonical reports whether an integer is written in decimal digits without plus sign or leading
// zeros. It does not check the range.
func canonical(value string) bool {
	digits := strings.TrimPrefix(value, "-")
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return false
	}
	return value == "0" || digits[0] != '0'
}

// acceptsJSON reports whether an Accept header admits application/json. The most specific range
// that matches it decides (RFC 9110, 12.5.1).
func acceptsJSON(header string) bool {
	if header == "" || header == "*/*" || header == "application/json" {
		return true
	}
	return accepts(header, "*/*", "application/*", jsonContentType)
}

// accepts does the same for any type, by the ranges that match it, from the widest on.
func accepts(header string, ranges ...string) bool {
	decided, accepted := -1, false
	for part := range strings.SplitSeq(header, ",") {
		name, params, _ := mime.ParseMediaType(part) // no name or no parameters, where they are malformed
		if precision := slices.Index(ranges, name); precision > decided {
			weight, err := strconv.ParseFloat(cmp.Or(params["q"], "1"), 64)
			decided, accepted = precision, err == nil && weight > 0
		}
	}
	return accepted
}

// producesCSV is the key of an operation's metadata that answers with CSV as well, and csvKey
// that of a context whose request prefers it.
const producesCSV = "csv"

type csvKey struct{}
