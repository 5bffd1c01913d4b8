package parquet

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
)

// Format is the version of layout, types and encodings: files of another one are
// written anew. The same data under the same format gives the same bytes.
const Format = 1

// ManifestName is the object that makes the files around it an export.
const ManifestName = "manifest.json"

// Manifest names every file of an export. It has no times and no versions of Tally, so
// that an export of the same data is the same manifest.
type Manifest struct {
	Format int `json:"format"`
	// Database is an id that the database was given when its schema was made.
	Database string `json:"database"`
	// Generation counts how often every file was written anew, each under another name.
	Generation int `json:"generation"`
	// Epoch counts the commits that have changed the database's summaries.
	Epoch int64 `json:"epoch"`
	// LastFileID is etl_files.id of the last file that the export has the rows of.
	LastFileID int64           `json:"last_file_id"`
	Tables     []ManifestTable `json:"tables"`
	Files      []ManifestFile  `json:"files"`
}

// ManifestTable is a table of the export.
type ManifestTable struct {
	Table string `json:"table"`
	Files int    `json:"files"`
	Rows  int64  `json:"rows"`
	// Sum is the exact sum of amount or total_amount.
	Sum string `json:"sum"`
}

// ManifestFile is a file of the export.
type ManifestFile struct {
	Table string `json:"table"`
	// Month is the partition's first day, YYYY-MM-DD; "" where the table has no months.
	Month string `json:"month,omitempty"`
	// Path is relative to the manifest.
	Path   string `json:"path"`
	Rows   int64  `json:"rows"`
	Sum    string `json:"sum"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // of the file, hexadecimal
}

// partition is what of a table is in one file.
type partition struct {
	table string
	month civil.Month // 0: a table without months, or without rows
	// state tells one content of the partition from another.
	state string
	rows  int64 // as the rollups count them; -1: they do not
	// weight is about how many rows there are to read.
	weight int64
}

func (p partition) monthText() string {
	if p.month == 0 {
		return ""
	}
	return p.month.First().String()
}

// noPartition is Hive's own name for rows without a partition: here is the one file,
// without rows, of a table without any, so that its columns can be read.
const noPartition = "__HIVE_DEFAULT_PARTITION__"

// exportID is part of the names of all files of an export: those of another database or
// generation have other names.
type exportID struct {
	database   string
	generation int
}

// path is where the partition's file is. Other content, that of another database among
// it, has another name, so that no file takes the place of one that a manifest names.
func (x exportID) path(t table, p partition) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d %s %s %s %s", Format, x.generation, x.database, p.table, p.monthText(), p.state))
	name := "part-" + hex.EncodeToString(sum[:8]) + ".parquet"
	switch {
	case t.by == whole:
		return p.table + "/" + name
	case p.month == 0:
		return p.table + "/month=" + noPartition + "/" + name
	}
	return p.table + "/month=" + p.monthText() + "/" + name
}

// ownFiles knows the files that exports write, those too that were never finished.
var ownFiles = regexp.MustCompile(`^([a-z_]+/(month=[^/]+/)?part-[0-9a-f]{16}\.parquet|manifest\.json)(\.[0-9a-f]+\.tmp)?$`)

// ManifestError is a manifest that cannot be used; Hint says what to do.
type ManifestError struct {
	Target, Reason, Hint string
}

func (e *ManifestError) Error() string {
	return fmt.Sprintf("%s at %s: %s: %s", ManifestName, e.Target, e.Reason, e.Hint)
}

const replaceHint = "export to another target, or replace the export with --replace"

// readManifest is the target's manifest as it stands there, nil where there is none.
func (e *export) readManifest(ctx context.Context) (content []byte, err error) {
	content, err = bucket.ReadFile(ctx, e.Target, ManifestName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ManifestName, err)
	}
	return content, nil
}

// decodeManifest is nil where there is none.
func decodeManifest(content []byte, target string) (*Manifest, error) {
	if content == nil {
		return nil, nil //nolint:nilnil // none is no error
	}
	var m Manifest
	if err := json.Unmarshal(content, &m); err != nil {
		return nil, &ManifestError{target, "it cannot be read (" + err.Error() + ")", replaceHint}
	}
	if m.Format > Format {
		return nil, &ManifestError{target, fmt.Sprintf("it has format %d, and this version of Tally knows up to %d", m.Format, Format), "use the newer version, or " + replaceHint}
	}
	return &m, nil
}

func (m *Manifest) encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	err := e.Encode(m)
	return b.Bytes(), err
}

// file finds an entry by its path.
func (m *Manifest) file(path string) (ManifestFile, bool) {
	if m == nil {
		return ManifestFile{}, false
	}
	for _, f := range m.Files {
		if f.Path == path {
			return f, true
		}
	}
	return ManifestFile{}, false
}

// checkSums compares the sums of the rollups with those of the transactions, by month and in total.
func (m *Manifest) checkSums() error {
	sums := map[string]string{}
	for _, f := range m.Files {
		if f.Table == "transactions" {
			sums[f.Month] = f.Sum
		}
	}
	for _, f := range m.Files {
		if want, ok := sums[f.Month]; ok && f.Sum != want {
			return &SumError{f.Table, f.Month, "a sum of " + f.Sum, "transactions has " + want}
		}
	}
	for _, t := range m.Tables {
		if want := m.Tables[0].Sum; t.Sum != want {
			return &SumError{t.Table, "", "a sum of " + t.Sum, "transactions has " + want}
		}
	}
	return nil
}
