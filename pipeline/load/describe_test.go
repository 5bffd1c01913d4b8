package load_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shopspring/decimal"

	"github.com/opentax/tally/internal/reject"
)

// describeSQL is the content of a database as one text: all rows, keys and rollups, and of what
// is only added to that which entry $1 of the chain has written; 0: all of it.
const describeSQL = `SELECT concat_ws(E'\n',
	(SELECT string_agg(concat_ws(' ', 'row', transaction_id, user_id, amount, transaction_date, file_id || ':' || line), E'\n' ORDER BY transaction_id COLLATE "C") FROM transactions),
	(SELECT string_agg(concat_ws(' ', 'key', transaction_id, user_id, transaction_date), E'\n' ORDER BY transaction_id) FROM transaction_keys),
	(SELECT string_agg(concat_ws(' ', 'user', user_id, total_transactions, trim_scale(total_amount)), E'\n' ORDER BY user_id) FROM user_summary),
	(SELECT string_agg(concat_ws(' ', 'month', user_id, month, total_transactions, trim_scale(total_amount)), E'\n' ORDER BY user_id, month) FROM user_months),
	(SELECT string_agg(concat_ws(' ', 'day', transaction_date, total_transactions, trim_scale(total_amount)), E'\n' ORDER BY transaction_date) FROM daily_totals),
	(SELECT string_agg(concat_ws(' ', 'version', transaction_id, user_id, amount, transaction_date, file_id || ':' || line, from_change, to_change),
		E'\n' ORDER BY to_change, transaction_id COLLATE "C", file_id, line) FROM transaction_versions WHERE $1::bigint IN (0, to_change)),
	(SELECT string_agg(concat_ws(' ', 'reject', r.file_id || ':' || r.line, coalesce(s.state, 'open'), coalesce(s.outcome, r.outcome),
			coalesce(s.kept_file_id, CASE WHEN s.state IS NULL THEN r.kept_file_id END, 0) || ':' || coalesce(s.kept_line, CASE WHEN s.state IS NULL THEN r.kept_line END, 0)),
		E'\n' ORDER BY r.file_id, r.line) FROM (
			SELECT file_id, line FROM etl_rejects WHERE $1 = 0
			UNION SELECT file_id, line FROM etl_reject_states WHERE change = $1
			UNION SELECT j.file_id, j.line FROM audit_chain c JOIN etl_rejects j ON j.file_id = c.file_id WHERE c.number = $1 AND c.kind = 'load'
		) i JOIN etl_rejects r USING (file_id, line)
		LEFT JOIN LATERAL (SELECT * FROM etl_reject_states s WHERE s.file_id = r.file_id AND s.line = r.line ORDER BY change DESC LIMIT 1) s ON true),
	(SELECT string_agg(concat_ws(' ', 'entry', number, kind, entry::json->>'rows', trim_scale((entry::json->>'amount')::numeric)), E'\n' ORDER BY number) FROM audit_chain WHERE number >= $1))`

func (f *fixture) describe(change int) string {
	f.t.Helper()
	return one[string](f, describeSQL, change)
}

// describe is the same text by the model.
func (m *model) describe(change int) string {
	var b strings.Builder
	write := func(words ...any) { fmt.Fprintln(&b, words...) }
	ids := slices.Sorted(maps.Keys(m.stored))
	for _, id := range ids {
		write("row", m.stored[id], place(m.stored[id].place.FileID, m.stored[id].place.Line))
	}
	for _, id := range ids {
		write("key", id, m.stored[id].user, m.stored[id].date)
	}
	m.sums(write, "user", func(r modelRow) string { return fmt.Sprint(r.user) })
	m.sums(write, "month", func(r modelRow) string { return fmt.Sprint(r.user, " ", r.date[:7]+"-01") })
	m.sums(write, "day", func(r modelRow) string { return r.date })
	for _, v := range m.sortedVersions() {
		if change == 0 || v.to == change {
			write("version", v.modelRow, place(v.place.FileID, v.place.Line), v.from, v.to)
		}
	}
	last := int64(0)
	for id := range m.files {
		last = max(last, id)
	}
	ofLoad := change > 0 && m.chain[change-1].kind == "load"
	changed := m.selectedOfAll(func(id reject.ID, r *modelReject) bool {
		return change == 0 || r.change == change || ofLoad && r.change == 0 && id.FileID == last
	})
	for _, id := range changed {
		r := m.rejects[id]
		write("reject", place(id.FileID, id.Line), r.state, r.outcome, place(r.kept.FileID, r.kept.Line))
	}
	for i, e := range m.chain {
		if i+1 >= change {
			write("entry", i+1, e.kind, e.rows, e.amount)
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func place(file, line int64) string { return fmt.Sprint(file, ":", line) }

// sums writes count and sum of the rows of each key.
func (m *model) sums(write func(...any), name string, key func(modelRow) string) {
	count, sum := map[string]int{}, map[string]decimal.Decimal{}
	for _, row := range m.stored {
		k := key(row)
		count[k]++
		sum[k] = sum[k].Add(row.amount)
	}
	for _, k := range slices.Sorted(maps.Keys(count)) {
		write(name, k, count[k], sum[k])
	}
}

func (m *model) sortedVersions() []modelVersion {
	return slices.SortedFunc(slices.Values(m.versions), func(a, b modelVersion) int {
		return cmp.Or(cmp.Compare(a.to, b.to), cmp.Compare(a.id, b.id), byPlace(a.place, b.place))
	})
}

func byPlace(a, b reject.ID) int {
	return cmp.Or(cmp.Compare(a.FileID, b.FileID), cmp.Compare(a.Line, b.Line))
}
