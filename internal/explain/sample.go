package explain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/civil"
)

// Sample has values of the stored data for statements' arguments.
type Sample struct {
	Empty          bool         // no transaction is stored: the values of rows below are made up
	UserID         int32        // a user with transactions, in the middle of the users' ids
	Date           civil.Date   // of one of the user's transactions
	From, To       civil.Date   // a range of dates around it that cuts two months, both ends in it
	TransactionIDs []string     // some that are stored, in the order of the C collation
	UserIDs        []int32      // of these transactions
	Dates          []civil.Date // of these transactions
	FileID, RunID  int64        // of the newest loaded file; 0 without one
	SHA256         []byte       // of that file
}

// sampleIDs is small enough for the planner to use indexes even on a small database, as it does on a large one.
const sampleIDs = 10

// TakeSample reads a few rows of each table by their keys, and scans none of transactions: on any number of rows it takes
// milliseconds. Without stored rows the sample is Empty, and good for plans all the same.
func TakeSample(ctx context.Context, tx pgx.Tx) (Sample, error) {
	s := Sample{
		UserID: 1, Date: civil.Of(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)),
		TransactionIDs: []string{}, UserIDs: []int32{}, Dates: []civil.Date{}, SHA256: []byte{},
	}
	const file = "SELECT id, run_id, sha256 FROM etl_files WHERE status = 'loaded' ORDER BY id DESC LIMIT 1"
	_, err := scan(tx.QueryRow(ctx, file), &s.FileID, &s.RunID, &s.SHA256)
	if err == nil {
		err = s.takeUser(ctx, tx)
	}
	if err == nil {
		err = s.takeKeys(ctx, tx)
	}
	if err != nil {
		return Sample{}, fmt.Errorf("take a sample of the data: %w", err)
	}
	month := s.Date.Month()
	s.From, s.To = (month-2).First()+14, (month+1).First()+14
	return s, nil
}

// scan reports whether there was a row.
func scan(row pgx.Row, into ...any) (bool, error) {
	err := row.Scan(into...)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

func (s *Sample) takeUser(ctx context.Context, tx pgx.Tx) error {
	const user = `SELECT user_id FROM user_summary
WHERE user_id >= (SELECT (min(user_id)::bigint + max(user_id)) / 2 FROM user_summary) ORDER BY user_id LIMIT 1`
	found, err := scan(tx.QueryRow(ctx, user), &s.UserID)
	s.Empty = !found
	if !found {
		return err
	}
	const months = `SELECT month FROM user_months WHERE user_id = $1 ORDER BY month
OFFSET (SELECT count(*) / 2 FROM user_months WHERE user_id = $1) LIMIT 1`
	if found, err = scan(tx.QueryRow(ctx, months, s.UserID), &s.Date); !found {
		return err
	}
	const date = `SELECT transaction_date FROM transactions
WHERE user_id = $1 AND transaction_date BETWEEN $2::date AND $3::date ORDER BY transaction_date, id LIMIT 1`
	// Without a row, the rollup is wrong; tally verify reports that.
	_, err = scan(tx.QueryRow(ctx, date, pgx.QueryExecModeDescribeExec, s.UserID, s.Date, s.Date.Month().Last()), &s.Date)
	return err
}

// takeKeys reads the first rows of the key table as they are stored: in any order of the ids, and without its index, which may
// be missing.
func (s *Sample) takeKeys(ctx context.Context, tx pgx.Tx) error {
	const first = "SELECT transaction_id, user_id, transaction_date FROM transaction_keys LIMIT $1"
	rows, err := tx.Query(ctx, first, pgx.QueryExecModeDescribeExec, sampleIDs)
	if err != nil {
		return err
	}
	type key struct {
		ID   string
		User int32
		Date civil.Date
	}
	keys, err := pgx.CollectRows(rows, pgx.RowToStructByPos[key])
	slices.SortFunc(keys, func(a, b key) int { return cmp.Compare(a.ID, b.ID) })
	for _, k := range keys {
		s.TransactionIDs, s.UserIDs, s.Dates = append(s.TransactionIDs, k.ID), append(s.UserIDs, k.User), append(s.Dates, k.Date)
	}
	return err
}
