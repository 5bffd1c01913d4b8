package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/opentax/tally/api/console"
	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/pipeline/prove"
	"github.com/opentax/tally/pipeline/seal"
	"github.com/opentax/tally/summaries"
)

type proveCmd struct {
	Check string   `placeholder:"RECEIPT" help:"Check a receipt with the files that it names, without a database."`
	Head  string   `placeholder:"NUMBER:HASH" help:"With --check: a head of the audit chain that was noted elsewhere; the receipt's chain must have it."`
	Out   string   `placeholder:"FILE" help:"Write the receipt to a file."`
	Args  []string `arg:"" optional:"" name:"user-id" help:"The user's id; with --check the files, compressed or not."`
}

func (cmd proveCmd) Run(ctx context.Context, env *environment) error {
	if cmd.Check != "" {
		return cmd.check(ctx, env)
	}
	if len(cmd.Args) != 1 || cmd.Head != "" {
		return usageError{errors.New("prove: give one user id, or --check RECEIPT and files")}
	}
	user, err := strconv.ParseInt(cmd.Args[0], 10, 32)
	if err != nil || user < 1 {
		return usageError{fmt.Errorf("prove: user id %q: want an integer from 1 to 2147483647", cmd.Args[0])}
	}
	return env.withDatabase(ctx, func(db *database) error {
		receipt, err := prove.Make(ctx, db.pool, int32(user), 0)
		if err != nil {
			return err
		}
		if cmd.Out == "" {
			return writeJSON(env.stdout, receipt)
		}
		var content bytes.Buffer
		if err := writeJSON(&content, receipt); err != nil {
			return err
		}
		return os.WriteFile(cmd.Out, content.Bytes(), 0o600)
	})
}

func (cmd proveCmd) check(ctx context.Context, env *environment) error {
	var noted audit.Head
	var err error
	if cmd.Out != "" {
		return usageError{errors.New("prove: --out does not go with --check")}
	}
	if cmd.Head != "" {
		if noted, err = audit.ParseHead(cmd.Head); err != nil {
			return usageError{err}
		}
	}
	content, err := os.ReadFile(cmd.Check)
	if err != nil {
		return usageError{err}
	}
	receipt, err := prove.Decode(content)
	if err != nil {
		return fmt.Errorf("%s does not hold: %w", cmd.Check, err)
	}
	uncounted, err := receipt.Check(ctx, noted, cmd.Args)
	if err != nil {
		return fmt.Errorf("%s does not hold: %w", cmd.Check, err)
	}
	fmt.Fprintf(env.stdout, "holds: user %d, %d transactions, total %s\nhead %s: compare it with one that was noted elsewhere\n",
		receipt.UserID, receipt.Transactions, receipt.Total, receipt.Head)
	if uncounted > 0 {
		fmt.Fprintf(env.stdout, "not proven: %d rows of the user in these files are not counted, as their ids belong to rows of other users or they could not be loaded\n", uncounted)
	}
	return nil
}

// proofs reads through the pool of requests, as one of their costly reads.
type proofs struct {
	*application
	serving context.Context // a verification ends with it
}

// Receipt writes the receipt of a user's total.
func (p proofs) Receipt(ctx context.Context, w io.Writer, userID int32) error {
	leave, err := p.store.Turn(ctx)
	if err != nil {
		return err
	}
	defer leave()
	r, err := prove.Make(ctx, p.database.requests, userID, console.MaxReceiptChain)
	switch {
	case errors.Is(err, prove.ErrRetired):
		return console.ErrNoReceipt
	case errors.Is(err, prove.ErrTooLarge):
		return console.ErrLargeReceipt
	case errors.Is(err, prove.ErrNotFound):
		return summaries.ErrNotFound
	case err != nil:
		return err
	}
	return writeJSON(w, r)
}

// VerifyChain replays the audit chain.
func (p proofs) VerifyChain(ctx context.Context, noted audit.Head) (audit.Verification, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.serving, cancel)()
	leave, err := p.store.Turn(ctx)
	if err != nil {
		return audit.Verification{}, err
	}
	defer leave()
	return seal.Verify(ctx, p.database.requests, noted)
}
