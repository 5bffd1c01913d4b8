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

	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/summaries"
)

// problemOf maps an operation's error to its problem: the one place that knows
// which error is which status. Causes that the problem hides are logged here.
func (s *service) problemOf(ctx context.Context, err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	switch {
	case errors.Is(err, summaries.ErrNotFound):
		return kindNoTransactions.problem()
	case errors.Is(err, ledger.ErrRunNotFound):
		return kindRunNotFound.problem()
	case errors.Is(ctx.Err(), context.Canceled):
		return kindUnavailable.problem() // the client has gone; nobody reads this
	}
	k, level := kindInternal, slog.LevelError
	switch {
	case ctx.Err() != nil, postgres.State(err) == pgerrcode.QueryCanceled: // by a time limit or an administrator
		k, level = kindTimeout, slog.LevelWarn
	case postgres.Retryable(err):
		k, level = kindUnavailable, slog.LevelWarn
	}
	s.logger.LogAttrs(ctx, level, "request failed",
		slog.String("request_id", requestID(ctx)), slog.String("problem", k.name), slog.Any("error", err))
	return k.problem()
}

// finish is huma's transformer, the last to touch a body. It gives problems
// their request id, and replaces huma's own error model: that one repeats the
// client's values, names unknown parameters, and shows err.Error() of whatever
// went wrong. Doing it here leaves huma's package variables (NewError) alone.
func finish(ctx huma.Context, _ string, body any) (any, error) {
	switch b := body.(type) {
	case *Problem:
		return b.withRequestID(requestID(ctx.Context())), nil
	case *huma.ErrorModel:
		return translate(ctx.Operation(), b).withRequestID(requestID(ctx.Context())), nil
	}
	return body, nil
}

// translate keeps of huma's error the status, and the parameters it is about.
func translate(op *huma.Operation, model *huma.ErrorModel) *Problem {
	if model.Status != kindInvalid.status {
		return ofStatus(model.Status)
	}
	var errs []ProblemError
	for _, detail := range model.Errors {
		if detail == nil {
			continue
		}
		e := expectation(op, detail.Location)
		if !slices.Contains(errs, e) {
			errs = append(errs, e)
		}
	}
	return invalid(errs...)
}

// bodyProperties is where an operation's metadata holds what its body's members are.
const bodyProperties = "body"

// expectation says what the description expects at a location, in the
// description's words: huma's location and message can hold the client's.
func expectation(op *huma.Operation, location string) ProblemError {
	in, name, _ := strings.Cut(location, ".")
	name, _, _ = strings.Cut(name, "[") // an item of a list
	for _, p := range op.Parameters {
		if p.In == in && p.Name == name {
			return ProblemError{Location: in + "." + p.Name, Message: expectedOf(p)}
		}
	}
	if properties, ok := op.Metadata[bodyProperties].(map[string]*huma.Schema); ok && in == "body" && properties[name] != nil {
		return ProblemError{Location: in + "." + name, Message: expected(properties[name])}
	}
	if in != "path" && in != "query" && in != "header" {
		in = "body"
	}
	return ProblemError{Location: in, Message: "does not match the API's description"}
}

func expectedOf(p *huma.Param) string {
	if p.Name == "cursor" {
		return cursorMessage
	}
	return expected(p.Schema)
}

func expected(schema *huma.Schema) string {
	switch {
	case schema == nil:
		return "does not match the API's description"
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
		return fmt.Sprintf("must be 1 to %d integers from %.0f to %.0f in decimal digits", *schema.MaxItems, *schema.Items.Minimum, *schema.Items.Maximum)
	case schema.Type == huma.TypeString && schema.MaxLength != nil:
		return fmt.Sprintf("must have at most %d characters", *schema.MaxLength)
	case schema.Format == "date":
		return "must be a day, as in 2024-01-31"
	}
	return "does not match the API's description"
}
