package explain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Explain plans a statement under the settings that the program runs it under, and
// with analyze carries it out as well, unless it writes. Whatever it does, and an
// error of the statement, is undone by a savepoint: tx goes on as it was.
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
	// Described first: an argument is of the type that the statement gives it, as
	// with the statements that the program prepares.
	args := append([]any{pgx.QueryExecModeDescribeExec}, q.Args...)
	var text []byte
	if err := tx.QueryRow(ctx, "EXPLAIN ("+options+")\n"+q.Text(), args...).Scan(&text); err != nil {
		return Plan{}, err
	}
	p, err := Parse(text)
	p.Analyzed = analyze
	return p, err
}

// Text is the statement with what stands for its temporary tables.
func (q Query) Text() string {
	if q.Given == "" {
		return q.SQL
	}
	return "WITH " + q.Given + "\n" + strings.TrimLeft(q.SQL, "\n")
}

// Parse reads what EXPLAIN (FORMAT JSON) gives of one statement.
func Parse(text []byte) (Plan, error) {
	var read []Plan
	if err := json.Unmarshal(text, &read); err != nil {
		return Plan{}, fmt.Errorf("read a plan: %w", err)
	}
	if len(read) != 1 {
		return Plan{}, fmt.Errorf("read a plan: %d of them, want 1", len(read))
	}
	p := read[0]
	p.JSON = text
	return p, nil
}
