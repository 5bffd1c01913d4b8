package api

import (
	"net/url"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

const defaultLimit = 100

// PageQuery is the parameters of every list.
type PageQuery struct {
	Limit  int    `query:"limit" format:"int32" minimum:"1" maximum:"1000" default:"100" doc:"The maximum number of items on the page."`
	Cursor string `query:"cursor" minLength:"1" maxLength:"200" pattern:"^[A-Za-z0-9_-]+$" doc:"next_cursor of the previous page. Default: the start of the list. A cursor is valid only for the same list with the same filters."`
}

// start is the place that the page starts after; the zero place without cursor.
func (in PageQuery) start(list string) (position, error) {
	if in.Cursor == "" {
		return position{}, nil
	}
	p, err := parseCursor(list, in.Cursor)
	if err != nil {
		return position{}, badCursor()
	}
	return p, nil
}

const cursorMessage = "must be the next_cursor of a page of the same list"

func badCursor() *Problem {
	return invalid(ProblemError{Location: "query.cursor", Message: cursorMessage})
}

// Page is one page of a list.
type Page[T any] struct {
	Items      []T    `json:"items" nullable:"false" doc:"The items, in the list's order."`
	NextCursor string `json:"next_cursor,omitempty" doc:"The cursor of the next page; omitted on the last page."`
}

// pageOutput is a page and its Link header.
type pageOutput[T any] struct {
	Link string `header:"Link" doc:"The next page, as rel=\"next\"; omitted on the last page."`
	Body Page[T]
}

// newPage cuts what was read with one item over the limit. key is the place of
// an item in the list, and path and query the list's address.
func newPage[T any](rows []T, in PageQuery, list, path string, query url.Values, key func(T) position) *pageOutput[T] {
	out := &pageOutput[T]{Body: Page[T]{Items: rows}}
	if len(rows) > in.Limit {
		out.Body.Items = rows[:in.Limit:in.Limit]
		out.next(in, key(rows[in.Limit-1]).cursor(list), path, query)
	}
	if out.Body.Items == nil {
		out.Body.Items = []T{}
	}
	return out
}

// next names the page that follows, in the body and in the header.
func (out *pageOutput[T]) next(in PageQuery, cursor, path string, query url.Values) {
	out.Body.NextCursor = cursor
	if query == nil {
		query = url.Values{}
	}
	query.Set("limit", strconv.Itoa(in.Limit))
	query.Set("cursor", cursor)
	out.Link = "<" + path + "?" + query.Encode() + `>; rel="next"`
}

// decimalDigits refuses the spellings of an integer that strconv reads besides its
// plain one ("+5", "007"), so that one resource has one address. What huma could
// not read at all it has already refused.
func decimalDigits(ctx huma.Context, name string) []error {
	raw := ctx.Param(name)
	if n, err := strconv.ParseInt(raw, 10, 64); err == nil && strconv.FormatInt(n, 10) != raw {
		return []error{&huma.ErrorDetail{Location: "path." + name}}
	}
	return nil
}
