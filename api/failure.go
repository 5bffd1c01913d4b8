package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgerrcode"

	"github.com/opentax/tally/api/console"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/replica"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/summaries"
)

// mismatch is the message where the description says nothing more exact.
const mismatch = "does not match the API's description"

// problemOf maps an operation's error to its problem: the one place that knows the status of
// each error. It logs causes that the problem hides.
func (s *service) problemOf(ctx context.Context, err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if e, ok := errors.AsType[*summaries.RetiredError](err); ok {
		return invalid(ProblemError{Location: "query.from", Message: "must be the first day of " + e.Before.String() +
			" or a later one, or the range must have whole months that are kept: the months before are retired"})
	}
	if errors.Is(err, summaries.ErrRetiredSince) {
		return invalid(ProblemError{Location: "query.as_of", Message: "must not be before the moment at which months of the range were retired"})
	}
	k, level := kindInternal, slog.LevelError
	switch {
	case errors.Is(err, summaries.ErrNotFound):
		return kindNoTransactions.problem()
	case errors.Is(err, ledger.ErrRunNotFound):
		return kindRunNotFound.problem()
	case errors.Is(err, summaries.ErrBusy):
		return kindBusy.problem()
	case errors.Is(err, errVerifying):
		return kindVerifying.problem()
	case errors.Is(err, ledger.ErrRejectNotFound):
		return kindRejectNotFound.problem()
	case errors.Is(err, ledger.ErrFileNotFound):
		return kindFileNotFound.problem()
	case errors.Is(err, ledger.ErrRetirementNotFound):
		return kindRetirementNotFound.problem()
	case errors.Is(err, ledger.ErrRetiring):
		return kindRetiring.problem()
	case errors.Is(err, ledger.ErrInvalidFix):
		return invalid(ProblemError{Location: "body", Message: "has a value that cannot be stored"})
	case errors.Is(err, console.ErrNoReceipt):
		return kindNoReceipt.problem()
	case errors.Is(err, console.ErrLargeReceipt):
		p := kindNoReceipt.problem()
		p.Detail = "The user has more than " + receiptLimit + " transactions, or they name too many commits, or the first is too many commits ago; tally prove makes the receipt."
		return p
	case changeProblem(err) != nil:
		return changeProblem(err)
	case errors.Is(err, ledger.ErrTransactionNotFound):
		return kindTransactionNotFound.problem()
	case errors.Is(err, errCursor):
		return invalid(ProblemError{Location: "query.cursor", Message: cursorMessage})
	case errors.Is(ctx.Err(), context.Canceled):
		return kindUnavailable.problem() // the client is gone
	case ctx.Err() != nil, postgres.State(err) == pgerrcode.QueryCanceled: // by a time limit or an administrator
		k, level = kindTimeout, slog.LevelWarn
	case isStale(err):
		k, level = kindStale, slog.LevelWarn
	case postgres.Retryable(err):
		k, level = kindUnavailable, slog.LevelWarn
	}
	s.Logger.Log(ctx, level, "request failed", "request_id", requestID(ctx), "problem", k.name, "error", err)
	return k.problem()
}

func isStale(err error) bool {
	_, stale := errors.AsType[*replica.StaleError](err)
	return stale
}

// changeProblem is the problem of a change that its subject's state or size forbids, or nil.
// What the errors say is the ledger's, not the request's.
func changeProblem(err error) *Problem {
	var p *Problem
	if _, ok := errors.AsType[*ledger.TooManyError](err); ok {
		return kindTooManyRows.problem()
	}
	if e, ok := errors.AsType[*ledger.NotOpenError](err); ok {
		p = kindNotOpen.problem()
		p.Detail = "It " + e.Why + "."
	}
	if e, ok := errors.AsType[*ledger.StillRejectedError](err); ok {
		p = kindStillRejected.problem()
		p.Detail = "The row still has the faults " + strings.Join(e.Faults, ", ") + "."
	}
	return p
}

// finishProblem is huma's transformer, the last to change a body. It gives problems their
// request id, and replaces huma's own error model, which repeats the client's values and shows
// err.Error(). Doing it here leaves huma's package variables (NewError) unchanged.
func finishProblem(ctx huma.Context, _ string, body any) (any, error) {
	switch b := body.(type) {
	case *Problem:
		return b.withRequestID(requestID(ctx.Context())), nil
	case *huma.ErrorModel:
		return translate(ctx.Operation(), b).withRequestID(requestID(ctx.Context())), nil
	}
	return body, nil
}

// translate keeps the status of huma's error, and the parameters it is about.
func translate(op *huma.Operation, model *huma.ErrorModel) *Problem {
	if model.Status != kindInvalid.status {
		return ofStatus(model.Status)
	}
	var errs []ProblemError
	for _, detail := range model.Errors {
		if detail == nil {
			continue
		}
		if e := expectation(op, detail.Location); !slices.Contains(errs, e) {
			errs = append(errs, e)
		}
	}
	return invalid(errs...)
}

// bodyProperties is the key of the schemas of a body's members in an operation's metadata.
const bodyProperties = "body"

// expectation describes what the document expects at a location, in the document's words:
// huma's location and message can contain the client's.
func expectation(op *huma.Operation, location string) ProblemError {
	in, name, _ := strings.Cut(location, ".")
	name, _, _ = strings.Cut(name, "[") // an item of a list
	for _, p := range op.Parameters {
		if p.In == in && p.Name == name {
			return ProblemError{Location: in + "." + p.Name, Message: expected(p.Schema)}
		}
	}
	if properties, ok := op.Metadata[bodyProperties].(map[string]*huma.Schema); ok && in == "body" && properties[name] != nil {
		return ProblemError{Location: in + "." + name, Message: expected(properties[name])}
	}
	if in != "path" && in != "query" && in != "header" {
		in = "body"
	}
	return ProblemError{Location: in, Message: mismatch}
}

func expected(schema *huma.Schema) string {
	switch {
	case schema == nil:
	case schema.Pattern == cursorPattern:
		return cursorMessage
	case schema.Pattern == rejectIDPattern:
		return "must be FILE:LINE, two integers from 1 on"
	case schema.Pattern == monthPattern:
		return monthMessage
	case schema.Pattern == notedPattern:
		return notedMessage
	case schema.Pattern == momentPattern:
		return asOfMessage
	case len(schema.Enum) > 0:
		var words []string
		for _, v := range schema.Enum {
			words = append(words, fmt.Sprint(v))
		}
		return "must be one of " + strings.Join(words, ", ")
	case schema.Type == huma.TypeInteger && schema.Minimum != nil && schema.Maximum != nil:
		return fmt.Sprintf("must be an integer from %.0f to %.0f in decimal digits", *schema.Minimum, *schema.Maximum)
	case schema.Type == huma.TypeInteger && schema.Minimum != nil:
		return fmt.Sprintf("must be a 64-bit integer of at least %.0f in decimal digits", *schema.Minimum)
	case schema.Type == huma.TypeArray && schema.MaxItems != nil && schema.Items.Minimum != nil && schema.Items.Maximum != nil:
		return fmt.Sprintf("must be 1 to %d integers from %.0f to %.0f in decimal digits",
			*schema.MaxItems, *schema.Items.Minimum, *schema.Items.Maximum)
	case schema.Type == huma.TypeString && schema.MaxLength != nil:
		return fmt.Sprintf("must have at most %d characters", *schema.MaxLength)
	case schema.Format == "date":
		return "must be a day, as in 2024-01-31"
	}
	return mismatch
}
