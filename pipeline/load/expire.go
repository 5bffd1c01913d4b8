package load

import (
	"context"
	_ "embed" // for expire.sql
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/pipeline/seal"
)

//go:embed expire.sql
var expireSQL string

// Records that can expire.
const (
	RejectRecords = "etl_rejects"
	LogRecords    = "etl_logs"
	EventRecords  = "audit_events"
	AlertRecords  = "alerts" // closed ones, with their messages
)

// ExpireLockClass is the first half of the key of the advisory lock that each commit of [Loader.Expire]
// holds, also while it waits for loads of other processes; the second is 0. It shows that the process is
// alive. Between commits, and while one waits for a load of its own process, nothing shows it.
const ExpireLockClass = 0x7478

// Bounds of one commit of [Loader.Expire].
const (
	expireRows  = 50_000
	expireFiles = 500
)

// ErrTampered reports records that are not those that were sealed. They are evidence, and stay.
var ErrTampered = errors.New("the rejects differ from the audit chain: run tally audit verify")

// asExpirer lets append-only tables be deleted from.
const asExpirer = "SET LOCAL tally.writer = 'expire'"

// Expire removes records that are older than a moment, in commits of some ten thousand each, and
// counts them. Each has an entry in the audit chain with a digest of what it removed.
func (l *Loader) Expire(ctx context.Context, records string, before time.Time, by audit.By) (removed int64, err error) {
	e := expiry{loader: l, table: records, before: before.UTC()}
	batch := e.rows
	switch records {
	case RejectRecords:
		batch = e.rejects
	case LogRecords, EventRecords:
		e.column = "at"
	case AlertRecords:
		e.column = "closed_at"
	default:
		return 0, fmt.Errorf("expire %s: there are no such records", records)
	}
	for more := true; more && err == nil; {
		err = l.change(ctx, seal.Expire, by, false, func(c *change) (bool, error) {
			n, again, err := batch(ctx, c)
			if more = again; err != nil || n == 0 {
				return false, err
			}
			removed += n
			return true, nil
		})
	}
	return removed, errors.Join(err, e.tampered)
}

// expiry removes records of one kind.
type expiry struct {
	loader   *Loader
	table    string
	column   string // the time of a record
	before   time.Time
	last     int64 // file that was looked at
	tampered error
}

// detail completes the entry of a commit.
func (e *expiry) detail(c *change, rows int64, files []seal.ExpiredFile) (err error) {
	c.entry.Detail, err = json.Marshal(seal.ExpiredDetail{Table: e.table, Before: e.before, Rows: rows, Files: files})
	return err
}

// rows removes the oldest records, and reports whether there may be more.
func (e *expiry) rows(ctx context.Context, c *change) (n int64, more bool, err error) {
	statements := e.loader.statements
	words := []string{"table", e.table, "time", e.column}
	var last int64
	if err := c.tx.QueryRow(ctx, statements.Get("expiring", words...), e.before, expireRows).Scan(&last, &n, &more); err != nil || n == 0 {
		return 0, false, err
	}
	words = append(words, "before", "'"+e.before.Format(time.RFC3339Nano)+"'", "last", strconv.FormatInt(last, 10))
	if c.entry.Digest, err = seal.DigestCopy(ctx, c.tx, statements.Get("expiring_rows", words...)); err != nil {
		return 0, false, err
	}
	if err := c.exec(ctx, asExpirer); err != nil {
		return 0, false, err
	}
	if e.table == AlertRecords {
		if err := c.exec(ctx, statements.Get("expire_messages", words...)); err != nil {
			return 0, false, err
		}
	}
	tag, err := c.tx.Exec(ctx, statements.Get("expire", words...))
	if err == nil && tag.RowsAffected() != n {
		err = fmt.Errorf("%d of %d records were found again", tag.RowsAffected(), n)
	}
	if err != nil {
		return 0, false, err
	}
	return n, more, e.detail(c, n, nil)
}

// expiringFile is a file with rejects.
type expiringFile struct{ ID, Rows int64 }

// rejects removes the rejects of the oldest files, of each file all at once: the digest of its load
// covers all of them.
func (e *expiry) rejects(ctx context.Context, c *change) (n int64, more bool, err error) {
	rows, _ := c.tx.Query(ctx, e.loader.statements.Get("expiring_files"), e.before, e.last, expireFiles) // CollectRows returns its error
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[expiringFile])
	if err != nil {
		return 0, false, err
	}
	if err := c.exec(ctx, asExpirer); err != nil {
		return 0, false, err
	}
	more = len(list) == expireFiles
	var files []seal.ExpiredFile
	for _, f := range list {
		if n > 0 && n+f.Rows > expireRows {
			more = true
			break
		}
		expired, err := e.file(ctx, c, f)
		if e.last = f.ID; errors.Is(err, ErrTampered) {
			e.tampered = errors.Join(e.tampered, err)
			continue
		}
		if err != nil {
			return 0, false, err
		}
		files, n = append(files, expired), n+f.Rows
	}
	return n, more, e.detail(c, n, files)
}

func (e *expiry) file(ctx context.Context, c *change, f expiringFile) (x seal.ExpiredFile, err error) {
	statements := e.loader.statements
	x = seal.ExpiredFile{FileID: f.ID, Rows: f.Rows}
	if x.Digest, err = seal.Rejects(ctx, c.tx, f.ID); err != nil {
		return x, err
	}
	var sealed string
	err = c.tx.QueryRow(ctx, statements.Get("sealed_digest"), f.ID).Scan(&sealed)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) { // a failed file has none
		return x, err
	}
	if sealed != "" && sealed != x.Digest {
		return x, fmt.Errorf("file %d: %w", f.ID, ErrTampered)
	}
	for _, name := range []string{"expire_rejects", "expire_open"} {
		if err := c.exec(ctx, statements.Get(name), f.ID); err != nil {
			return x, err
		}
	}
	return x, c.exec(ctx, statements.Get("note_expired"), f.ID, c.entry.Number, f.Rows)
}
