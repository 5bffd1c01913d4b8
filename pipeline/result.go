package pipeline

import (
	"encoding/json"
	"time"
)

// How a file ended.
const (
	StatusLoaded    = "loaded"    // its rows are in, the ledger has it
	StatusUnchanged = "unchanged" // the same content is loaded already; nothing was done
	StatusFailed    = "failed"    // nothing of it is loaded; the ledger has the reason
)

// Result is what became of one file. Read = Loaded + Duplicate + Conflict +
// Rejected, unless it failed.
type Result struct {
	Path      string           `json:"path"`
	Source    string           `json:"source"`
	Status    string           `json:"status"`
	Read      int64            `json:"read"`
	Loaded    int64            `json:"loaded"`
	Duplicate int64            `json:"duplicate"`
	Conflict  int64            `json:"conflict"`
	Rejected  int64            `json:"rejected"`
	Replaced  int64            `json:"replaced"` // those of Loaded that took a stored row's place
	Faults    map[string]int64 `json:"faults"`   // rejected rows by their first fault
	Users     int64            `json:"users"`    // users whose summary the file moved

	TotalAmount json.Number `json:"total_amount"` // exact sum of the rows loaded
	FileID      int64       `json:"file_id"`      // in etl_files; of an unchanged file, the entry that loaded it
	SHA256      string      `json:"sha256"`       // of the content after decompression
	Bytes       int64       `json:"bytes"`        // of the content after decompression
	LoadedAs    string      `json:"loaded_as,omitempty"`
	ErrorCode   string      `json:"error_code,omitempty"`
	Error       string      `json:"error,omitempty"`
	Seconds     float64     `json:"seconds"`
}

// Stages of a load, and the one of an export.
const (
	StageRead   = "read"   // the file is read and cleaned
	StageKeys   = "keys"   // ids are held against each other and against those stored
	StageWrite  = "write"  // rows and rollups are written
	StageCommit = "commit" // the ledger is written, partitions are attached
	StageExport = "export" // files of an export are written
)

// Progress is how far a file's load has come.
type Progress struct {
	Path    string
	Stage   string
	Rows    int64   // read so far
	Share   float64 // of the whole load's work that is done, about; 0 to 1
	Seconds float64 // since the load began
}

// progressEvery keeps the cost of progress away from the rows.
const progressEvery = 100 * time.Millisecond
