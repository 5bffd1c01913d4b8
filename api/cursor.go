package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
)

const (
	cursorVersion  = 1
	cursorChecksum = 6 // bytes
)

// errCursor says that a text is no cursor of the list it was sent to.
var errCursor = errors.New("not a cursor of this list")

// place is where a page ended: the key of its last item, in one or two parts.
type position struct{ first, second int64 }

// cursor is the place as clients see it: opaque, versioned, and bound to its
// list by a checksum over the list's name. The checksum catches what was cut,
// mistyped or taken to another list; it is no secret, and needs to be none, since
// a place shows nothing that the list does not.
func (p position) cursor(list string) string {
	raw := append([]byte{cursorVersion}, make([]byte, cursorChecksum)...)
	raw = binary.AppendVarint(raw, p.first)
	raw = binary.AppendVarint(raw, p.second)
	seal := cursorDigest(list, raw[1+cursorChecksum:])
	copy(raw[1:], seal[:cursorChecksum])
	return base64.RawURLEncoding.EncodeToString(raw)
}

func cursorDigest(list string, key []byte) [sha256.Size]byte {
	message := append([]byte{cursorVersion}, list...)
	message = append(message, 0)
	return sha256.Sum256(append(message, key...))
}

// parseCursor is the place of a cursor that [position.cursor] made for the list, or
// errCursor.
func parseCursor(list, text string) (position, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) < 1+cursorChecksum || raw[0] != cursorVersion {
		return position{}, errCursor
	}
	key := raw[1+cursorChecksum:]
	seal := cursorDigest(list, key)
	if !bytes.Equal(raw[1:1+cursorChecksum], seal[:cursorChecksum]) {
		return position{}, errCursor
	}
	first, n := binary.Varint(key)
	if n <= 0 {
		return position{}, errCursor
	}
	second, m := binary.Varint(key[n:])
	if m <= 0 || n+m != len(key) {
		return position{}, errCursor
	}
	p := position{first, second}
	if p.cursor(list) != text { // base64 ignores line breaks; one place has one cursor
		return position{}, errCursor
	}
	return p, nil
}
