package prove_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/prove"
	"github.com/opentax/tally/pipeline/seal"
	"github.com/opentax/tally/pipeline/transform"
)

const header = "transaction_id,user_id,amount,transaction_date\n"

// proven is a database in which user 1 has rows that came by a load, a correction, a replay,
// a fix and a revert, and a row that is not counted, since its id is another user's.
type proven struct {
	t     *testing.T
	pool  *pgxpool.Pool
	files []string
}

func newProven(t *testing.T) *proven {
	t.Helper()
	p := &proven{t: t, pool: testdb.New(t, migrations.Schema{})}
	_, err := p.pool.Exec(t.Context(), `INSERT INTO etl_runs (kind, logical_date, requested_by) VALUES ('manual', '2024-01-31', 'test');
		INSERT INTO etl_attempts (run_id, attempt, worker, code_version) VALUES (1, 1, 'test', 'test')`, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	loader, by := load.New(p.pool, nil), audit.By{Actor: "test", Reason: "because"}
	rules := transform.Rules{Corrections: transform.CorrectionsReplace, RejectLimit: "100%"}
	add := func(content string) int64 {
		path := filepath.Join(t.TempDir(), fmt.Sprintf("%d.csv", len(p.files)))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		r, err := loader.Load(t.Context(), load.Request{RunID: 1, Attempt: 1, Source: "test", Path: bucket.Path(path), Rules: rules,
			LogicalDate: civil.MustParse("2024-01-31"), CodeVersion: "test"})
		require.NoError(t, err)
		require.Equal(t, load.StatusLoaded, r.Status)
		p.files = append(p.files, path)
		return r.FileID
	}
	add(header + "O,9,1,2024-01-01\n")
	first := add("Report\n\nuser_id;transaction_id;amount;transaction_date\n1;A;\"1.234,50\";13.01.2024\n1;B;5;03/04/2024\n1;C;;2024-01-02\n1;D;7;2024-01-03\n2;E;8;2024-01-03\n1;F;8;2024-01-03\n1;A;3;2024-01-02\n")
	add(header + "D,1,-9.25,2024-01-04\n")
	reverted := add(header + "D,1,100,2024-01-05\n")
	add(header + "F,2,8,2024-01-03\n")
	settings := func(string, transform.Rules) (transform.Rules, bool) { r := rules; r.Slash = "dmy"; return r, false }
	_, err = loader.Replay(t.Context(), []reject.ID{{FileID: first, Line: 5}}, settings, by, false)
	require.NoError(t, err)
	_, err = loader.Fix(t.Context(), reject.ID{FileID: first, Line: 6}, transform.Fix{Amount: "0.1"}, settings, by)
	require.NoError(t, err)
	_, err = loader.Revert(t.Context(), []int64{reverted}, settings, by, false)
	require.NoError(t, err)
	p.files = p.files[1:3]
	return p
}

func (p *proven) receipt() *prove.Receipt {
	p.t.Helper()
	r, err := prove.Make(p.t.Context(), p.pool, 1, 0)
	require.NoError(p.t, err)
	return r
}

// again is the receipt after a way through JSON.
func again(t *testing.T, content any) (*prove.Receipt, error) {
	t.Helper()
	text, err := json.Marshal(content)
	require.NoError(t, err)
	return prove.Decode(text)
}

func requireFault(t *testing.T, err error, text string) {
	t.Helper()
	_, ok := errors.AsType[*prove.Fault](err)
	require.True(t, ok, "%s: %v", text, err)
}

func TestReceiptHolds(t *testing.T) {
	t.Parallel()
	p := newProven(t)
	made := p.receipt()
	assert.Equal(t, int64(4), made.Transactions)
	assert.Equal(t, "1230.35", made.Total.String())
	causes := map[string]seal.Kind{}
	for _, row := range made.Rows {
		causes[row.TransactionID] = row.Cause
	}
	assert.Equal(t, map[string]seal.Kind{"A": seal.Load, "B": seal.Replay, "C": seal.Fix, "D": seal.Revert}, causes)
	r, err := again(t, made)
	require.NoError(t, err)
	head, err := seal.ReadHead(t.Context(), p.pool)
	require.NoError(t, err)
	uncounted, err := r.Check(t.Context(), head, p.files)
	require.NoError(t, err)
	assert.Equal(t, 1, uncounted, "F is user 2's by now")

	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	content, err := os.ReadFile(p.files[0])
	require.NoError(t, err)
	_, err = w.Write(content)
	require.NoError(t, errors.Join(err, w.Close()))
	path := filepath.Join(t.TempDir(), "other.name")
	require.NoError(t, os.WriteFile(path, packed.Bytes(), 0o600))
	_, err = r.Check(t.Context(), audit.Head{}, []string{p.files[1], path})
	require.NoError(t, err, "compressed, and under another name")

	assert.Greater(t, len(made.Chain.Digests), len(made.Entries), "the chain has a commit that no row names")
	size := int64(70 * len(made.Chain.Digests))
	for _, e := range made.Entries {
		size += int64(len(e.Text))
	}
	limited, err := prove.Make(t.Context(), p.pool, 1, size)
	require.NoError(t, err)
	assert.Equal(t, made, limited)
	_, err = prove.Make(t.Context(), p.pool, 1, size-1)
	require.ErrorIs(t, err, prove.ErrTooLarge)

	_, err = prove.Make(t.Context(), p.pool, 77, 0)
	require.ErrorIs(t, err, prove.ErrNotFound)
	head.Hash = strings.Repeat("0", 64)
	_, err = r.Check(t.Context(), head, p.files)
	requireFault(t, err, "another head")
	head.Number++
	_, err = r.Check(t.Context(), head, p.files)
	requireFault(t, err, "a later head")
}

// Each value of a receipt that is changed, and each item that is left out or added, is found.
func TestEachChangeOfAReceiptIsFound(t *testing.T) {
	t.Parallel()
	p := newProven(t)
	text, err := json.Marshal(p.receipt())
	require.NoError(t, err)
	decode := func() (v any) {
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		require.NoError(t, d.Decode(&v))
		return v
	}
	var names []string
	changes(decode(), func(any) {}, func(what string) { names = append(names, what) })
	require.Greater(t, len(names), 60)
	for n, name := range names {
		v := decode()
		changes(v, func(changed any) { v = changed }, func(string) {}, n)
		r, err := again(t, v)
		if err == nil {
			_, err = r.Check(t.Context(), audit.Head{}, p.files)
		}
		requireFault(t, err, name)
	}
}

// changes makes the change with a number, of those that can be made to a JSON value: each
// leaf is another one, each item of a list is gone, is there twice.
func changes(v any, set func(any), count func(string), which ...int) {
	n := -1
	change := func(what string, do func()) {
		count(what)
		if n++; len(which) > 0 && n == which[0] {
			do()
		}
	}
	var walk func(v any, path string, set func(any))
	walk = func(v any, path string, set func(any)) {
		switch v := v.(type) {
		case map[string]any:
			for _, key := range sorted(v) {
				walk(v[key], path+"."+key, func(changed any) { v[key] = changed })
			}
		case []any:
			for i := range v {
				walk(v[i], fmt.Sprintf("%s[%d]", path, i), func(changed any) { v[i] = changed })
				change(fmt.Sprintf("%s[%d] is gone", path, i), func() { set(append(append([]any{}, v[:i]...), v[i+1:]...)) })
				if !strings.HasSuffix(path, "uncounted") { // to say it twice says no more
					change(fmt.Sprintf("%s[%d] is there twice", path, i), func() { set(append(append([]any{}, v[:i+1]...), v[i:]...)) })
				}
			}
		case json.Number:
			change(path, func() { set(json.Number(money.MustParse(v.String()).Plus(money.NewSum(1, 0)).String())) })
		case string:
			for i := range len(v) {
				if i%7 == 0 || i == len(v)-1 {
					change(fmt.Sprintf("%s, byte %d", path, i), func() { b := []byte(v); b[i] ^= 1; set(string(b)) })
				}
			}
		}
	}
	walk(v, "", set)
}

func sorted(m map[string]any) (keys []string) {
	for _, key := range []string{"format", "user_id", "total_transactions", "total_amount", "rows", "uncounted", "entries", "chain", "head", "transaction_id",
		"amount", "transaction_date", "file_id", "line", "load", "change", "cause", "read_in", "number", "text", "first", "previous", "digests", "hash"} {
		if _, ok := m[key]; ok {
			keys = append(keys, key)
		}
	}
	if len(keys) != len(m) {
		panic(fmt.Sprint("keys of a receipt that are not tested: ", m))
	}
	return keys
}

// What is changed so that it still adds up is found, too.
func TestForgeriesAreFound(t *testing.T) {
	t.Parallel()
	p := newProven(t)
	for name, forge := range map[string]func(*prove.Receipt){
		"a row left out": func(r *prove.Receipt) {
			r.Transactions, r.Total, r.Rows = 3, r.Total.Minus(r.Rows[0].Amount), r.Rows[1:]
		},
		"an amount": func(r *prove.Receipt) {
			one := money.NewSum(1, 0)
			r.Rows[1].Amount, r.Total = r.Rows[1].Amount.Plus(one), r.Total.Plus(one)
		},
		"another user": func(r *prove.Receipt) { r.UserID = 2 },
		"a former row": func(r *prove.Receipt) {
			for i := range r.Rows {
				if r.Rows[i].TransactionID == "D" {
					r.Total = r.Total.Minus(r.Rows[i].Amount).Plus(money.NewSum(7, 0))
					r.Rows[i].Amount, r.Rows[i].Date = money.NewSum(7, 0), civil.MustParse("2024-01-04")
				}
			}
		},
	} {
		r := p.receipt()
		forge(r)
		_, err := r.Check(t.Context(), audit.Head{}, p.files)
		requireFault(t, err, name)
	}
}

// Each byte of a file counts, and so do files that are missing or too many.
func TestEachByteOfAFileCounts(t *testing.T) {
	t.Parallel()
	p := newProven(t)
	r := p.receipt()
	content, err := os.ReadFile(p.files[0])
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "changed.csv")
	for i := range content {
		changed := bytes.Clone(content)
		changed[i] ^= 1
		require.NoError(t, os.WriteFile(path, changed, 0o600))
		_, err := r.Check(t.Context(), audit.Head{}, []string{path, p.files[1]})
		requireFault(t, err, fmt.Sprint("byte ", i))
	}
	_, err = r.Check(t.Context(), audit.Head{}, p.files[:1])
	requireFault(t, err, "a file is missing")
	require.NoError(t, os.WriteFile(path, []byte(header), 0o600))
	_, err = r.Check(t.Context(), audit.Head{}, append(p.files, path))
	requireFault(t, err, "a file is none of them")
}

// Rows of retired months cannot be proven, nor told from lines that are missing.
func TestNoReceiptOfRetiredMonths(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{true, false} {
		p := newProven(t)
		before := civil.MustParse("2024-02-01").Month()
		_, err := load.New(p.pool, nil).Retire(t.Context(), load.Retirement{Before: before, KeepTotals: keep}, audit.By{Actor: "test"}, false)
		require.NoError(t, err)
		_, err = prove.Make(t.Context(), p.pool, 1, 0)
		require.ErrorIs(t, err, prove.ErrRetired)
	}
}

// A receipt that begins while months are retired is of before or of after it.
func TestReceiptBesideRetirement(t *testing.T) {
	t.Parallel()
	p := newProven(t)
	made := make(chan error, 1)
	q := load.Retirement{Before: civil.MustParse("2024-02-01").Month()}
	q.Record = func(ctx context.Context, tx pgx.Tx, _ reject.RetireResult) error {
		_, err := tx.Exec(ctx, "LOCK TABLE ONLY transactions IN ACCESS EXCLUSIVE MODE") // as it does before the commit
		require.NoError(t, err)
		go func() {
			_, err := prove.Make(t.Context(), p.pool, 1, 0)
			made <- err
		}()
		require.Eventually(t, func() (blocked bool) {
			const waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE relation IS NOT NULL AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
			require.NoError(t, p.pool.QueryRow(t.Context(), waiting).Scan(&blocked))
			return blocked
		}, testdb.Patience, 5*time.Millisecond)
		return nil
	}
	_, err := load.New(p.pool, nil).Retire(t.Context(), q, audit.By{Actor: "test"}, false)
	require.NoError(t, err)
	require.ErrorIs(t, <-made, prove.ErrRetired)
}
