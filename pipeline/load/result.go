package load

import (
	"context"
	"encoding/json"
	"log/slog"
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
	Hints     []string         `json:"hints"`    // settings that would resolve faults
	Warnings  []string         `json:"warnings"` // what is odd although it was loaded
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

func (r *Result) log(ctx context.Context, logger *slog.Logger) {
	for _, warning := range r.Warnings {
		logger.WarnContext(ctx, "file is odd", "path", r.Path, "warning", warning)
	}
	for _, hint := range r.Hints {
		logger.InfoContext(ctx, "a setting would resolve rejected rows", "path", r.Path, "hint", hint)
	}
	switch r.Status {
	case StatusFailed:
		logger.ErrorContext(ctx, "file failed; nothing of it was loaded", "path", r.Path, "code", r.ErrorCode, "error", r.Error)
	case StatusUnchanged:
		if r.LoadedAs == r.Path {
			return // the run has a line of all such files
		}
		logger.InfoContext(ctx, "content is loaded already; nothing to do", "path", r.Path, "loaded_as", r.LoadedAs, "file_id", r.FileID)
	default:
		logger.InfoContext(ctx, "file loaded", "path", r.Path, "file_id", r.FileID, "read", r.Read, "loaded", r.Loaded,
			"duplicate", r.Duplicate, "conflict", r.Conflict, "rejected", r.Rejected, "seconds", r.Seconds)
	}
}
