package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/jobs"
	"github.com/opentax/tally/jobs/ledger"
)

// change runs a command that changes loaded data. Ids that do not exist are a usage error.
func (env *environment) change(ctx context.Context, do func(*jobs.Service) error) error {
	return env.withService(ctx, func(service *jobs.Service) error {
		err := do(service)
		for _, wrong := range []error{ledger.ErrRejectNotFound, ledger.ErrFileNotFound, ledger.ErrRunNotFound, ledger.ErrInvalidFix} {
			if errors.Is(err, wrong) {
				return usageError{err}
			}
		}
		return err
	})
}

func by(reason string) audit.By {
	return audit.By{Actor: requestedBy(), Reason: strings.TrimSpace(reason)}
}

// reasonFlag is why a person decides, for the audit chain.
type reasonFlag struct {
	Reason string `required:"" placeholder:"TEXT" help:"Why, for the audit chain."`
}

func (f reasonFlag) Validate() error {
	if strings.TrimSpace(f.Reason) == "" {
		return errors.New("--reason: say why, for the audit chain")
	}
	return nil
}

type replayCmd struct {
	IDs []string `arg:"" optional:"" name:"id" help:"Rejects as FILE:LINE; without any, the open ones that the flags select."`
	rejectFlags
	DryRun bool `help:"Show what would become of them, and change nothing."`
	JSON   bool `help:"Print one JSON document."`
}

func (cmd replayCmd) Run(ctx context.Context, env *environment) error {
	r := ledger.ReplayRequest{Filter: cmd.filter(), DryRun: cmd.DryRun, By: by("")}
	for _, text := range cmd.IDs {
		id, err := reject.ParseID(text)
		if err != nil {
			return usageError{err}
		}
		r.IDs = append(r.IDs, id)
	}
	if len(r.IDs) > 0 && cmd.rejectFlags != (rejectFlags{}) {
		return usageError{errors.New("name rejects by their ids, or select them with flags")}
	}
	return env.change(ctx, func(service *jobs.Service) error {
		result, err := service.Replay(ctx, r)
		if err != nil {
			return err
		}
		env.warn(result.Warnings)
		if cmd.JSON {
			return writeJSON(env.stdout, result)
		}
		_, err = fmt.Fprintf(env.stdout, "%sread %d: loaded %d, duplicate %d, conflict %d, rejected %d\n",
			preview(cmd.DryRun), result.Read, result.Loaded, result.Duplicate, result.Conflict, result.Rejected)
		return err
	})
}

func (env *environment) warn(warnings []string) {
	for _, w := range warnings {
		fmt.Fprintln(env.stderr, "warning:", printable(w))
	}
}

func preview(dry bool) string {
	if dry {
		return "preview, nothing is changed: "
	}
	return ""
}

// rejectArg names one reject.
type rejectArg struct {
	ID   string `arg:"" help:"The reject, as FILE:LINE."`
	JSON bool   `help:"Print one JSON document: the reject as it is now."`
}

// decide changes one reject, and prints it.
func (a rejectArg) decide(ctx context.Context, env *environment, do func(*jobs.Service, reject.ID) (ledger.ListedReject, error)) error {
	id, err := reject.ParseID(a.ID)
	if err != nil {
		return usageError{err}
	}
	return env.change(ctx, func(service *jobs.Service) error {
		r, err := do(service, id)
		if err != nil {
			return err
		}
		if a.JSON {
			return writeJSON(env.stdout, r)
		}
		var b strings.Builder
		env.terminal.writeReject(&b, &r)
		if r.State == reject.StateOpen && r.Outcome == reject.OutcomeConflict {
			fmt.Fprintf(&b, "a stored row has its id and other values: tally settle %s keep|take decides\n", r.ID)
		}
		_, err = fmt.Fprint(env.stdout, b.String())
		return err
	})
}

type fixCmd struct {
	rejectArg
	Amount        string `placeholder:"A" help:"Amount: digits with at most one point, such as -1250.50."`
	Date          string `placeholder:"D" help:"Date, YYYY-MM-DD."`
	UserID        string `placeholder:"U" help:"User id."`
	TransactionID string `placeholder:"T" help:"Transaction id."`
	reasonFlag
}

func (cmd fixCmd) Run(ctx context.Context, env *environment) error {
	if cmd.Amount+cmd.Date+cmd.UserID+cmd.TransactionID == "" {
		return usageError{errors.New("give a corrected value: --amount, --date, --user-id or --transaction-id")}
	}
	return cmd.decide(ctx, env, func(service *jobs.Service, id reject.ID) (ledger.ListedReject, error) {
		return service.Fix(ctx, ledger.FixRequest{
			ID: id, TransactionID: cmd.TransactionID, UserID: cmd.UserID, Amount: cmd.Amount, Date: cmd.Date, By: by(cmd.Reason),
		})
	})
}

type settleCmd struct {
	rejectArg
	Decision string `arg:"" enum:"keep,take" help:"keep: the stored row stays; take: this row takes its place."`
	Reason   string `placeholder:"TEXT" help:"Why, for the audit chain."`
}

func (cmd settleCmd) Run(ctx context.Context, env *environment) error {
	return cmd.decide(ctx, env, func(service *jobs.Service, id reject.ID) (ledger.ListedReject, error) {
		return service.Settle(ctx, id, cmd.Decision == "take", by(cmd.Reason))
	})
}

type discardCmd struct {
	rejectArg
	reasonFlag
}

func (cmd discardCmd) Run(ctx context.Context, env *environment) error {
	return cmd.decide(ctx, env, func(service *jobs.Service, id reject.ID) (ledger.ListedReject, error) {
		return service.Discard(ctx, id, by(cmd.Reason))
	})
}

type revertCmd struct {
	Files  []int64 `arg:"" optional:"" name:"file-id" help:"The file, by its id in the ledger."`
	RunID  int64   `name:"run" placeholder:"N" help:"All files that this run loaded and that are not reverted yet."`
	DryRun bool    `help:"Show what would change, and change nothing."`
	Reason string  `placeholder:"TEXT" help:"Why, for the audit chain."`
	JSON   bool    `help:"Print one JSON document."`
}

func (cmd revertCmd) Run(ctx context.Context, env *environment) error {
	if (len(cmd.Files) == 0) == (cmd.RunID == 0) {
		return usageError{errors.New("name a file by its id, or a run with --run")}
	}
	return env.change(ctx, func(service *jobs.Service) error {
		r, err := service.Revert(ctx, ledger.RevertRequest{Files: cmd.Files, RunID: cmd.RunID, DryRun: cmd.DryRun, By: by(cmd.Reason)})
		if err != nil {
			return err
		}
		env.warn(r.Warnings)
		if cmd.JSON {
			return writeJSON(env.stdout, r)
		}
		_, err = fmt.Fprintf(env.stdout, "%srows taken out: %d of %d users, total %s\nrestored: %d; rows of other files loaded in their place: %d\n"+
			"the total of all transactions changes by %s\n", preview(cmd.DryRun), r.Rows, r.Users, r.TotalAmount, r.Restored, r.Replayed, r.Change)
		return err
	})
}
