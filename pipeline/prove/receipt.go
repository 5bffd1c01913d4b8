// Package prove writes a receipt of a user's total, and checks one.
//
// A receipt leads from the total to the user's rows, from each row to the line of a file and
// the entry of the audit chain that read it, and along the chain to its head. [Receipt.Check]
// needs the receipt and the files, and neither database nor network. It proves that each row
// stands in a file that was sealed with that content, and has the recorded values under the
// rules that were sealed. That no other file has rows of the user is what tally verify
// and tally audit verify show; of the files at hand, every row of the user is accounted for.
package prove

import (
	"context"
	"crypto/sha256"
	_ "embed" // for prove.sql
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/sqlfile"
	"github.com/opentax/tally/pipeline/seal"
)

//go:embed prove.sql
var proveSQL string

// Format is the version of receipts.
const Format = 1

// ErrNotFound is returned for a user without transactions.
var ErrNotFound = errors.New("the user has no transactions")

// ErrRetired is returned if rows that the total counts, or lines of the files, are of retired months.
var ErrRetired = errors.New("months of the user's files are retired, and their rows cannot be proven any more")

// ErrTooLarge is returned if the chain's part of a receipt exceeds the limit.
var ErrTooLarge = errors.New("the receipt's part of the audit chain is too large")

const linkBytes = 70 // of a digest as JSON

// Receipt leads from a user's total to lines of files and to the head of the audit chain.
type Receipt struct {
	Format       int       `json:"format"`
	UserID       int32     `json:"user_id"`
	Transactions int64     `json:"total_transactions"`
	Total        money.Sum `json:"total_amount"`
	Rows         []Row     `json:"rows"`
	// Uncounted are rows of the files that may be valid rows of the user, and are not counted,
	// by the database's word: their ids are other users' by now, or they could not be loaded.
	Uncounted []Place    `json:"uncounted"`
	Entries   []Entry    `json:"entries"` // of the audit chain, that the rows name
	Chain     Chain      `json:"chain"`
	Head      audit.Head `json:"head"`
}

// Place is a line of a file.
type Place struct {
	FileID int64 `json:"file_id"`
	Line   int64 `json:"line"`
}

// Row is a row of the user.
type Row struct {
	TransactionID string     `json:"transaction_id"`
	Amount        money.Sum  `json:"amount"`
	Date          civil.Date `json:"transaction_date"`
	Place
	Load   int64     `json:"load"`    // the entry that loaded its file
	Change int64     `json:"change"`  // the entry that brought the row
	Cause  seal.Kind `json:"cause"`   // of that entry
	ReadIn int64     `json:"read_in"` // the entry that read its values
}

// Entry is an entry of the audit chain.
type Entry struct {
	Number int64  `json:"number"`
	Text   string `json:"text"`
}

// Chain is the audit chain from an entry to the head.
type Chain struct {
	First    int64    `json:"first"`
	Previous string   `json:"previous"` // hash before the first entry
	Digests  []string `json:"digests"`  // SHA-256 of each entry's text
}

// Make writes the receipt of a user in one snapshot; [ErrNotFound] if there are no rows. Besides the rows it
// has the entries that they name, and a link for each commit since the first of these: some maxChain bytes
// at most, or [ErrTooLarge]. 0 is no limit.
func Make(ctx context.Context, pool *pgxpool.Pool, userID int32, maxChain int64) (*Receipt, error) {
	tx, err := pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	defer tx.Rollback(ctx) //nolint:errcheck // it has only read
	// The rows are planned after the snapshot was taken: months that are retired in between would be gone.
	// A receipt takes a moment, so it waits for the commit only, and not for all of a retirement.
	if _, err := tx.Exec(ctx, "LOCK TABLE ONLY transactions IN ACCESS SHARE MODE"); err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	m := maker{tx: tx, statements: sqlfile.Parse(proveSQL), maxChain: maxChain, receipt: &Receipt{Format: Format, UserID: userID, Rows: []Row{}, Uncounted: []Place{}}}
	if err := m.run(ctx); err != nil {
		return nil, fmt.Errorf("prove user %d: %w", userID, err)
	}
	return m.receipt, nil
}

type maker struct {
	tx         pgx.Tx
	statements sqlfile.Statements
	maxChain   int64
	receipt    *Receipt
}

func (m *maker) run(ctx context.Context) error {
	r := m.receipt
	err := m.tx.QueryRow(ctx, m.statements.Get("summary"), r.UserID).Scan(&r.Transactions, &r.Total)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNotFound
	}
	if err != nil {
		return err
	}
	rows, err := m.tx.Query(ctx, m.statements.Get("rows"), r.UserID)
	if err != nil {
		return err
	}
	var row Row
	files, named := map[int64]bool{}, map[int64]bool{}
	_, err = pgx.ForEachRow(rows, []any{&row.TransactionID, &row.Amount, &row.Date, &row.FileID, &row.Line, &row.Load, &row.Change, &row.ReadIn}, func() error {
		r.Rows = append(r.Rows, row)
		files[row.FileID], named[row.Load], named[row.Change], named[row.ReadIn] = true, true, true, true
		return nil
	})
	if err != nil {
		return err
	}
	var retired bool
	if err := m.tx.QueryRow(ctx, m.statements.Get("retired"), r.UserID, slices.Sorted(maps.Keys(files))).Scan(&retired); err != nil {
		return err
	}
	if retired {
		return ErrRetired
	}
	if int64(len(r.Rows)) != r.Transactions {
		return fmt.Errorf("%d rows are stored, and the summary counts %d: run tally verify", len(r.Rows), r.Transactions)
	}
	list, _ := m.tx.Query(ctx, m.statements.Get("uncounted"), r.UserID, slices.Sorted(maps.Keys(files))) // CollectRows returns its error
	if r.Uncounted, err = pgx.CollectRows(list, pgx.RowToStructByPos[Place]); err != nil {
		return err
	}
	return m.chain(ctx, named)
}

// chain adds the entries that rows name, and the links from the first of them to the head.
func (m *maker) chain(ctx context.Context, named map[int64]bool) error {
	r := m.receipt
	r.Chain.First = slices.Min(slices.Collect(maps.Keys(named)))
	previous := make([]byte, sha256.Size)
	if err := m.tx.QueryRow(ctx, m.statements.Get("before"), r.Chain.First).Scan(&previous); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	r.Chain.Previous = hex.EncodeToString(previous)
	numbers := slices.Collect(maps.Keys(named))
	if err := m.checkSize(ctx, numbers); err != nil {
		return err
	}
	rows, err := m.tx.Query(ctx, m.statements.Get("links"), r.Chain.First, numbers)
	if err != nil {
		return err
	}
	var number int64
	var digest, hash []byte
	var text *string // of an entry that rows name
	_, err = pgx.ForEachRow(rows, []any{&number, &digest, &hash, &text}, func() error {
		r.Chain.Digests = append(r.Chain.Digests, hex.EncodeToString(digest))
		if text != nil {
			r.Entries = append(r.Entries, Entry{number, *text})
		}
		r.Head = audit.Head{Number: number, Hash: hex.EncodeToString(hash)}
		return nil
	})
	if err != nil {
		return err
	}
	entries, err := r.entries()
	for i, row := range r.Rows {
		if e := entries[row.Change]; e != nil {
			r.Rows[i].Cause = e.Kind
		}
	}
	return err
}

func (m *maker) checkSize(ctx context.Context, named []int64) error {
	if m.maxChain == 0 {
		return nil
	}
	var links, text int64
	if err := m.tx.QueryRow(ctx, m.statements.Get("chain_size"), m.receipt.Chain.First, named).Scan(&links, &text); err != nil {
		return err
	}
	if links*linkBytes+text > m.maxChain {
		return ErrTooLarge
	}
	return nil
}
