package api

import (
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
)

// Conditions are a request's conditions on what the client has already (RFC 9110,
// section 13). They are our own and not huma's conditional package, which answers a
// GET whose If-Match fails with 304, and reads one line of a header alone.
type Conditions struct {
	IfMatch           string `header:"If-Match" maxLength:"4096" doc:"Answer 412 unless the summary has one of these entity tags."`
	IfNoneMatch       string `header:"If-None-Match" maxLength:"4096" doc:"Answer 304 if the summary has one of these entity tags."`
	IfModifiedSince   string `header:"If-Modified-Since" maxLength:"4096" doc:"Answer 304 if this is the summary's Last-Modified. Ignored if If-None-Match is present or this is not a date."`
	IfUnmodifiedSince string `header:"If-Unmodified-Since" maxLength:"4096" doc:"Answer 412 if the summary was modified after this date. Ignored if If-Match is present or this is not a date."`
}

// maxCondition is the length that the description gives to a condition, in all its lines.
const maxCondition = 4096

// Resolve joins the lines of lists; huma has read the first line only.
func (c *Conditions) Resolve(ctx huma.Context) (errs []error) {
	if c.IfMatch == "" && c.IfNoneMatch == "" {
		return nil
	}
	lines := map[string][]string{}
	ctx.EachHeader(func(name, value string) { lines[name] = append(lines[name], value) })
	join := func(name string) string {
		condition := strings.Join(lines[name], ",")
		if utf8.RuneCountInString(condition) > maxCondition {
			errs = append(errs, &huma.ErrorDetail{Location: "header." + name})
		}
		return condition
	}
	c.IfMatch, c.IfNoneMatch = join("If-Match"), join("If-None-Match")
	return errs
}

// bounded reports whether all conditions are certainly within their bounds.
func (c *Conditions) bounded() bool {
	return max(len(c.IfMatch), len(c.IfNoneMatch), len(c.IfModifiedSince), len(c.IfUnmodifiedSince)) <= maxCondition
}

// status is 200 where the whole answer is due, 304 where the client has it, and 412
// where it did not want this one. modified is the Last-Modified that goes out, the
// zero time where none does.
func (c *Conditions) status(etag string, modified time.Time) int {
	if *c == (Conditions{}) {
		return http.StatusOK
	}
	if c.IfMatch != "" {
		if !hasTag(c.IfMatch, etag, false) {
			return http.StatusPreconditionFailed
		}
	} else if since, ok := httpDate(c.IfUnmodifiedSince); ok && !modified.IsZero() && modified.After(since) {
		return http.StatusPreconditionFailed
	}
	if c.IfNoneMatch != "" {
		if hasTag(c.IfNoneMatch, etag, true) {
			return http.StatusNotModified
		}
		return http.StatusOK
	}
	// The very date that was given out, not any later one: a load takes the time of
	// its beginning, so a date in between says nothing about it.
	if since, ok := httpDate(c.IfModifiedSince); ok && since.Equal(modified) {
		return http.StatusNotModified
	}
	return http.StatusOK
}

func httpDate(text string) (time.Time, bool) {
	if text == "" {
		return time.Time{}, false
	}
	at, err := http.ParseTime(text)
	return at, err == nil
}

// listed reports whether a list of entity tags has a strong one, or is *. A weak one of
// the list matches where the comparison is weak. What cannot be read matches nothing.
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
