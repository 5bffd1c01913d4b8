package summaries

import (
	"slices"
	"strings"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/pgcopy"
	"github.com/opentax/tally/internal/sqlfile"
)

// A Rollup is a table of the count (total_transactions) and the exact sum (total_amount) of
// transactions by key. Refresh, verify, export, report and plans range over [Rollups]: a new rollup
// is declared only here.
type Rollup struct {
	Table string
	// Keys are the columns of the primary key, at most two.
	Keys []Key
	// Versioned rows have version, file_id and updated_at: the number of changes, and the file
	// and time of the last one.
	Versioned bool
}

// Rollups are all rollups.
func Rollups() []Rollup {
	return []Rollup{
		{Table: "user_months", Keys: []Key{ByUser, ByMonth}},
		{Table: "daily_totals", Keys: []Key{ByDay}, Versioned: true},
		{Table: userSummary, Keys: []Key{ByUser}, Versioned: true},
	}
}

// userSummary is the rollup whose changes are announced to the caches.
const userSummary = "user_summary"

// Key is a column of a rollup's key.
type Key int

// The keys.
const (
	ByUser  Key = iota // user_id INT
	ByDay              // transaction_date DATE
	ByMonth            // month DATE: the first day of the transaction's month
)

// Column is the column's name.
func (k Key) Column() string { return [...]string{"user_id", "transaction_date", "month"}[k] }

// expression is the column in a query over transactions.
func (k Key) expression() string {
	if k == ByMonth {
		return "date_trunc('month', transaction_date)::date"
	}
	return k.Column()
}

// of is the column of a transaction, as a number in the same order.
func (k Key) of(user int32, date civil.Date) int32 {
	switch k {
	case ByUser:
		return user
	case ByDay:
		return int32(date)
	default:
		return int32(date.Month())
	}
}

// write sends a number of that kind as the column's value.
func (k Key) write(w *pgcopy.Writer, n int32) {
	switch k {
	case ByUser:
		w.Int32(n)
	case ByDay:
		w.Date(civil.Date(n))
	default:
		w.Date(civil.Month(n).First())
	}
}

// key is the key of a transaction: its columns, each in 32 bits, in the order of the primary key.
func (r Rollup) key(user int32, date civil.Date) (key uint64) {
	for _, k := range r.Keys {
		key = key<<32 | uint64(uint32(k.of(user, date))^signBit)
	}
	return key
}

// signBit sorts negative numbers before the others.
const signBit = 1 << 31

// column is the i-th column of a key.
func (r Rollup) column(key uint64, i int) int32 {
	return int32(uint32(key>>(32*(len(r.Keys)-1-i))) ^ signBit)
}

// PerUser reports whether the rollup has rows for each user: it grows with them, and a load changes
// pages everywhere.
func (r Rollup) PerUser() bool { return slices.Contains(r.Keys, ByUser) }

// large reports whether there are nearly as many keys as transactions.
func (r Rollup) large() bool { return len(r.Keys) > 1 }

// Columns are the columns, without updated_at.
func (r Rollup) Columns() []string {
	columns := append(r.KeyColumns(), "total_transactions", "total_amount")
	if r.Versioned {
		columns = append(columns, "version", "file_id")
	}
	return columns
}

// KeyColumns are the columns of the primary key.
func (r Rollup) KeyColumns() []string {
	columns := make([]string, len(r.Keys))
	for i, k := range r.Keys {
		columns[i] = k.Column()
	}
	return columns
}

func (r Rollup) keys() string { return strings.Join(r.KeyColumns(), ", ") }

// forKeys joins the texts of all keys.
func (r Rollup) forKeys(separator string, text func(Key) string) string {
	all := make([]string, len(r.Keys))
	for i, k := range r.Keys {
		all[i] = text(k)
	}
	return strings.Join(all, separator)
}

// match is the condition that two tables have the same key.
func (r Rollup) match(one, other string) string {
	return r.forKeys(" AND ", func(k Key) string { return one + "." + k.Column() + " = " + other + "." + k.Column() })
}

// selected are the keys as columns of a query over transactions.
func (r Rollup) selected() string {
	return r.forKeys(", ", func(k Key) string { return k.expression() + " AS " + k.Column() })
}

// statement is a statement of refresh.sql for this rollup, with its arguments for the load of a file.
func (r Rollup) statement(statements sqlfile.Statements, name string, fileID int64) (sql string, args []any) {
	column, value, stamp, file, now := "", "", "", "$1", "now()"
	if name == "upsert" { // no function that is not immutable, and no argument: a cluster refuses them
		file, now = "excluded.file_id", "excluded.updated_at"
	}
	if r.Versioned {
		column, value, stamp = ", file_id", ", $1", statements.Get("stamp", "file", file, "now", now)
		if name == "update" || name == "upsert" {
			args = []any{fileID}
		}
	}
	return statements.Get(name, "rollup", r.Table, "keys", r.keys(), "match", r.match("r", "d"),
		"file_column", column, "file_value", value, "stamp", stamp), args
}
