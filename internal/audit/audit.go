// Package audit has the names that the audit chain is spoken of with, for the code that writes it and
// for the ledger, the API and the command line, which read it.
package audit

import (
	"crypto/sha256"
	"fmt"
	"time"
)

// LockRetired keeps months from being retired until the transaction ends. It comes before the
// snapshot: one that is older than the commit would have the rollups and the chain of before, and the
// partitions of after it. It does not wait for loads, nor they for it.
const LockRetired = "LOCK TABLE etl_retired IN ROW SHARE MODE"

// By says who changes loaded data, and why. Both are in the audit chain.
type By struct {
	Actor  string
	Reason string
}

// Head is the last entry of a chain: its number and hash fix all entries up to it. The
// zero value is an empty chain's.
type Head struct {
	Number int64     `bun:"number" json:"number" minimum:"0" example:"17" doc:"The entry's number; 0: the chain is empty."`
	Hash   string    `bun:"hash" json:"hash" pattern:"^([0-9a-f]{64})?$" doc:"The entry's hash, in hexadecimal."`
	At     time.Time `bun:"at" json:"at,omitzero" doc:"When its change was made."`
}

// String has the form that [ParseHead] reads: number and hash, with a colon in between.
func (h Head) String() string { return fmt.Sprintf("%d:%s", h.Number, h.Hash) }

// ParseHead reads the number and hash of a head.
func ParseHead(text string) (h Head, err error) {
	if _, err = fmt.Sscanf(text, "%d:%64s", &h.Number, &h.Hash); err != nil || h.String() != text || len(h.Hash) != 2*sha256.Size {
		return Head{}, fmt.Errorf("head %q: want NUMBER:HASH, as tally audit head prints it", text)
	}
	return h, nil
}

// Verification is the result of a replay of the chain against the tables.
type Verification struct {
	Head    Head      `json:"head" doc:"The last entry that holds."`
	Entries int64     `json:"entries" minimum:"0" example:"17" doc:"How many entries hold."`
	At      time.Time `json:"verified_at" doc:"When the verification began: it covers what was stored then."`
	Broken  *Fault    `json:"broken,omitempty" doc:"The first entry that does not hold; omitted if all do."`
}

// Fault is the first entry that does not hold, and why.
type Fault struct {
	Number int64  `json:"number" minimum:"0" example:"4" doc:"The entry's number."`
	Reason string `json:"reason" example:"entry 4 is missing" doc:"Why it does not hold."`
}

func (f *Fault) String() string { return fmt.Sprintf("entry %d: %s", f.Number, f.Reason) }
