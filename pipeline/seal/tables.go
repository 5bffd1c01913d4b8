package seal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/money"
)

// compareTables compares what the whole chain says with the tables, and returns the fault of
// the first entry that does not hold. The totals, which show only that some entry does not,
// come last.
func (r *replay) compareTables(ctx context.Context) (first *audit.Fault, err error) {
	if r.noted.Number > r.entries {
		return &audit.Fault{Number: r.noted.Number, Reason: fmt.Sprintf("it was noted elsewhere, and the chain ends with entry %d", r.entries)}, nil
	}
	for _, compare := range []func(context.Context) (*audit.Fault, error){r.unsealed, r.retirements, r.rejects, r.states, r.reverts, r.foreign, r.changes} {
		fault, err := compare(ctx)
		if err != nil {
			return nil, err
		}
		if fault != nil && (first == nil || fault.Number < first.Number) {
			first = fault
		}
	}
	if first != nil {
		return first, nil
	}
	return r.totals(ctx)
}

// at is an entry by its number; a fault if there is none.
func (r *replay) at(number int64, table string) (*sealed, *audit.Fault) {
	if number < 1 || number > r.entries {
		return nil, &audit.Fault{Number: number, Reason: "there is no such entry, and a row of " + table + " names it"}
	}
	return &r.sealed[number-1], nil
}

// changesRejects reports whether commits of a kind record what became of rejects.
func (k Kind) changesRejects() bool {
	return slices.Contains([]Kind{Replay, Fix, Settle, Discard, Revert}, k)
}

// unsealed looks for loaded files without an entry.
func (r *replay) unsealed(ctx context.Context) (*audit.Fault, error) {
	var file int64
	var path string
	err := r.tx.QueryRow(ctx, r.statements.Get("unsealed")).Scan(&file, &path)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // no fault
	}
	return &audit.Fault{Number: r.entries + 1, Reason: fmt.Sprintf("it is missing: file %d (%s) is loaded and has no entry", file, path)}, err
}

// rejects compares the rejects of loads.
func (r *replay) rejects(ctx context.Context) (*audit.Fault, error) {
	for i, s := range r.sealed {
		if s.kind != Load || s.digest == "" {
			continue
		}
		now, err := Rejects(ctx, r.tx, s.file)
		if err != nil {
			return nil, err
		}
		if f, ok := r.expired[s.file]; ok && f.Digest == s.digest {
			s.digest = NewRejectsDigest().String() // there are none
		}
		if now != s.digest {
			return &audit.Fault{Number: int64(i + 1), Reason: fmt.Sprintf("rows of file %d that were not loaded were changed in etl_rejects", s.file)}, nil
		}
	}
	return nil, nil //nolint:nilnil // no fault
}

// retirements compares the months that the entries have retired with the tables.
func (r *replay) retirements(ctx context.Context) (*audit.Fault, error) {
	for _, e := range r.retired {
		now, err := RetiredDetail(ctx, r.tx, e.Number)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(now, e.Detail) {
			return &audit.Fault{Number: e.Number, Reason: "the months that it has retired were changed in etl_retired or etl_retired_files"}, nil
		}
	}
	var month string
	err := r.tx.QueryRow(ctx, r.statements.Get("unsealed_month")).Scan(&month)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // no fault
	}
	return &audit.Fault{Number: r.entries + 1, Reason: fmt.Sprintf("it is missing: month %s is retired and has no entry", month)}, err
}

// states compares what became of rejects with the digests of the changes.
func (r *replay) states(ctx context.Context) (*audit.Fault, error) {
	rows, err := r.tx.Query(ctx, r.statements.Get("states"), pgx.QueryExecModeDescribeExec, pgx.QueryResultFormats{pgx.BinaryFormatCode})
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	now := map[int64]RejectsDigest{}
	for rows.Next() {
		values := rows.RawValues()
		change := int64(binary.BigEndian.Uint64(values[2]))
		if s, fault := r.at(change, "etl_reject_states"); fault != nil || !s.kind.changesRejects() {
			return &audit.Fault{Number: change, Reason: "a row of etl_reject_states names it, and it is no change of rejects"}, nil
		}
		if _, ok := now[change]; !ok {
			now[change] = NewRejectsDigest()
		}
		now[change].Add(copyRow(values))
	}
	for i, s := range r.sealed {
		d, ok := now[int64(i+1)]
		if !ok {
			d = NewRejectsDigest()
		}
		if s.kind.changesRejects() && d.String() != s.digest {
			return &audit.Fault{Number: int64(i + 1), Reason: "what it made of rejects was changed in etl_reject_states"}, rows.Err()
		}
	}
	return nil, rows.Err()
}

// reverts compares the reverted files.
func (r *replay) reverts(ctx context.Context) (*audit.Fault, error) {
	rows, err := r.tx.Query(ctx, r.statements.Get("reverts"))
	if err != nil {
		return nil, err
	}
	now := map[int64][]int64{}
	var change int64
	var files []int64
	_, err = pgx.ForEachRow(rows, []any{&change, &files}, func() error {
		now[change] = slices.Clone(files)
		return nil
	})
	if err != nil {
		return nil, err
	}
	var first *audit.Fault
	for i, s := range r.sealed {
		number := int64(i + 1)
		if first == nil && !slices.Equal(now[number], s.reverted) {
			first = &audit.Fault{Number: number, Reason: fmt.Sprintf("it reverted the files %v, and etl_reverts has %v", s.reverted, now[number])}
		}
		delete(now, number)
	}
	for number := range now {
		if _, fault := r.at(number, "etl_reverts"); first == nil || fault.Number < first.Number {
			first = fault
		}
	}
	return first, nil
}

// foreign looks for former rows that began with a load of another file.
func (r *replay) foreign(ctx context.Context) (*audit.Fault, error) {
	var number int64
	err := r.tx.QueryRow(ctx, r.statements.Get("foreign")).Scan(&number)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // no fault
	}
	return &audit.Fault{Number: number, Reason: "a row of transaction_versions names it, and it loaded another file"}, err
}

// moved is what transaction_origins and transaction_versions say of a change.
type moved struct {
	origins, began, ended int64 // rows
	beganAmount           money.Sum
	endedAmount           money.Sum
}

// changes compares the rows that each change brought and ended. Rows of months that were
// retired are no longer found.
func (r *replay) changes(ctx context.Context) (*audit.Fault, error) {
	rows, err := r.tx.Query(ctx, r.statements.Get("changes"))
	if err != nil {
		return nil, err
	}
	now := map[int64]moved{}
	var number int64
	var m moved
	_, err = pgx.ForEachRow(rows, []any{&number, &m.origins, &m.began, &m.ended, &m.beganAmount, &m.endedAmount}, func() error {
		now[number] = m
		return nil
	})
	if err != nil {
		return nil, err
	}
	retired := slices.ContainsFunc(r.sealed, func(s sealed) bool { return s.kind == Retire })
	var first *audit.Fault
	for i := range r.sealed {
		number := int64(i + 1)
		if reason := r.sealed[i].compareRows(now[number], retired); reason != "" && first == nil {
			first = &audit.Fault{Number: number, Reason: reason}
		}
		delete(now, number)
	}
	for number := range now {
		if _, fault := r.at(number, "transaction_origins or transaction_versions"); first == nil || fault.Number < first.Number {
			first = fault
		}
	}
	return first, nil
}

// compareRows compares the rows that a change brought and ended with its entry.
func (s *sealed) compareRows(m moved, retired bool) string {
	switch {
	case s.kind == Load:
		if m.origins != 0 {
			return "a row of transaction_origins names it, and rows of a load have no origin"
		}
		if m.ended != s.replaced || m.endedAmount != s.replaces {
			return fmt.Sprintf("it was sealed with %d rows of %s replaced; transaction_versions has %d of %s", s.replaced, s.replaces, m.ended, m.endedAmount)
		}
	case s.kind.changesRejects():
		if m.origins-m.ended != s.rows {
			return fmt.Sprintf("it was sealed with %d rows added; transaction_origins has %d and transaction_versions ended %d", s.rows, m.origins, m.ended)
		}
		if amount := m.beganAmount.Minus(m.endedAmount); !retired && (m.began != m.origins || amount != s.amount) {
			return fmt.Sprintf("it was sealed with a change of %s by %d rows that it brought; %d rows are left, and the change is %s", s.amount, m.origins, m.began, amount)
		}
	case m.origins != 0 || m.ended != 0:
		return "a row of transaction_origins or transaction_versions names it, and it is no change of single rows"
	}
	return ""
}

// totals compares the sums of all entries with those of the days.
func (r *replay) totals(ctx context.Context) (*audit.Fault, error) {
	var rows int64
	var amount money.Sum
	if err := r.tx.QueryRow(ctx, r.statements.Get("totals")).Scan(&rows, &amount); err != nil {
		return nil, err
	}
	if rows != r.rows || amount != r.amount {
		return &audit.Fault{Number: r.entries, Reason: fmt.Sprintf("up to it %d rows of %s were sealed; %d rows of %s are stored", r.rows, r.amount, rows, amount)}, nil
	}
	return nil, nil //nolint:nilnil // no fault
}
