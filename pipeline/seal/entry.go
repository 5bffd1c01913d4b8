// Package seal keeps the chain of hashes over every commit that changed data.
//
// Each such commit appends an [Entry] to audit_chain, in its own transaction. The hash of
// an entry is SHA-256 of the hash before it and the SHA-256 of the entry's text, so a hash
// that was noted elsewhere (in an export, a notification or a receipt) shows any later change
// up to it, and a receipt goes along the chain without the texts. [Verify] compares the chain
// with the tables.
package seal

import (
	"crypto/sha256"
	"encoding/json"
	"slices"
	"time"

	"github.com/opentax/tally/internal/money"
)

// Kind is what a commit did.
type Kind string

// The kinds.
const (
	Load    Kind = "load"    // a file was loaded
	Replay  Kind = "replay"  // rejected rows were read again
	Fix     Kind = "fix"     // a rejected row was corrected by a person
	Settle  Kind = "settle"  // a conflict was decided
	Discard Kind = "discard" // rejected rows were closed without loading them
	Revert  Kind = "revert"  // a file was taken back out
	Retire  Kind = "retire"  // old months were taken out of transactions
	Expire  Kind = "expire"  // records past their retention were deleted
)

// Entry is what one commit changed. Fields that say nothing about its kind are zero.
type Entry struct {
	Number int64     `json:"number"` // from 1, without gaps
	At     time.Time `json:"at"`     // later than that of the entry before
	Kind   Kind      `json:"kind"`
	Actor  string    `json:"actor,omitempty"`
	Reason string    `json:"reason,omitempty"`

	RunID     int64  `json:"run_id,omitempty"`
	FileID    int64  `json:"file_id,omitempty"`
	Path      string `json:"path,omitempty"`
	SHA256    string `json:"sha256,omitempty"` // of the file's content
	Read      int64  `json:"read,omitempty"`
	Loaded    int64  `json:"loaded,omitempty"`
	Duplicate int64  `json:"duplicate,omitempty"`
	Conflict  int64  `json:"conflict,omitempty"`
	Rejected  int64  `json:"rejected,omitempty"`
	Replaced  int64  `json:"replaced,omitempty"`

	Rows   int64     `json:"rows"`   // added to transactions, less those removed
	Amount money.Sum `json:"amount"` // of the rows added, less that of those removed
	// Digest is the hexadecimal SHA-256 of the records that the commit added about single
	// rows: of a load, its rejects; see [RejectsDigest].
	Digest string          `json:"digest,omitempty"`
	Detail json.RawMessage `json:"detail,omitempty"`
	// Readings say how the commit read rows, by file.
	Readings []Reading `json:"readings,omitempty"`
}

// Reading is how a commit read rows of a file: what reading them once more takes.
type Reading struct {
	FileID      int64             `json:"file_id"`
	Version     int               `json:"version"`               // of the program's rules for reading a value
	Rules       json.RawMessage   `json:"rules"`                 // of the source
	Conventions map[string]string `json:"conventions,omitempty"` // that held, by name
	LogicalDate string            `json:"logical_date,omitempty"`
	// Fixes are values that persons gave rows, by line.
	Fixes map[int64]json.RawMessage `json:"fixes,omitempty"`
}

// reverted are the files that a revert took back out, in the order of their ids.
func (e *Entry) reverted() ([]int64, error) {
	if e.Kind != Revert {
		return nil, nil
	}
	if e.FileID != 0 {
		return []int64{e.FileID}, nil
	}
	var detail struct{ Files []int64 }
	err := json.Unmarshal(e.Detail, &detail)
	return slices.Sorted(slices.Values(detail.Files)), err
}

// Digest is the SHA-256 of an entry's text.
func Digest(text string) [sha256.Size]byte { return sha256.Sum256([]byte(text)) }

// Link is the hash of an entry, by the digest of its text, behind another entry's.
func Link(previous, digest []byte) [sha256.Size]byte {
	return sha256.Sum256(slices.Concat(previous, digest))
}

// ExpiredDetail is the detail of an entry about removed records. Its digest covers them as COPY's
// binary format has them, in order of their ids; of rejects each file has its own.
type ExpiredDetail struct {
	Table  string        `json:"table"`
	Before time.Time     `json:"before"` // all of them are older
	Rows   int64         `json:"rows"`
	Files  []ExpiredFile `json:"files,omitempty"` // of etl_rejects
}

// ExpiredFile is a file whose rejects were removed.
type ExpiredFile struct {
	FileID int64  `json:"file_id"`
	Rows   int64  `json:"rows"`
	Digest string `json:"digest"`
}

// link is the hash of an entry with that text behind another entry's.
func link(previous []byte, text string) [sha256.Size]byte {
	digest := Digest(text)
	return Link(previous, digest[:])
}
