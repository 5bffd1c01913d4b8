package parquet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/sqlfile"
)

// ErrOutdated reports that an export does not have a month as it is in the database.
var ErrOutdated = errors.New("the export does not have the month as it is now")

// Current names the files of an export that have the rows of some months as they are in the
// transaction, or is [ErrOutdated]. It compares the names in the manifest that [CheckMonths] has read, and
// needs no target: under the load lock, one that does not answer would keep every load waiting.
func (m *Manifest) Current(ctx context.Context, tx pgx.Tx, months []civil.Month) (map[civil.Month]ManifestFile, error) {
	st, err := readState(ctx, tx, sqlfile.Parse(exportSQL))
	if err != nil {
		return nil, err
	}
	e := export{state: st, generation: m.Generation, tables: tables()}
	found := map[civil.Month]ManifestFile{}
	for _, month := range st.months {
		if f, ok := m.file(e.monthPartition(e.tables[0], month, -1).Path); ok {
			found[month.First.Month()] = f
		}
	}
	for _, month := range months {
		if _, ok := found[month]; !ok {
			return nil, fmt.Errorf("month %s: %w", month, ErrOutdated)
		}
	}
	maps.DeleteFunc(found, func(m civil.Month, _ ManifestFile) bool { return !slices.Contains(months, m) })
	return found, nil
}

// CheckMonths reads the files of the months of transactions before one, and compares them with
// their checksums. It returns the manifest that names them.
func CheckMonths(ctx context.Context, target bucket.Target, before civil.Month) (*Manifest, error) {
	content, err := readManifest(ctx, target)
	if err != nil {
		return nil, err
	}
	m, err := decodeManifest(content, target.String())
	if err == nil && m == nil {
		err = fmt.Errorf("%s: %w", ManifestName, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	for _, f := range m.Files {
		if f.Table != "transactions" || f.Month == "" || f.Month >= before.First().String() {
			continue
		}
		_, sum, err := contentOf(ctx, target, f.Path)
		if err == nil && sum != f.SHA256 {
			err = fmt.Errorf("it has checksum %s, and %s was written: export again with --replace", sum, f.SHA256)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return m, nil
}

// contentOf reads a file, and returns its size and checksum.
func contentOf(ctx context.Context, target bucket.Target, path string) (bytes int64, sum string, err error) {
	r, err := target.Open(ctx, path)
	if err != nil {
		return 0, "", err
	}
	hash := sha256.New()
	bytes, err = io.Copy(hash, r)
	return bytes, hex.EncodeToString(hash.Sum(nil)), errors.Join(err, r.Close())
}
