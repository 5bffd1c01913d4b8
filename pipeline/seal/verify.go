package seal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/sqlfile"
)

// Verification is the result of [Verify].
type Verification struct {
	Head    Head   `json:"head"`
	Entries int64  `json:"entries"` // that hold
	Broken  *Fault `json:"broken,omitempty"`
}

// Fault is the first entry that does not hold, and why.
type Fault struct {
	Number int64  `json:"number"`
	Reason string `json:"reason"`
}

func (f *Fault) String() string { return fmt.Sprintf("entry %d: %s", f.Number, f.Reason) }

// Verify replays the chain against the tables, in one snapshot. Each entry must continue
// the chain and say what the ledger says of its file and of the rows that were not loaded;
// every loaded file must have an entry; and the rows and amounts of all entries must add up
// to those that are stored. A head that was noted elsewhere (zero: none) must be part of the
// chain.
func Verify(ctx context.Context, pool *pgxpool.Pool, noted Head) (v Verification, err error) {
	tx, err := pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return v, fmt.Errorf("verify the audit chain: %w", err)
	}
	defer tx.Rollback(ctx) //nolint:errcheck // it has only read
	r := &replay{tx: tx, statements: sqlfile.Parse(sealSQL), noted: noted, hash: make([]byte, sha256.Size)}
	fault, err := r.run(ctx)
	if err != nil {
		return v, fmt.Errorf("verify the audit chain: %w", err)
	}
	if r.entries > 0 {
		r.head.Hash = hex.EncodeToString(r.hash)
	}
	return Verification{Head: r.head, Entries: r.entries, Broken: fault}, nil
}

// replay is a walk along the chain.
type replay struct {
	tx         pgx.Tx
	statements sqlfile.Statements
	noted      Head

	head    Head
	hash    []byte
	entries int64
	rows    int64
	amount  money.Sum
	digests []digest
}

// digest is a load's digest of its rejects.
type digest struct {
	number, file int64
	digest       string
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

func (r *replay) run(ctx context.Context) (*Fault, error) {
	rows, err := r.tx.Query(ctx, r.statements.Get("entries"))
	if err != nil {
		return nil, err
	}
	var s stored
	var fault *Fault
	f := &s.ledger
	_, err = pgx.ForEachRow(rows, []any{&s.number, &s.at, &s.kind, &s.file, &s.text, &s.hash, &s.known, &f.Path, &f.SHA256,
		&f.Read, &f.Loaded, &f.Duplicate, &f.Conflict, &f.Rejected, &f.Replaced}, func() error {
		if fault != nil {
			return nil
		}
		if reason := r.step(&s); reason != "" {
			fault = &Fault{s.number, reason}
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
	r.head = Head{Number: s.number, At: s.at.UTC()}
	r.rows, r.amount = r.rows+e.Rows, r.amount.Plus(e.Amount)
	if s.kind == Load && e.Digest != "" {
		r.digests = append(r.digests, digest{s.number, s.file, e.Digest})
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

// compareTables compares what the whole chain says with the tables.
func (r *replay) compareTables(ctx context.Context) (*Fault, error) {
	if r.noted.Number > r.entries {
		return &Fault{r.noted.Number, fmt.Sprintf("it was noted elsewhere, and the chain ends with entry %d", r.entries)}, nil
	}
	var file int64
	var path string
	err := r.tx.QueryRow(ctx, r.statements.Get("unsealed")).Scan(&file, &path)
	if err == nil {
		return &Fault{r.entries + 1, fmt.Sprintf("it is missing: file %d (%s) is loaded and has no entry", file, path)}, nil
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return nil, err
	}
	for _, d := range r.digests {
		now, err := r.rejects(ctx, d.file)
		if err != nil {
			return nil, err
		}
		if now != d.digest {
			return &Fault{d.number, fmt.Sprintf("rows of file %d that were not loaded were changed in etl_rejects", d.file)}, nil
		}
	}
	var rows int64
	var amount money.Sum
	if err := r.tx.QueryRow(ctx, r.statements.Get("totals")).Scan(&rows, &amount); err != nil {
		return nil, err
	}
	if rows != r.rows || amount != r.amount {
		return &Fault{r.entries, fmt.Sprintf("up to it %d rows of %s were sealed; %d rows of %s are stored", r.rows, r.amount, rows, amount)}, nil
	}
	return nil, nil
}

// rejects is the digest of a file's rejects as they are now.
func (r *replay) rejects(ctx context.Context, file int64) (string, error) {
	d := NewRejectsDigest()
	body := &copyBody{to: d.hash}
	sql := r.statements.Get("rejects", "file", strconv.FormatInt(file, 10))
	if _, err := r.tx.Conn().PgConn().CopyTo(ctx, body, sql); err != nil {
		return "", err
	}
	body.end()
	return d.String(), nil
}

// RejectsDigest is the hash of a load's rejects: their rows as COPY's binary format has
// them, rejected ones first, then duplicates and conflicts, each in order of their lines.
type RejectsDigest struct{ hash hash.Hash }

// NewRejectsDigest begins with no row.
func NewRejectsDigest() RejectsDigest { return RejectsDigest{sha256.New()} }

// Add adds encoded rows.
func (d RejectsDigest) Add(rows []byte) { d.hash.Write(rows) }

func (d RejectsDigest) String() string { return hex.EncodeToString(d.hash.Sum(nil)) }

// copyBody passes on what is between the header and the trailer of COPY's binary format.
type copyBody struct {
	to   io.Writer
	head int    // bytes of the header that have passed
	held []byte // the last two bytes, which may be the trailer
}

const (
	copyHeader  = 19
	copyTrailer = 2
)

func (c *copyBody) Write(b []byte) (int, error) {
	n := len(b)
	skip := min(n, copyHeader-c.head)
	c.head += skip
	c.held = append(c.held, b[skip:]...)
	if whole := len(c.held) - copyTrailer; whole > 0 {
		if _, err := c.to.Write(c.held[:whole]); err != nil {
			return 0, err
		}
		c.held = append(c.held[:0], c.held[whole:]...)
	}
	return n, nil
}

func (c *copyBody) end() { c.held = nil }
