package api

import (
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// Conditions are a request's preconditions (RFC 9110, section 13). huma's conditional package
// answers a GET whose If-Match fails with 304, and reads only one line of a header.
type Conditions struct {
	IfMatch           string `header:"If-Match" maxLength:"4096" doc:"Answer 412 unless the summary has one of these entity tags."`
	IfNoneMatch       string `header:"If-None-Match" maxLength:"4096" doc:"Answer 304 if the summary has one of these entity tags."`
	IfModifiedSince   string `header:"If-Modified-Since" maxLength:"4096" doc:"Answer 304 if this is the summary's Last-Modified. Ignored if If-None-Match is present or this is not a date."`
	IfUnmodifiedSince string `header:"If-Unmodified-Since" maxLength:"4096" doc:"Answer 412 if the summary was modified after this date. Ignored if If-Match is present or this is not a date."`
}

// maxCondition is the maxLength above, for all lines of a header.
const maxCondition = 4096

// Resolve joins the lines of a header; huma reads only the first.
func (c *Conditions) Resolve(ctx huma.Context) (errs []error) {
	r, _ := humago.Unwrap(ctx)
	*c = conditionsOf(r.Header)
	for name, condition := range map[string]string{"If-Match": c.IfMatch, "If-None-Match": c.IfNoneMatch} {
		if utf8.RuneCountInString(condition) > maxCondition {
			errs = append(errs, &huma.ErrorDetail{Location: "header." + name})
		}
	}
	return errs
}

// conditionsOf reads the conditions past huma, too.
func conditionsOf(header http.Header) Conditions {
	return Conditions{
		IfMatch: strings.Join(header["If-Match"], ","), IfNoneMatch: strings.Join(header["If-None-Match"], ","),
		IfModifiedSince: header.Get("If-Modified-Since"), IfUnmodifiedSince: header.Get("If-Unmodified-Since"),
	}
}

// bounded reports whether all conditions are certainly within their limit.
func (c *Conditions) bounded() bool {
	return max(len(c.IfMatch), len(c.IfNoneMatch), len(c.IfModifiedSince), len(c.IfUnmodifiedSince)) <= maxCondition
}

// status is 200, 304 or 412. modified is the response's Last-Modified, or the zero time.
func (c *Conditions) status(etag string, modified time.Time) int {
	if *c == (Conditions{}) {
		return http.StatusOK
	}
	if c.IfMatch != "" {
		if !hasTag(c.IfMatch, etag, false) {
			return http.StatusPreconditionFailed
		}
	} else if since, err := http.ParseTime(c.IfUnmodifiedSince); err == nil && !modified.IsZero() && modified.After(since) {
		return http.StatusPreconditionFailed
	}
	if c.IfNoneMatch != "" {
		if hasTag(c.IfNoneMatch, etag, true) {
			return http.StatusNotModified
		}
		return http.StatusOK
	}
	// Only the exact date, not a later one: a load has the time of its beginning, so it may
	// commit after a later date.
	if since, err := http.ParseTime(c.IfModifiedSince); err == nil && since.Equal(modified) {
		return http.StatusNotModified
	}
	return http.StatusOK
}

// hasTag reports whether a list of entity tags has a strong one, or is *. Weak comparison also
// matches weak tags of the list. Malformed tags match nothing.
func hasTag(list, etag string, weakly bool) bool {
	if strings.TrimSpace(list) == "*" {
		return true
	}
	for {
		list = strings.TrimLeft(list, " \t,")
		tag, weak := strings.CutPrefix(list, "W/")
		if !strings.HasPrefix(tag, `"`) {
			return false
		}
		end := strings.IndexByte(tag[1:], '"')
		if end < 0 {
			return false
		}
		if tag[:end+2] == etag && (weakly || !weak) {
			return true
		}
		list = tag[end+2:]
	}
}
