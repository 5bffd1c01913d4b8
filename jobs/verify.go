package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/summaries"
)

const (
	verifyQueue    = "verify"
	verifyKind     = "verify"
	verifyAttempts = 12            // some minutes; then the verification has failed
	runPatience    = 6 * time.Hour // the longest wait of a verification for unfinished runs
	maxFound       = 100           // the differences in the record
	maxFoundLogged = 5             // and in the log
)

// VerifyPolicy says when workers verify the database.
type VerifyPolicy string

// The policies.
const (
	VerifyNightly VerifyPolicy = "nightly" // once a logical date, after the runs of dates
	VerifyOff     VerifyPolicy = "off"
)

// Check reports a policy that there is not.
func (p VerifyPolicy) Check() error {
	switch p {
	case "", VerifyNightly, VerifyOff:
		return nil
	}
	return fmt.Errorf("is %q, want nightly or off", string(p))
}

// VerifyRequest asks for a verification in the foreground.
type VerifyRequest struct {
	summaries.VerifyOptions
	RequestedBy string                // for the ledger; "" means "cli"
	Report      func(summaries.Drift) // may be nil; gets each difference
}

// Verify verifies the database and records the result; see [summaries.Verify]. One that ctx
// ends is not recorded.
func (s *Service) Verify(ctx context.Context, req VerifyRequest) (summaries.Verification, error) {
	r := ledger.Verification{RequestedBy: cmp.Or(req.RequestedBy, "cli")}
	v, _, err := s.verify(ctx, req, &r)
	if ctx.Err() != nil {
		return v, err
	}
	if err != nil {
		r.Status, r.Error = ledger.StatusFailed, outcome{err: err}.text()
	}
	if recordErr := s.recordVerification(ctx, r); recordErr != nil { // such as on a replica
		s.logger.WarnContext(ctx, "the result of the verification is not in the ledger", "error", recordErr)
	}
	return v, err
}

// verify completes the record of a verification that ended without an error.
func (s *Service) verify(ctx context.Context, req VerifyRequest, r *ledger.Verification) (summaries.Verification, []summaries.Drift, error) {
	r.StartedAt = s.config.Clock.Now()
	found := []summaries.Drift{} // JSON has no null for it
	v, err := summaries.Verify(ctx, s.pool, req.VerifyOptions, func(d summaries.Drift) {
		if len(found) < maxFound {
			found = append(found, d)
		}
		if req.Report != nil {
			req.Report(d)
		}
	})
	r.Rows, r.Users, r.Days, r.Files, r.Differences = v.Transactions, v.Users, v.Days, v.Files, v.Drifts
	if err != nil {
		return v, found, err
	}
	r.Status = ledger.StatusClean
	if !v.Clean() {
		r.Status = ledger.StatusDrift
	}
	r.Found, err = json.Marshal(found)
	return v, found, err
}

func (s *Service) recordVerification(ctx context.Context, r ledger.Verification) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	r.Worker, r.CodeVersion = s.config.Worker, s.config.CodeVersion
	return s.ledger.AddVerification(ctx, r)
}

// verifyArgs are the arguments of the River job after the runs of a date.
type verifyArgs struct {
	LogicalDate string `json:"logical_date"`
}

func (verifyArgs) Kind() string { return verifyKind }

func (verifyArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: verifyQueue, MaxAttempts: verifyAttempts}
}

// enqueueVerification gives River the verification that is due: that of the newest date, when
// no run of a date is left to be done. One whose worker crashed, or whose job was deleted, is
// due again.
func (s *Service) enqueueVerification(ctx context.Context, tx pgx.Tx) error {
	if s.config.Verify == VerifyOff {
		return nil
	}
	var date civil.Date
	err := tx.QueryRow(ctx, s.sql.Get("due_verification"), runPatience.Seconds(), int64(summaries.VerifyLockClass), verifyKind,
		s.orphanedAfter.Seconds()).Scan(&date)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err == nil {
		_, err = s.river.InsertTx(ctx, tx, verifyArgs{date.String()}, nil)
	}
	if err != nil {
		return fmt.Errorf("enqueue the verification that is due: %w", err)
	}
	return nil
}

type verifyWorker struct{ retried[verifyArgs] }

// Work verifies, unless another job has done so for that date. It shares no lock with loads:
// neither waits for the other.
func (w *verifyWorker) Work(ctx context.Context, job *river.Job[verifyArgs]) error {
	s := w.service
	date, err := civil.Parse(job.Args.LogicalDate)
	if err != nil {
		return river.JobCancel(fmt.Errorf("logical date: %w", err))
	}
	logger := withRiverLog(ctx, s.logger).With("logical_date", date.String())
	var verified bool
	if err := s.pool.QueryRow(ctx, s.sql.Get("verified"), date).Scan(&verified); err != nil || verified {
		return err
	}
	r := ledger.Verification{LogicalDate: &date, JobID: job.ID, RequestedBy: "schedule"}
	v, found, err := s.verify(ctx, VerifyRequest{VerifyOptions: summaries.VerifyOptions{Exclusive: true}}, &r)
	if errors.Is(err, summaries.ErrVerifying) {
		return river.JobSnooze(busySnooze)
	}
	out := classifyAttempt(ctx, err, job.Attempt >= job.MaxAttempts)
	if err := s.endVerification(ctx, &r, out); err != nil {
		return err
	}
	logVerification(ctx, logger, v, found, out)
	recordOutput(ctx, logger, v)
	return out.jobError()
}

// classifyAttempt decides once what an error means. Any may be gone with the next attempt.
func classifyAttempt(ctx context.Context, err error, last bool) outcome {
	switch stopped := stopCause(ctx); {
	case err == nil:
		return outcome{status: ledger.StatusSucceeded}
	case stopped.err != nil:
		return stopped
	case last:
		return outcome{ledger.StatusFailed, err}
	}
	return outcome{ledger.StatusRetrying, err}
}

// endVerification records the outcome; an interrupted verification is repeated.
func (s *Service) endVerification(ctx context.Context, r *ledger.Verification, out outcome) error {
	switch out.status {
	case ledger.StatusInterrupted:
		return nil
	case ledger.StatusFailed, ledger.StatusRetrying:
		r.Status, r.Error = out.status, out.text()
	}
	return s.recordVerification(ctx, *r)
}

func logVerification(ctx context.Context, logger *slog.Logger, v summaries.Verification, found []summaries.Drift, out outcome) {
	if out.err != nil || v.Clean() {
		out.log(ctx, logger, "verification ended", "rows", v.Transactions)
		return
	}
	var first []string
	for _, d := range found[:min(maxFoundLogged, len(found))] {
		first = append(first, d.String())
	}
	logger.ErrorContext(ctx, "verification found differences", "rows", v.Transactions, "differences", v.Drifts, "first", first, "next", v.NextStep())
}
