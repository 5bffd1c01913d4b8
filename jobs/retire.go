package jobs

import (
	"cmp"
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/parquet"
	"github.com/opentax/tally/summaries"
)

// RetireRequest asks for old months to be taken out of transactions.
type RetireRequest struct {
	load.Retirement
	By       audit.By
	DryRun   bool
	ExportTo bucket.Location         // exported to it first; the zero value means no export
	Progress func(pipeline.Progress) // of the export; may be nil
}

// retireTries bounds the exports before a retirement: a load may change a month after each.
const retireTries = 3

// Retire takes old months out of transactions; see [load.Loader.Retire]. With an export, the whole
// target is brought up to date, and the files of the months are read back. Under the load lock their
// names, which depend on the months' state, must be those of the rows that are retired.
func (s *Service) Retire(ctx context.Context, req RetireRequest) (result reject.RetireResult, err error) {
	if err := req.Check(); err != nil { // before an export
		return result, err
	}
	if req.ExportTo.IsZero() || req.DryRun {
		return s.changes.Retire(ctx, req.Retirement, req.By, req.DryRun)
	}
	target, err := s.openExport(ctx, req.ExportTo)
	if err != nil {
		return result, err
	}
	name := cmp.Or(req.ExportTo, s.config.ExportTo).Clean().String()
	var m *parquet.Manifest
	req.Exported = func(ctx context.Context, tx pgx.Tx, months []summaries.RetiredMonth) error {
		return nameFiles(ctx, tx, m, name, months)
	}
	for range retireTries {
		if _, err = s.Export(ctx, ExportRequest{To: req.ExportTo, RequestedBy: req.By.Actor, Progress: req.Progress}); err != nil {
			return result, err
		}
		if m, err = parquet.CheckMonths(ctx, target, req.Before); err != nil {
			return result, err
		}
		if result, err = s.changes.Retire(ctx, req.Retirement, req.By, false); !errors.Is(err, parquet.ErrOutdated) {
			break
		}
	}
	return result, err
}

func nameFiles(ctx context.Context, tx pgx.Tx, m *parquet.Manifest, name string, months []summaries.RetiredMonth) error {
	list := make([]civil.Month, len(months))
	for i, m := range months {
		list[i] = m.Month
	}
	files, err := m.Current(ctx, tx, list)
	if err != nil {
		return err
	}
	for i := range months {
		f := files[months[i].Month]
		months[i].ExportedTo, months[i].Path, months[i].SHA256 = name, f.Path, f.SHA256
	}
	return nil
}
