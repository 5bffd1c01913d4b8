package explain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opentax/tally/internal/civil"

	"github.com/jackc/pgx/v5"
)

// Sample is what the data has, for statements' arguments.
type Sample struct {
	// Empty says that there is no transaction: what is said of rows below is made up.
	Empty          bool
	UserID         int32        // a user with transactions, in the middle of the users' ids
	Date           civil.Date   // of one of the user's transactions
	From, To       civil.Date   // a range of dates around it that cuts two months, both ends in it
	TransactionIDs []string     // some that are stored, in the order of the C collation
	UserIDs        []int32      // of these transactions
	Dates          []civil.Date // of these transactions
	FileID, RunID  int64        // of the newest loaded file; 0 where there is none
	SHA256         []byte       // of that file
}

// sampleIDs is how many stored transactions a sample has: few enough for the planner to
// go by indexes already on a small database, as it does on a large one.
const sampleIDs = 10

// TakeSample looks at a few rows of each table by their keys, and scans none of
// transactions: on any number of rows it takes milliseconds. Where nothing is stored
// the sample is Empty, and of use for plans all the same.
func TakeSample(ctx context.Context, tx pgx.Tx) (Sample, error) {
	s := Sample{UserID: 1, Date: civil.Of(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), TransactionIDs: []string{}, UserIDs: []int32{}, Dates: []civil.Date{}}
	for _, take := range []func(context.Context, pgx.Tx) error{s.takeUser, s.takeKeys, s.takeFile} {
		if err := take(ctx, tx); err != nil {
			return Sample{}, fmt.Errorf("look for a sample of the data: %w", err)
		}
	}
	month := s.Date.Month()
	s.From, s.To = (month-2).First()+14, (month+1).First()+14
	return s, nil
}

func (s *Sample) takeUser(ctx context.Context, tx pgx.Tx) error {
	const user = `SELECT user_id FROM user_summary
WHERE user_id >= (SELECT (min(user_id)::bigint + max(user_id)) / 2 FROM user_summary) ORDER BY user_id LIMIT 1`
	err := tx.QueryRow(ctx, user).Scan(&s.UserID)
	if errors.Is(err, pgx.ErrNoRows) {
		s.Empty = true
		return nil
	}
	if err != nil {
		return err
	}
	rows, err := tx.Query(ctx, "SELECT month FROM user_months WHERE user_id = $1 ORDER BY month", s.UserID)
	if err != nil {
		return err
	}
	months, err := pgx.CollectRows(rows, pgx.RowTo[civil.Date])
	if err != nil || len(months) == 0 {
		return err
	}
	month := months[len(months)/2]
	const date = `SELECT transaction_date FROM transactions
WHERE user_id = $1 AND transaction_date BETWEEN $2::date AND $3::date ORDER BY transaction_date, id LIMIT 1`
	err = tx.QueryRow(ctx, date, pgx.QueryExecModeDescribeExec, s.UserID, month, month.Month().Last()).Scan(&s.Date)
	if errors.Is(err, pgx.ErrNoRows) { // the rollup is wrong; tally verify says so
		s.Date = month
		return nil
	}
	return err
}

// takeKeys takes the first rows of the key table as they lie: in any order of the
// ids, and without its index, which might be missing.
func (s *Sample) takeKeys(ctx context.Context, tx pgx.Tx) error {
	type key struct {
		id   string
		user int32
		date civil.Date
	}
	rows, err := tx.Query(ctx, "SELECT transaction_id, user_id, transaction_date FROM transaction_keys LIMIT $1", pgx.QueryExecModeDescribeExec, sampleIDs)
	if err != nil {
		return err
	}
	keys, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (k key, err error) {
		err = row.Scan(&k.id, &k.user, &k.date)
		return k, err
	})
	slices.SortFunc(keys, func(a, b key) int { return bytes.Compare([]byte(a.id), []byte(b.id)) })
	for _, k := range keys {
		s.TransactionIDs, s.UserIDs, s.Dates = append(s.TransactionIDs, k.id), append(s.UserIDs, k.user), append(s.Dates, k.date)
	}
	return err
}

func (s *Sample) takeFile(ctx context.Context, tx pgx.Tx) error {
	const file = "SELECT id, run_id, sha256 FROM etl_files WHERE status = 'loaded' ORDER BY id DESC LIMIT 1"
	err := tx.QueryRow(ctx, file).Scan(&s.FileID, &s.RunID, &s.SHA256)
	if errors.Is(err, pgx.ErrNoRows) {
		s.SHA256 = []byte{}
		return nil
	}
	return err
}
