package seal

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"io"
	"math"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/sqlfile"
)

// RejectsDigest is the hash of what a commit records about rejects: rows as COPY's binary
// format has them. Of a load, those of etl_rejects, first those rejected for what they say, then
// those that are not loaded because of what is stored, each in order of their lines; of any other, those of etl_reject_states, in order
// of file and line.
type RejectsDigest struct{ hash hash.Hash }

// NewRejectsDigest begins with no row.
func NewRejectsDigest() RejectsDigest { return RejectsDigest{sha256.New()} }

// Add adds encoded rows.
func (d RejectsDigest) Add(rows []byte) { d.hash.Write(rows) }

func (d RejectsDigest) String() string { return hex.EncodeToString(d.hash.Sum(nil)) }

// Rejects is the digest of a file's rejects as they are now.
func Rejects(ctx context.Context, tx pgx.Tx, file int64) (string, error) {
	return DigestCopy(ctx, tx, sqlfile.Parse(sealSQL).Get("rejects", "file", strconv.FormatInt(file, 10)))
}

// DigestCopy is the digest of the rows that COPY … TO STDOUT (FORMAT binary) sends.
func DigestCopy(ctx context.Context, tx pgx.Tx, sql string) (string, error) {
	d := NewRejectsDigest()
	body := &copyBody{to: d.hash}
	if _, err := tx.Conn().PgConn().CopyTo(ctx, body, sql); err != nil {
		return "", err
	}
	body.end()
	return d.String(), nil
}

// copyRow is a row of binary values as COPY's binary format has it.
func copyRow(values [][]byte) []byte {
	row := binary.BigEndian.AppendUint16(nil, uint16(len(values)))
	for _, v := range values {
		if v == nil {
			row = binary.BigEndian.AppendUint32(row, math.MaxUint32) // NULL
			continue
		}
		row = append(binary.BigEndian.AppendUint32(row, uint32(len(v))), v...)
	}
	return row
}

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
