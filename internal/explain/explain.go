// Package explain compares Tally's statements with the plans that PostgreSQL makes of them: each package names its own
// statements ([Query]), for the plan tests and `tally report` alike. Explain executes no statement that writes: it only
// plans it.
package explain

import (
	"context"
	_ "embed" // for the sample's statement
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/civil"
)

//go:embed sample.sql
var sampleSQL string

// Sample has values of the stored data for statements' arguments.
type Sample struct {
	Empty          bool         // no transaction is stored: the values of rows below are made up
	UserID         int32        // a user with transactions, in the middle of the users' ids
	Date           civil.Date   // of one of the user's transactions
	From, To       civil.Date   `db:"-"` // a range of dates around it that cuts two months, both ends in it
	TransactionIDs []string     // some that are stored, in the order of the C collation
	UserIDs        []int32      // of these transactions
	Dates          []civil.Date // of these transactions
	FileID, RunID  int64        // of the newest loaded file; 0 without one
	SHA256         []byte       // of that file
}

// TakeSample scans no table of transactions: on any number of rows it takes milliseconds. It takes few ids, so that the
// planner uses indexes on a small database as it does on a large one. Without stored rows the sample is Empty, and good for
// plans all the same.
func TakeSample(ctx context.Context, tx pgx.Tx) (Sample, error) {
	rows, err := tx.Query(ctx, sampleSQL)
	if err != nil {
		return Sample{}, fmt.Errorf("take a sample of the data: %w", err)
	}
	s, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Sample])
	if err != nil {
		return Sample{}, fmt.Errorf("take a sample of the data: %w", err)
	}
	month := s.Date.Month()
	s.From, s.To = (month-2).First()+14, (month+1).First()+14
	return s, nil
}

// Query is a statement that Tally runs, with arguments that fit the stored data.
type Query struct {
	Name    string // PACKAGE/STATEMENT, or PACKAGE/TABLE/STATEMENT where several tables have statements of one form
	Purpose string // the caller and how often it calls, in half a sentence
	SQL     string // the statement's own text, with $1 for arguments
	Args    []any
	Before  []string // settings of the statement in the program (SET LOCAL …)
	// Given replaces the temporary tables that the statement reads in the program: the body of a WITH clause before it,
	// "load_known (a, b) AS (SELECT …)".
	Given  string
	Writes bool // it is only planned
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
