package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/seal"
	"github.com/opentax/tally/pipeline/transform"
)

// RejectText is a reject to be shown: its text, and the fault that counts, if there is one.
type RejectText struct {
	ID     reject.ID
	Raw    []byte
	Length int64 // of the text in the file; a cut one cannot be read
	Fault  string
	Change int64 // the last one that has read it, 0: none; its fix holds
}

// Inspected is what is seen in the text of a reject by the settings of today.
type Inspected struct {
	Column, Cell string // that its fault is about; "" if that cannot be told
	Offset       int    // of the cell in the text; -1 if that cannot be told
	Valid        bool   // it has no fault, and these values:
	ID           string
	UserID       int32
	Amount       money.Sum
	Date         civil.Date
}

// Inspect reads rejects again and changes nothing. Rows that cannot be read, as those of
// reverted files, are missing in the result.
func (l *Loader) Inspect(ctx context.Context, texts []RejectText, settings Settings) (seen map[reject.ID]Inspected, err error) {
	byFile := map[int64][]RejectText{}
	for _, text := range texts {
		byFile[text.ID.FileID] = append(byFile[text.ID.FileID], text)
	}
	seen = map[reject.ID]Inspected{}
	if len(texts) == 0 {
		return seen, nil
	}
	c := &change{loader: l, digest: seal.NewRejectsDigest()}
	defer c.close(ctx)
	if c.tx, err = l.pool.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly}); err != nil {
		return nil, fmt.Errorf("inspect rejects: %w", err)
	}
	r := replay{change: c, settings: settings}
	files := make([]int64, 0, len(byFile))
	for file := range byFile {
		files = append(files, file)
	}
	slices.Sort(files)
	list, err := r.files(ctx, files)
	for _, f := range list {
		if err == nil {
			err = r.inspect(ctx, f, byFile[f.id], seen)
		}
		if _, bad := errors.AsType[*extract.FileError](err); bad {
			err = nil // which a replay tells
		}
	}
	if err != nil {
		return nil, fmt.Errorf("inspect rejects: %w", err)
	}
	return seen, nil
}

func (r *replay) inspect(ctx context.Context, f *reread, texts []RejectText, seen map[reject.ID]Inspected) error {
	if err := r.prepare(ctx, f); err != nil {
		return err
	}
	f.part.reading.Conventions = f.held
	cleaner, err := transform.NewCleaner(f.part.reading)
	if err != nil {
		return err
	}
	var changes []int64
	for _, text := range texts {
		if text.Change > 0 {
			changes = append(changes, text.Change)
		}
	}
	fixes, err := r.fixes(ctx, changes)
	if err != nil {
		return err
	}
	var row transform.Row
	for _, text := range texts {
		if int64(len(text.Raw)) < text.Length {
			continue
		}
		record, err := f.reader.Read(text.Raw, text.ID.Line)
		if err != nil {
			return err
		}
		column, cell := cleaner.FaultyCell(record, text.Fault)
		i := Inspected{Column: column, Cell: postgres.Text(string(cell)), Offset: -1}
		if column != "" && bytes.HasPrefix(text.Raw, record.Raw()) { // not where it had to be decoded
			i.Offset = record.Offset(cell)
		}
		if cleaner.CleanFixed(record, &row, fixes[text.ID]); row.Faults == 0 {
			i.Valid, i.ID, i.UserID, i.Amount, i.Date = true, string(row.ID), row.UserID, row.Amount.Sum(), row.Date
		}
		seen[text.ID] = i
	}
	return nil
}
