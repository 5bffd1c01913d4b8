//go:build unix

package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

const openRejects = `SELECT r.file_id || ':' || r.line FROM etl_rejects r JOIN etl_files f ON f.id = r.file_id AND f.status = 'loaded'
	LEFT JOIN LATERAL (SELECT state, outcome FROM etl_reject_states s WHERE s.file_id = r.file_id AND s.line = r.line ORDER BY change DESC LIMIT 1) s ON true
	WHERE f.source = $1 AND coalesce(s.state, 'open') = 'open' AND coalesce(s.outcome, r.outcome) = $2
	AND NOT EXISTS (SELECT FROM etl_reverts v WHERE v.file_id = f.id) ORDER BY f.path, f.id, r.line`

// named gives files the same names in all databases: path, and how often it was loaded before.
const named = `WITH named AS (SELECT id, source, replace(path, 'DIR', '') || '#' || row_number() OVER (PARTITION BY path ORDER BY id) AS file
	FROM etl_files WHERE status = 'loaded') `

// contents are what the database holds, without numbers and times. LANE stands for the
// beginning of the names of ids and sources.
func contents() map[string]string {
	return map[string]string{
		"transactions": `SELECT concat_ws(' ', transaction_id, user_id, amount, transaction_date, file, line)
			FROM transactions t LEFT JOIN named n ON n.id = t.file_id WHERE transaction_id LIKE 'LANE%'`,
		"transaction_keys": `SELECT concat_ws(' ', transaction_id, user_id, transaction_date) FROM transaction_keys WHERE transaction_id LIKE 'LANE%'`,
		"transaction_versions": `SELECT concat_ws(' ', transaction_id, user_id, amount, transaction_date, n.file, line, c.kind, d.kind, e.file)
			FROM transaction_versions v LEFT JOIN named n ON n.id = v.file_id LEFT JOIN audit_chain c ON c.number = v.from_change
			LEFT JOIN audit_chain d ON d.number = v.to_change LEFT JOIN named e ON e.id = d.file_id WHERE transaction_id LIKE 'LANE%'`,
		"transaction_origins": `SELECT concat_ws(' ', file, line, kind) FROM transaction_origins o LEFT JOIN named n ON n.id = o.file_id
			LEFT JOIN audit_chain c ON c.number = o.change WHERE source LIKE 'LANE%'`,
		"etl_files": `SELECT concat_ws(' ', file, sha256, read, loaded, duplicate, conflict, rejected, replaced, faults, total_amount, first_month, last_month)
			FROM etl_files f JOIN named n USING (id) WHERE f.source LIKE 'LANE%'`,
		"etl_rejects": `SELECT concat_ws(' ', n.file, r.line, r.outcome, faults, transaction_id, k.file, r.kept_line, raw) FROM etl_rejects r
			JOIN named n ON n.id = r.file_id LEFT JOIN named k ON k.id = r.kept_file_id WHERE n.source LIKE 'LANE%'`,
		"etl_reject_states": `SELECT concat_ws(' ', n.file, s.line, c.kind, state, outcome, k.file, kept_line, row_number() OVER (PARTITION BY s.file_id, line ORDER BY change))
			FROM etl_reject_states s LEFT JOIN named n ON n.id = s.file_id LEFT JOIN named k ON k.id = s.kept_file_id
			LEFT JOIN audit_chain c ON c.number = s.change WHERE n.source LIKE 'LANE%'`,
		"etl_open_rejects": `SELECT concat_ws(' ', file, block) FROM etl_open_rejects o LEFT JOIN named n ON n.id = o.file_id WHERE source LIKE 'LANE%'`,
		"etl_reverts":      `SELECT file FROM etl_reverts v LEFT JOIN named n ON n.id = v.file_id WHERE source LIKE 'LANE%'`,
		"audit_chain": `SELECT concat_ws(' ', kind, file, e->>'actor', e->>'reason', e->>'sha256', e->>'read', e->>'loaded', e->>'duplicate', e->>'conflict',
			e->>'rejected', e->>'replaced', e->>'rows', e->>'amount', json_array_length(e->'readings'))
			FROM audit_chain c CROSS JOIN LATERAL (SELECT entry::json AS e) entry LEFT JOIN named n ON n.id = c.file_id WHERE coalesce(source, '') LIKE 'LANE%'`,
	}
}

// contentsOfAll are those that the lanes share.
func contentsOfAll() map[string]string {
	return map[string]string{
		"user_summary":     `SELECT concat_ws(' ', user_id, total_transactions, trim_scale(total_amount)) FROM user_summary`,
		"user_months":      `SELECT concat_ws(' ', user_id, month, total_transactions, trim_scale(total_amount)) FROM user_months`,
		"daily_totals":     `SELECT concat_ws(' ', transaction_date, total_transactions, trim_scale(total_amount)) FROM daily_totals`,
		"etl_retired":      `SELECT concat_ws(' ', month, before, rows, amount, totals, kept_table, keys_hash, months_hash, days_hash) FROM etl_retired`,
		"partitions":       `SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'transactions'::regclass`,
		"etl_conventions":  `SELECT concat_ws(' ', source, convention, value) FROM etl_conventions`,
		"etl_run_status":   `SELECT concat_ws(' ', logical_date, status) FROM etl_run_status WHERE kind = 'backfill'`,
		"tables":           `SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relname ~ '^transactions_'`,
		"etl_files failed": `SELECT DISTINCT concat_ws(' ', replace(path, 'DIR', ''), error_code) FROM etl_files WHERE status = 'failed' AND error_code NOT IN ('given_up')`,
	}
}

// contentOf is what belongs to a lane, by table.
func (w *world) contentOf(ctx context.Context, lane string) (map[string][]string, error) {
	of := map[string][]string{}
	for _, name := range []string{"transactions", "transaction_versions", "etl_files", "etl_rejects", "etl_reject_states", "etl_reverts"} {
		var err error
		if of[name], err = w.content(ctx, contents()[name], lane); err != nil {
			return nil, err
		}
	}
	return of, nil
}

func (w *world) content(ctx context.Context, sql, lane string) ([]string, error) {
	rows, err := w.list(ctx, strings.NewReplacer("DIR", w.dir, "LANE", lane).Replace(named+sql))
	slices.Sort(rows)
	return rows, err
}

// differences names what two databases do not have in common.
func differences(ctx context.Context, a, b *world) (string, error) {
	var out strings.Builder
	for _, tables := range []map[string]string{contents(), contentsOfAll()} {
		for name, sql := range tables {
			left, err := a.content(ctx, sql, "")
			if err != nil {
				return "", err
			}
			right, err := b.content(ctx, sql, "")
			if err != nil {
				return "", err
			}
			compareRows(&out, name, left, right)
		}
	}
	return out.String(), nil
}

// compareRows writes how the rows of a table differ, at most ten of each.
func compareRows(out *strings.Builder, table string, calm, storm []string) {
	if slices.Equal(calm, storm) {
		return
	}
	fmt.Fprintf(out, "\n%s: %d rows, undisturbed %d", table, len(storm), len(calm))
	missing(out, "only undisturbed", calm, storm)
	missing(out, "only disturbed", storm, calm)
}

// missing writes rows of one list that another one does not have.
func missing(out *strings.Builder, name string, in, other []string) {
	has := map[string]int{}
	for _, row := range other {
		has[row]++
	}
	shown := 0
	for _, row := range in {
		if has[row]--; has[row] < 0 && shown < 10 {
			fmt.Fprintf(out, "\n  %s: %s", name, row)
			shown++
		}
	}
}
