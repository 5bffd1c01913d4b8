package load

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opentax/tally/internal/civil"

	"github.com/opentax/tally/internal/explain"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/internal/sqlfile"
	"github.com/opentax/tally/pipeline/transform"
)

// Queries are the statements of a load, with arguments from s. Left out are DDL, SET,
// advisory locks and COPY, which have no plan, and calls of one function.
func Queries(s explain.Sample) []explain.Query {
	statements := sqlfile.Parse(loadSQL + "\n" + retireSQL + "\n" + expireSQL)
	return slices.Concat(loadReads(statements, s), loadWrites(statements, s), reverts(statements, s))
}

func loadReads(statements sqlfile.Statements, s explain.Sample) []explain.Query {
	uses := func(indexes ...string) explain.Expectation { return explain.Expectation{Indexes: indexes} }
	lookUp := []string{noJIT, statements.Get("look_up")}
	users := slices.Compact(slices.Sorted(slices.Values(s.UserIDs)))
	months, first, last := make([]civil.Date, len(s.Dates)), s.Date, s.Date
	for i, d := range s.Dates {
		first, last = min(first, d), max(last, d)
		months[i] = d.Month().First()
	}
	known, knownArgs := knownRows(s, 1)
	arrivals, arrivalArgs := knownRows(s, 3)
	list := []explain.Query{
		{Name: "no_keys", Purpose: "each load", Before: lookUp[:1], Expect: explain.Expectation{MaxBuffers: 8}},
		{Name: "known_keys", Purpose: "each thousand rows of a load", Before: lookUp, Args: []any{s.TransactionIDs}, Expect: uses("transaction_keys_pkey")},
		{
			Name: "stored", Purpose: "each load of ids that are stored already", Before: lookUp[:1],
			Given: known, Args: knownArgs, Expect: uses("transactions_pkey"),
		},
		{
			Name: "stored_arrivals", Purpose: "each load of ids that are stored already, of a source that replaces rows", Before: lookUp[:1],
			Given: arrivals, Args: slices.Concat([]any{s.Date, s.FileID}, arrivalArgs), Expect: uses("transactions_pkey"),
		},
		{Name: "prefetch_rows", Purpose: "each small load", Before: lookUp, Args: []any{s.UserIDs, s.Dates, first, last}, Expect: uses("transactions_pkey")},
		{Name: "prefetch_months", Purpose: "each small load", Before: lookUp, Args: []any{s.UserIDs, s.Dates}, Expect: uses("user_months_pkey")},
		{Name: "prefetch_users", Purpose: "each small load", Before: lookUp, Args: []any{users}, Expect: uses("user_summary_pkey")},
		{Name: "missing_months", Purpose: "each load", Before: lookUp[:1], Args: []any{slices.Compact(months)}},
		{
			Name: "known_content", Purpose: "each file, twice", Before: lookUp[:1], Args: []any{s.SHA256, transform.Version, "{}", ""},
			Expect: explain.Expectation{Indexes: []string{"etl_files_content"}, MaxBuffers: 12},
		},
		{Name: "displaced", Purpose: "known content of a source that replaces rows, if it may have lost rows", Before: lookUp[:1], Args: []any{s.FileID, s.Date}},
		{Name: "same_file", Purpose: "each known file of a source that replaces rows", Before: lookUp[:1], Args: []any{s.SHA256, "", ""}},
		{Name: "arrival", Purpose: "each load of a source that replaces rows", Before: lookUp[:1], Args: []any{s.SHA256, "", "", s.RunID, false}},
		{
			Name: "known_files", Purpose: "each source of a run", Before: lookUp[:1],
			Args: []any{"", []string{"a", "b"}, []int64{1, 2}, []int64{1, 2}, []string{"", ""}, transform.Version, "{}", true},
		},
		{Name: "learned", Purpose: "each file, twice", Before: lookUp[:1], Args: []any{""}},
		{Name: "open_rejects", Purpose: "each replay", Before: lookUp[:1], Args: []any{[]int64{s.FileID}}},
		{Name: "open_rows", Purpose: "each file of a replay", Before: lookUp[:1], Args: []any{s.FileID, []int64{2}, []string{reject.OutcomeRejected}, false}, Expect: uses("etl_rejects_pkey")},
		{Name: "fixes", Purpose: "each file of a replay whose rows were read again before", Before: lookUp[:1], Args: []any{[]int64{1}}, Expect: uses("audit_chain_pkey")},
		{
			Name: "open_states", Purpose: "each decision about rejects", Before: lookUp[:1],
			Args: []any{[]int64{s.FileID}, []int64{2}, []string{reject.OutcomeRejected}}, Expect: uses("etl_rejects_pkey"),
		},
		{Name: "fence", Purpose: "each load, right before its commit", Before: lookUp[:1], Args: []any{s.RunID}, Writes: true, Expect: uses("etl_runs_pkey", "etl_attempts_pkey")},
	}
	return named(list, statements)
}

func loadWrites(statements sqlfile.Statements, s explain.Sample) []explain.Query {
	replaced := `load_replaced AS MATERIALIZED (
    SELECT k.transaction_id, t.user_id AS old_user_id, t.transaction_date AS old_date, t.id AS old_id, t.user_id, t.transaction_date
    FROM unnest($%::text[]) i(id) JOIN transaction_keys k ON k.transaction_id = i.id
    JOIN transactions t ON t.user_id = k.user_id AND t.transaction_date = k.transaction_date AND t.transaction_id = k.transaction_id
)`
	before := []string{noJIT, asWriter}
	uses := func(indexes ...string) explain.Expectation { return explain.Expectation{Indexes: indexes} }
	row := func(name string, args ...any) explain.Query {
		q := explain.Query{Name: name, Purpose: "each load that replaces stored rows", Before: before, Writes: true}
		q.Given, q.Args = strings.Replace(replaced, "$%", fmt.Sprintf("$%d", len(args)+1), 1), append(args, s.TransactionIDs)
		return q
	}
	keep, out, move := row("keep_version"), row("delete_replaced"), row("move_keys")
	keep.Expect.Indexes = []string{"transactions_pkey"}
	out.Expect.Indexes = []string{"transactions_pkey"}
	move.Expect.Indexes = []string{"transaction_keys_pkey"}
	list := named([]explain.Query{
		keep, out, move,
		{Name: "reserve_ids", Purpose: "each load", Before: before, Args: []any{1}, Writes: true},
		{
			Name: "file", Purpose: "each file", Before: before, Writes: true,
			Args: []any{
				int64(0), s.RunID, 1, "", "", nil, int64(0), StatusLoaded, nil, nil, int64(0), int64(0), int64(0), int64(0), int64(0), int64(0),
				"{}", "0", "{}", "", s.Date, transform.Version, "{}", []string{}, []string{}, nil, nil, nil, nil,
			},
		},
		{Name: "add_open", Purpose: "each load with rejects", Before: before, Writes: true, Args: []any{[]int64{s.FileID}, []int64{1 << 40}}},
		{
			Name: "remove_open", Purpose: "each change of rejects", Before: before, Writes: true, Args: []any{[]int64{s.FileID}, []int64{0}, reject.PartBits},
			Expect: uses("etl_rejects_pkey"),
		},
		{Name: "close_open", Purpose: "each revert", Before: before, Writes: true, Args: []any{[]int64{s.FileID}}},
		{Name: "copy", Purpose: "each copy of known content in a source that replaces rows", Before: before, Writes: true, Args: []any{s.SHA256, "", ""}},
		{
			Name: "observe", Purpose: "each file that is read", Before: before, Writes: true,
			Args: []any{"", "", int64(0), int64(0), "", s.SHA256, int64(0)},
		},
		{Name: "forget", Purpose: "each source of a run of a date", Before: before, Writes: true, Args: []any{"", []string{"a", "b"}}},
		{Name: "learn", Purpose: "each convention that a file proves", Before: before, Writes: true, Args: []any{"", "currency", "$", int64(0), int64(1)}},
	}, statements)
	return append(list, explain.Query{
		Name: "pipeline/move_staged", Purpose: "each load that finds a month in use", Before: before, Writes: true,
		SQL: statements.Get("move_staged", "table", "load_staged"), Args: []any{s.UserIDs, s.Dates},
		Given: `load_staged AS MATERIALIZED (
    SELECT -n AS id, ''::varchar(50) AS transaction_id, user_id, 0::float AS amount, transaction_date, 0::bigint AS file_id, n AS line
    FROM unnest($1::int[], $2::date[]) WITH ORDINALITY s(user_id, transaction_date, n)
)`,
	})
}

// reverts are the statements that take files back out, over as many rows as the sample has.
func reverts(statements sqlfile.Statements, s explain.Sample) []explain.Query {
	rows := func(table, prefix string) string {
		return table + ` AS MATERIALIZED (
    SELECT '` + prefix + `' || k.transaction_id AS transaction_id, t.user_id, t.amount, t.transaction_date, t.id, t.file_id, t.line, 1::bigint AS from_change
    FROM unnest($1::text[]) i(id) JOIN transaction_keys k ON k.transaction_id = i.id
    JOIN transactions t ON t.user_id = k.user_id AND t.transaction_date = k.transaction_date AND t.transaction_id = k.transaction_id
)`
	}
	before, files := []string{noJIT, asWriter}, []int64{s.FileID}
	var list []explain.Query
	for _, name := range []string{"reverted_values", "reverted_users", "keep_reverted", "delete_reverted", "delete_keys", "restored_values", "restore", "restore_keys", "restore_origins"} {
		given := rows("load_reverted", "")
		if strings.HasPrefix(name, "restore") {
			given = rows("load_restored", "restored ")
		}
		list = append(list, explain.Query{Name: name, Purpose: "each revert", Before: before, Given: given, Args: []any{s.TransactionIDs},
			Writes: !strings.HasPrefix(name, "reverted_") && name != "restored_values"})
	}
	list = append(list,
		explain.Query{Name: "expiring_files", Purpose: "each commit that removes old rejects", Args: []any{s.Date.Time(), int64(0), expireFiles}, Expect: explain.Expectation{WholeTable: true}},
		explain.Query{Name: "sealed_digest", Purpose: "each file whose old rejects are removed", Args: []any{s.FileID}, Expect: explain.Expectation{Indexes: []string{"audit_chain_load"}}},
		explain.Query{Name: "expire_rejects", Purpose: "each file whose old rejects are removed", Before: []string{noJIT, asExpirer}, Args: []any{s.FileID}, Writes: true},
		explain.Query{Name: "expire_open", Purpose: "each file whose old rejects are removed", Before: []string{noJIT, asExpirer}, Args: []any{s.FileID}, Writes: true},
		explain.Query{Name: "note_expired", Purpose: "each file whose old rejects are removed", Before: []string{noJIT, asExpirer}, Args: []any{int64(-1), int64(1), int64(1)}, Writes: true},
		explain.Query{Name: "retired_revert", Purpose: "each revert", Args: []any{files}},
		explain.Query{Name: "revertible", Purpose: "each file of a revert", Args: []any{s.FileID}},
		explain.Query{Name: "reverted_months", Purpose: "each revert", Args: []any{files}},
		explain.Query{Name: "reverted_content", Purpose: "each file that is new", Args: []any{s.SHA256}, Expect: explain.Expectation{Indexes: []string{"etl_files_content"}}},
		explain.Query{Name: "losers", Purpose: "each revert", Before: before, Args: []any{files}, Expect: explain.Expectation{Indexes: []string{"etl_rejects_kept"}, WholeTable: true}},
		explain.Query{Name: "note_reverts", Purpose: "each revert", Before: before, Args: []any{files, int64(1)}, Writes: true},
	)
	return named(list, statements)
}

// named gives each statement its text and its full name.
func named(list []explain.Query, statements sqlfile.Statements) []explain.Query {
	for i := range list {
		list[i].SQL, list[i].Name = statements.Get(list[i].Name, "transactions", "transactions"), "pipeline/"+list[i].Name
	}
	return list
}

// knownRows stand for the rows of a file whose ids are stored; their arguments begin with
// $first.
func knownRows(s explain.Sample, first int) (given string, args []any) {
	lines := make([]int64, len(s.TransactionIDs))
	for i := range lines {
		lines[i] = int64(i) + 2
	}
	return fmt.Sprintf(`load_known AS MATERIALIZED (
    SELECT transaction_id COLLATE "C" AS transaction_id, line, ''::bytea AS packed, user_id, transaction_date
    FROM unnest($%d::text[], $%d::bigint[], $%d::int[], $%d::date[]) n(transaction_id, line, user_id, transaction_date)
)`, first, first+1, first+2, first+3), []any{s.TransactionIDs, lines, s.UserIDs, s.Dates}
}
