package parquet

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/opentax/tally/internal/money"
)

// Format is the version of layout, types and encodings: files of another version are written
// again. The same data under the same format gives the same bytes.
const Format = 1

// ManifestName is the file that names all files of an export.
const ManifestName = "manifest.json"

// Manifest names every file of an export. It has no times and no version of Tally, so that
// the same database gives the same manifest.
type Manifest struct {
	Format     int    `json:"format"`
	Database   string `json:"database"`     // the random id that a database gets with its schema
	Generation int    `json:"generation"`   // counts the exports that wrote every file again, under another name
	Epoch      int64  `json:"epoch"`        // counts the commits that have changed the database's data
	LastFileID int64  `json:"last_file_id"` // etl_files.id of the last loaded file in the export
	AuditHead  string `json:"audit_head"`   // number and hash of the last entry of the audit chain, as tally audit verify --head takes it; "" if there is none
	// RetiredBefore is the first day that is not retired: of earlier months the files of transactions are
	// those of the last export before, if there was one.
	RetiredBefore string          `json:"retired_before,omitempty"`
	Tables        []ManifestTable `json:"tables"`
	Files         []ManifestFile  `json:"files"`
}

// ManifestTable is a table of the export.
type ManifestTable struct {
	Table string `json:"table"`
	Files int    `json:"files"`
	Rows  int64  `json:"rows"`
	Sum   string `json:"sum"` // the exact sum of amount or total_amount
}

// ManifestFile is a file of the export.
type ManifestFile struct {
	Table  string `json:"table"`
	Month  string `json:"month,omitempty"` // the partition's first day, YYYY-MM-DD; "" where the table has no months
	Path   string `json:"path"`            // relative to the manifest
	Rows   int64  `json:"rows"`
	Sum    string `json:"sum"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // of the file, hexadecimal
}

// ownFiles matches the files that exports write, unfinished ones included.
var ownFiles = regexp.MustCompile(`^([a-z_]+/(month=[^/]+/)?part-[0-9a-f]{16}\.parquet|manifest\.json)(\.[0-9a-f]+\.tmp)?$`)

// ManifestError is a manifest that cannot be used; Hint is the suggested fix.
type ManifestError struct {
	Target, Reason, Hint string
}

func (e *ManifestError) Error() string {
	return fmt.Sprintf("%s at %s: %s: %s", ManifestName, e.Target, e.Reason, e.Hint)
}

// SumError is a difference between the tables of a snapshot, which the export would have, too.
type SumError struct{ Table, Month, Read, Want string }

func (e *SumError) Error() string {
	of := e.Table
	if e.Month != "" {
		of += " of " + e.Month
	}
	return fmt.Sprintf("%s has %s, but %s: run tally verify", of, e.Read, e.Want)
}

// ValueError is a value that does not fit the export's types.
type ValueError struct {
	Key string // of the row, such as "user_id 7"
	Err error
}

func (e *ValueError) Error() string { return e.Key + ": " + e.Err.Error() }

func (e *ValueError) Unwrap() error { return e.Err }

// Permanent reports whether an error of Export comes from the data or from the target's
// manifest, so that a retry would fail as well.
func Permanent(err error) bool {
	_, sum := errors.AsType[*SumError](err)
	_, value := errors.AsType[*ValueError](err)
	_, manifest := errors.AsType[*ManifestError](err)
	return sum || value || manifest || errors.Is(err, errUnknownMonth)
}

const replaceHint = "export to another target, or replace the export with --replace"

// decodeManifest returns nil if there is none.
func decodeManifest(content []byte, target string) (*Manifest, error) {
	if content == nil {
		return nil, nil //nolint:nilnil // none is no error
	}
	var m Manifest
	if err := json.Unmarshal(content, &m); err != nil {
		return nil, &ManifestError{target, "it cannot be read (" + err.Error() + ")", replaceHint}
	}
	if m.Format > Format {
		reason := fmt.Sprintf("it has format %d, and this version of Tally knows up to %d", m.Format, Format)
		return nil, &ManifestError{target, reason, "use the newer version, or " + replaceHint}
	}
	return &m, nil
}

func (m *Manifest) encode() ([]byte, error) {
	content, err := json.MarshalIndent(m, "", "  ")
	return append(content, '\n'), err
}

func (m *Manifest) file(path string) (ManifestFile, bool) {
	return m.find(func(f ManifestFile) bool { return f.Path == path })
}

func (m *Manifest) find(match func(ManifestFile) bool) (ManifestFile, bool) {
	if m != nil {
		if i := slices.IndexFunc(m.Files, match); i >= 0 {
			return m.Files[i], true
		}
	}
	return ManifestFile{}, false
}

// manifest names the export's files, whose sums it checks.
func (e *export) manifest() (*Manifest, error) {
	m := &Manifest{Format: Format, Database: e.state.database, Generation: e.generation, Epoch: e.state.epoch, LastFileID: e.state.lastFile,
		AuditHead: e.state.head, RetiredBefore: e.state.retiredBefore}
	live := money.Sum{} // of the rows in transactions
	for _, t := range e.tables {
		of, total := ManifestTable{Table: t.name}, money.Sum{}
		if t.by == month {
			for _, f := range e.retiredFiles() {
				if e.existing[f.Path] != f.Bytes {
					e.Logger.Warn("the export has lost the file of a retired month", "target", e.Target.String(), "path", f.Path) // it stays named, so that readers notice
				}
				if err := m.add(f, &of, &total); err != nil {
					return nil, err
				}
			}
			live = total.Neg()
		}
		for _, p := range e.partitions(t) {
			f, ok := e.done[p.Path]
			if !ok {
				return nil, fmt.Errorf("%s was not written", p.Path)
			}
			if p.want >= 0 && f.Rows != p.want {
				return nil, &SumError{t.name, p.Month, fmt.Sprint(f.Rows, " rows"), fmt.Sprint("the rollups count ", p.want)}
			}
			if err := m.add(f, &of, &total); err != nil {
				return nil, err
			}
		}
		if t.by == month {
			live = live.Plus(total)
		}
		of.Sum = total.String()
		m.Tables = append(m.Tables, of)
	}
	return m, m.checkSums(live.Plus(e.state.retired).String())
}

// add adds a file of a table.
func (m *Manifest) add(f ManifestFile, of *ManifestTable, total *money.Sum) error {
	sum, err := money.Parse(f.Sum)
	if err != nil {
		return fmt.Errorf("%s: sum: %w", f.Path, err)
	}
	m.Files = append(m.Files, f)
	of.Files, of.Rows, *total = of.Files+1, of.Rows+f.Rows, total.Plus(sum)
	return nil
}

// checkSums compares the sums of the rollups with those of transactions, by month, as far as it is
// not retired, and in total.
func (m *Manifest) checkSums(want string) error {
	sums := map[string]string{}
	for _, f := range m.Files {
		if f.Table == "transactions" && f.Month >= m.RetiredBefore {
			sums[f.Month] = f.Sum
		}
	}
	for _, f := range m.Files {
		if want, ok := sums[f.Month]; ok && f.Sum != want {
			return &SumError{f.Table, f.Month, "a sum of " + f.Sum, "transactions has " + want}
		}
	}
	for _, t := range m.Tables[1:] {
		if t.Sum != want {
			return &SumError{t.Table, "", "a sum of " + t.Sum, "transactions has " + want}
		}
	}
	return nil
}
