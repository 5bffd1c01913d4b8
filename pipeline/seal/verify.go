package seal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/sqlfile"
)

// Verify replays the chain against the tables, in one snapshot. Each entry must continue
// the chain and say what the tables say of it: the ledger of its file and of the rows that
// were not loaded, or of what became of rejects and which files were reverted; and the rows
// that it brought and ended. Every loaded file must have an entry, no row may name an entry
// that does not exist, and the rows and amounts of all entries must add up to those that are
// stored. A head that was noted elsewhere (zero: none) must be part of the
// chain. It waits for a retirement of months, and a retirement for it.
func Verify(ctx context.Context, pool *pgxpool.Pool, noted audit.Head) (v audit.Verification, err error) {
	began := time.Now().UTC().Truncate(time.Microsecond)
	tx, err := pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return v, fmt.Errorf("verify the audit chain: %w", err)
	}
	defer tx.Rollback(ctx)                                                               //nolint:errcheck // it has only read
	for _, sql := range []string{"SET LOCAL statement_timeout = 0", audit.LockRetired} { // the pool may be of short requests
		if _, err := tx.Exec(ctx, sql); err != nil {
			return v, fmt.Errorf("verify the audit chain: %w", err)
		}
	}
	r := &replay{tx: tx, statements: sqlfile.Parse(sealSQL), noted: noted, expired: map[int64]ExpiredFile{}, hash: make([]byte, sha256.Size)}
	fault, err := r.run(ctx)
	if err != nil {
		return v, fmt.Errorf("verify the audit chain: %w", err)
	}
	if r.entries > 0 {
		r.head.Hash = hex.EncodeToString(r.hash)
	}
	return audit.Verification{Head: r.head, Entries: r.entries, At: began, Broken: fault}, nil
}

// replay is a walk along the chain.
type replay struct {
	tx         pgx.Tx
	statements sqlfile.Statements
	noted      audit.Head

	head    audit.Head
	hash    []byte
	entries int64
	rows    int64
	amount  money.Sum
	sealed  []sealed // by number, from 1
	retired []Entry  // that have retired months
	expired map[int64]ExpiredFile
}

// sealed is what an entry says of other tables.
type sealed struct {
	kind             Kind
	file             int64
	reverted         []int64
	digest           string
	replaced, rows   int64
	amount, replaces money.Sum // replaces: of the rows that a load ended
}

// stored is an entry as the tables have it.
type stored struct {
	number, file int64
	at           time.Time
	kind         Kind
	text         string
	hash         []byte
	known        bool  // the ledger has the file
	ledger       Entry // what the ledger says of it
}

func (r *replay) run(ctx context.Context) (*audit.Fault, error) {
	rows, err := r.tx.Query(ctx, r.statements.Get("entries"))
	if err != nil {
		return nil, err
	}
	var s stored
	var fault *audit.Fault
	f := &s.ledger
	_, err = pgx.ForEachRow(rows, []any{&s.number, &s.at, &s.kind, &s.file, &s.text, &s.hash, &s.known, &f.Path, &f.SHA256,
		&f.Read, &f.Loaded, &f.Duplicate, &f.Conflict, &f.Rejected, &f.Replaced, &f.Amount}, func() error {
		if fault != nil {
			return nil
		}
		if reason := r.step(&s); reason != "" {
			fault = &audit.Fault{Number: s.number, Reason: reason}
		}
		return nil
	})
	if err != nil || fault != nil {
		return fault, err
	}
	return r.compareTables(ctx)
}

// step checks one entry; "" means that it holds.
func (r *replay) step(s *stored) string {
	if want := r.entries + 1; s.number != want {
		return fmt.Sprintf("entry %d is missing", want)
	}
	previous := r.hash
	hash := link(previous, s.text)
	if !bytes.Equal(hash[:], s.hash) {
		return "its text or its place was changed: the hash does not follow from it and the entry before"
	}
	var e Entry
	if err := json.Unmarshal([]byte(s.text), &e); err != nil {
		return "its text cannot be read: " + err.Error()
	}
	if reason := s.compare(&e); reason != "" {
		return reason
	}
	if s.number == r.noted.Number && hex.EncodeToString(s.hash) != r.noted.Hash {
		return fmt.Sprintf("its hash is %x, and the head that was noted is %s: the chain was written anew", s.hash, r.noted.Hash)
	}
	r.entries, r.hash = s.number, bytes.Clone(s.hash)
	r.head = audit.Head{Number: s.number, At: s.at.UTC()}
	r.rows, r.amount = r.rows+e.Rows, r.amount.Plus(e.Amount)
	reverted, err := e.reverted()
	if err != nil {
		return "its detail cannot be read: " + err.Error()
	}
	r.sealed = append(r.sealed, sealed{kind: s.kind, file: s.file, reverted: reverted, digest: e.Digest, replaced: e.Replaced,
		rows: e.Rows, amount: e.Amount, replaces: s.ledger.Amount.Minus(e.Amount)})
	switch s.kind {
	case Retire:
		r.retired = append(r.retired, e)
	case Expire:
		var detail ExpiredDetail
		if err := json.Unmarshal(e.Detail, &detail); err != nil {
			return "its detail cannot be read: " + err.Error()
		}
		for _, f := range detail.Files {
			r.expired[f.FileID] = f
		}
	}
	return ""
}

// compare compares an entry with the columns beside it and with the ledger.
func (s *stored) compare(e *Entry) string {
	if e.Number != s.number || e.Kind != s.kind || e.FileID != s.file || !e.At.Equal(s.at) {
		return "its columns and its text differ"
	}
	if s.kind != Load {
		return ""
	}
	if !s.known {
		return fmt.Sprintf("file %d is not in the ledger", s.file)
	}
	counts := func(e *Entry) string {
		return fmt.Sprintf("path %s, checksum %s, %d read, %d loaded, %d duplicate, %d conflict, %d rejected, %d replaced",
			e.Path, e.SHA256, e.Read, e.Loaded, e.Duplicate, e.Conflict, e.Rejected, e.Replaced)
	}
	if sealed, now := counts(e), counts(&s.ledger); sealed != now {
		return fmt.Sprintf("file %d was sealed with %s; the ledger has %s", s.file, sealed, now)
	}
	return ""
}
