package seal

import (
	"context"
	_ "embed" // for seal.sql
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/sqlfile"
)

//go:embed seal.sql
var sealSQL string

// Append seals what tx changes, and returns the head that its commit makes; it sets the
// entry's number and time. The caller holds the load lock, so no two commits append at once.
func Append(ctx context.Context, tx pgx.Tx, e Entry) (audit.Head, error) {
	statements := sqlfile.Parse(sealSQL)
	var previous []byte
	var last int64
	if err := tx.QueryRow(ctx, statements.Get("last")).Scan(&last, &previous, &e.At); err != nil {
		return audit.Head{}, fmt.Errorf("read the head of the audit chain: %w", err)
	}
	e.Number, e.At = last+1, e.At.UTC()
	text, err := json.Marshal(e)
	if err != nil {
		return audit.Head{}, fmt.Errorf("seal: %w", err)
	}
	hash := link(previous, string(text))
	var file *int64
	if e.FileID != 0 {
		file = &e.FileID
	}
	if _, err := tx.Exec(ctx, statements.Get("append"), e.Number, e.At, string(e.Kind), file, string(text), hash[:]); err != nil {
		return audit.Head{}, fmt.Errorf("append to the audit chain: %w", err)
	}
	return audit.Head{Number: e.Number, Hash: hex.EncodeToString(hash[:]), At: e.At}, nil
}

// Next is the number of the entry that comes next, for a caller that holds the load lock.
func Next(ctx context.Context, tx pgx.Tx) (int64, error) {
	head, err := ReadHead(ctx, tx)
	return head.Number + 1, err
}

// RetiredDetail is the detail of an entry that has retired months: what etl_retired and
// etl_retired_files have of it.
func RetiredDetail(ctx context.Context, db Querier, change int64) (json.RawMessage, error) {
	var text string
	err := db.QueryRow(ctx, sqlfile.Parse(sealSQL).Get("retired"), change).Scan(&text)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("read the retired months: %w", err)
	}
	if text == "" {
		return nil, nil
	}
	return json.Marshal(json.RawMessage(text)) // as it is in the entry
}

// Querier is a pool, connection or transaction.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// ReadHead returns the chain's head.
func ReadHead(ctx context.Context, db Querier) (audit.Head, error) {
	var h audit.Head
	var hash []byte
	var at time.Time
	err := db.QueryRow(ctx, sqlfile.Parse(sealSQL).Get("head")).Scan(&h.Number, &at, &hash)
	if errors.Is(err, pgx.ErrNoRows) {
		return audit.Head{}, nil
	}
	if err != nil {
		return audit.Head{}, fmt.Errorf("read the head of the audit chain: %w", err)
	}
	h.Hash, h.At = hex.EncodeToString(hash), at.UTC()
	return h, nil
}
