// Package explain compares Tally's statements with the plans that PostgreSQL makes of them: each package names its own
// statements ([Query]), for the plan tests and `tally report` alike. Explain executes no statement that writes: it only
// plans it.
package explain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Query is a statement that Tally runs, with arguments that fit the stored data.
type Query struct {
	// Name is PACKAGE/STATEMENT, as in summaries/look_up, or PACKAGE/TABLE/STATEMENT where several tables have statements of
	// one form.
	Name string
	// Purpose names in half a sentence the caller, and how often it calls.
	Purpose string
	// SQL is the statement's own text, with $1 for arguments.
	SQL  string
	Args []any
	// Before are settings of the statement in the program (SET LOCAL …).
	Before []string
	// Given replaces the temporary tables that the statement reads in the program: it is put before the statement as the body
	// of a WITH clause, "load_known (a, b) AS (SELECT …)".
	Given string
	// Writes are only planned.
	Writes bool
	Expect Expectation
}

// Text returns the statement with the replacement of its temporary tables.
func (q Query) Text() string {
	if q.Given == "" {
		return q.SQL
	}
	return "WITH " + q.Given + "\n" + strings.TrimLeft(q.SQL, "\n")
}

// Explain plans a statement under the settings of the program, and with analyze executes it as well, unless it writes. A
// savepoint undoes all its effects, and an error of the statement: tx goes on as it was.
func Explain(ctx context.Context, tx pgx.Tx, q Query, analyze bool) (Plan, error) {
	inner, err := tx.Begin(ctx)
	if err != nil {
		return Plan{}, fmt.Errorf("explain %s: %w", q.Name, err)
	}
	p, err := explain(ctx, inner, q, analyze && !q.Writes)
	if err = errors.Join(err, inner.Rollback(context.WithoutCancel(ctx))); err != nil {
		return Plan{}, fmt.Errorf("explain %s: %w", q.Name, err)
	}
	return p, nil
}

func explain(ctx context.Context, tx pgx.Tx, q Query, analyze bool) (Plan, error) {
	for _, setting := range q.Before {
		if _, err := tx.Exec(ctx, setting, pgx.QueryExecModeSimpleProtocol); err != nil {
			return Plan{}, fmt.Errorf("%s: %w", setting, err)
		}
	}
	options := "SETTINGS, FORMAT JSON"
	if analyze {
		options = "ANALYZE, BUFFERS, WAL, " + options
	}
	// Arguments get the types that the statement gives them, as in statements that the program prepares.
	args := append([]any{pgx.QueryExecModeDescribeExec}, q.Args...)
	var text []byte
	if err := tx.QueryRow(ctx, "EXPLAIN ("+options+")\n"+q.Text(), args...).Scan(&text); err != nil {
		return Plan{}, err
	}
	var plans [1]Plan // of one statement
	if err := json.Unmarshal(text, &plans); err != nil {
		return Plan{}, fmt.Errorf("read a plan: %w", err)
	}
	plans[0].JSON, plans[0].Analyzed = text, analyze
	return plans[0], nil
}
