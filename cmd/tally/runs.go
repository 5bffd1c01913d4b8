package main

import (
	"context"
	"errors"

	"github.com/opentax/tally/internal/civil"

	"github.com/opentax/tally/api"
	"github.com/opentax/tally/jobs"
)

// runs shows the ledger of jobs to the API, which knows nothing of jobs.
type runs struct {
	service *jobs.Service
	ledger  *jobs.Ledger
}

func (r runs) List(ctx context.Context, before int64, limit int) ([]api.Run, error) {
	list, err := r.ledger.Runs(ctx, before, limit)
	return each(list, err, apiRun)
}

func (r runs) Get(ctx context.Context, id int64) (api.Run, error) {
	run, err := r.ledger.Run(ctx, id)
	if errors.Is(err, jobs.ErrRunNotFound) {
		return api.Run{}, api.ErrRunNotFound
	}
	return apiRun(run), err
}

func (r runs) Request(ctx context.Context, date *civil.Date, by, origin string) (api.Run, bool, error) {
	wanted := r.service.LastEnded()
	if date != nil {
		wanted = *date
	}
	run, err := r.service.Trigger(ctx, wanted, by, origin)
	if errors.Is(err, jobs.ErrNotEnded) {
		return api.Run{}, false, api.ErrDateNotEnded
	}
	return apiRun(run), run.Created, err
}

func (r runs) Files(ctx context.Context, run, after int64, limit int) ([]api.File, error) {
	list, err := r.ledger.Files(ctx, run, after, limit)
	return each(list, err, apiFile)
}

func (r runs) Rejects(ctx context.Context, q api.RejectQuery) ([]api.Reject, error) {
	after := jobs.RejectsAfter{FileID: q.AfterFile, Line: q.AfterLine}
	list, err := r.ledger.Rejects(ctx, q.RunID, after, q.Limit, q.Outcome)
	return each(list, err, apiReject)
}

func (r runs) Logs(ctx context.Context, run, after int64, limit int) ([]api.LogLine, error) {
	list, err := r.ledger.Logs(ctx, run, after, limit)
	return each(list, err, func(l jobs.LogLine) api.LogLine {
		return api.LogLine{ID: l.ID, Attempt: l.Attempt, At: l.At, Level: l.Level, Message: l.Message, Attrs: api.Object(l.Attrs)}
	})
}

func each[A, B any](list []A, err error, convert func(A) B) ([]B, error) {
	if err != nil {
		return nil, err
	}
	converted := make([]B, len(list))
	for i, item := range list {
		converted[i] = convert(item)
	}
	return converted, nil
}

// value is *p, or zero where p is nil: the API leaves zero values out.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func apiRun(r jobs.Run) api.Run {
	return api.Run{
		ID: r.ID, Kind: r.Kind, LogicalDate: r.LogicalDate, RequestedBy: r.RequestedBy, Paths: r.Paths,
		CreatedAt: r.CreatedAt, Status: r.Status, Attempt: r.Attempt, JobID: value(r.JobID), Worker: r.Worker,
		CodeVersion: r.CodeVersion, StartedAt: value(r.StartedAt), FinishedAt: value(r.FinishedAt), Error: r.Error,
	}
}

func apiFile(f jobs.File) api.File {
	return api.File{
		ID: f.ID, RunID: f.RunID, Attempt: f.Attempt, Source: f.Source, Path: f.Path, SHA256: f.SHA256, Bytes: f.Bytes,
		Status: f.Status, ErrorCode: f.ErrorCode, Error: f.Error, Read: f.Read, Loaded: f.Loaded, Duplicate: f.Duplicate,
		Conflict: f.Conflict, Rejected: f.Rejected, Replaced: f.Replaced, Faults: f.Faults, TotalAmount: f.TotalAmount,
		Rules: api.Object(f.Rules), CodeVersion: f.CodeVersion, StartedAt: f.StartedAt, FinishedAt: f.FinishedAt,
	}
}

func apiReject(r jobs.Reject) api.Reject {
	return api.Reject{
		FileID: r.FileID, Line: r.Line, Outcome: r.Outcome, Faults: r.Faults, TransactionID: value(r.TransactionID),
		KeptFileID: value(r.KeptFileID), KeptLine: value(r.KeptLine), Raw: r.Raw, RawBytes: r.RawBytes, RawLength: r.RawLength,
	}
}

// figures are those of the ledger as /metrics shows them.
func (r runs) figures(ctx context.Context) (api.LedgerFigures, error) {
	s, err := r.ledger.Stats(ctx)
	counts, err := each(s.Runs, err, func(c jobs.RunCount) api.RunCount { return api.RunCount(c) })
	return api.LedgerFigures{
		Runs:        counts,
		Files:       map[string]int64{"loaded": s.FilesLoaded, "failed": s.FilesFailed},
		Rows:        map[string]int64{"loaded": s.Loaded, "duplicate": s.Duplicate, "conflict": s.Conflict, "rejected": s.Rejected},
		LastSuccess: s.LastSuccess, LastSuccessAge: s.SinceLastSuccess, LastExport: s.LastExport, LastExportAge: s.SinceLastExport,
		Waiting: s.Waiting, QueueAge: s.WaitingSince,
	}, err
}
