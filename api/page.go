package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"maps"
	"net/url"
	"strconv"
	"strings"

	"github.com/opentax/tally/internal/civil"
)

const (
	defaultLimit   = 100
	cursorVersion  = 1
	cursorChecksum = 6                  // bytes
	cursorPattern  = "^[A-Za-z0-9_-]+$" // as in PageQuery
	cursorMessage  = "must be the next_cursor of a page of the same list"
)

// errCursor reports that a text is not a cursor of the list it was sent to.
var errCursor = errors.New("not a cursor of this list")

// PageQuery is the parameters of every list.
type PageQuery struct {
	Limit  int    `query:"limit" format:"int32" minimum:"1" maximum:"1000" default:"100" doc:"The maximum number of items on the page."`
	Cursor string `query:"cursor" minLength:"1" maxLength:"200" pattern:"^[A-Za-z0-9_-]+$" doc:"next_cursor of the previous page. Default: the start of the list. A cursor is valid only for the same list with the same filters."`
}

// Page is one page of a list.
type Page[T any] struct {
	Items      []T    `json:"items" nullable:"false" doc:"The items, in the list's order."`
	NextCursor string `json:"next_cursor,omitempty" doc:"The cursor of the next page; omitted on the last page."`
}

type pageOutput[T any] struct {
	Link string `header:"Link" doc:"The next page, as rel=\"next\"; omitted on the last page."`
	Body Page[T]
}

type list struct {
	PageQuery
	path   string // without the leading slash
	filter url.Values
}

// name identifies the list in its cursors.
func (l list) name() string {
	return strings.TrimSuffix(l.path+"?"+l.filter.Encode(), "?")
}

// start is the position that the page starts after; the zero position without cursor.
func (l list) start() (position, error) {
	if l.Cursor == "" {
		return position{}, nil
	}
	return parseCursor(l.name(), l.Cursor)
}

// next returns the cursor and the Link header of the page after p.
func (l list) next(p position) (cursor, link string) {
	cursor = p.cursor(l.name())
	query := url.Values{"limit": {strconv.Itoa(l.Limit)}, "cursor": {cursor}}
	maps.Copy(query, l.filter)
	return cursor, "</" + l.path + "?" + query.Encode() + `>; rel="next"`
}

// listPage reads one item more than the limit, which shows whether there is a next page.
func listPage[T any](l list, read func(after position, limit int) ([]T, error), key func(T) position) (*pageOutput[T], error) {
	after, err := l.start()
	if err != nil {
		return nil, err
	}
	rows, err := read(after, l.Limit+1)
	if err != nil {
		return nil, err
	}
	return newPage(l, rows[:min(len(rows), l.Limit)], len(rows) > l.Limit, key), nil
}

func newPage[T any](l list, rows []T, more bool, key func(T) position) *pageOutput[T] {
	out := &pageOutput[T]{Body: Page[T]{Items: append([]T{}, rows...)}}
	if more {
		out.Body.NextCursor, out.Link = l.next(key(rows[len(rows)-1]))
	}
	return out
}

// position is the key of a page's last item, in one or two parts.
type position struct{ first, second int64 }

// day is the day of a position whose first part is one. A cursor can be forged, and must not
// cause an error in the database.
func (p position) day() (civil.Date, error) {
	if p.first < int64(civil.Min) || p.first > int64(civil.Max) {
		return 0, errCursor
	}
	return civil.Date(p.first), nil
}

// cursor encodes the position for clients: opaque, versioned, and bound to its list by a
// checksum over the list's name. The checksum catches truncation, typing errors and other
// lists' cursors; it needs no secret, since a position shows nothing that the list does not.
func (p position) cursor(list string) string {
	key := binary.AppendVarint(binary.AppendVarint(nil, p.first), p.second)
	raw := append([]byte{cursorVersion}, cursorDigest(list, key)...)
	return base64.RawURLEncoding.EncodeToString(append(raw, key...))
}

func cursorDigest(list string, key []byte) []byte {
	message := append([]byte{cursorVersion}, list...)
	message = append(message, 0)
	digest := sha256.Sum256(append(message, key...))
	return digest[:cursorChecksum]
}

// parseCursor decodes a cursor that [position.cursor] made for the list, or returns errCursor.
func parseCursor(list, text string) (position, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) < 1+cursorChecksum || raw[0] != cursorVersion {
		return position{}, errCursor
	}
	checksum, key := raw[1:1+cursorChecksum], raw[1+cursorChecksum:]
	if !bytes.Equal(checksum, cursorDigest(list, key)) {
		return position{}, errCursor
	}
	first, n := binary.Varint(key)
	second, _ := binary.Varint(key[max(n, 0):])
	p := position{first, second}
	if p.cursor(list) != text { // a position has one cursor: no line breaks, no overlong numbers, nothing behind them
		return position{}, errCursor
	}
	return p, nil
}
