-- name: partitions
-- Each month with its partition. Of a retired month, what it had. An export has a month if it began
-- after the last change of it: a load that was under way then changes it with an earlier time, and a
-- file that is later.
SELECT to_char(month, 'YYYY-MM') AS month, coalesce(r.rows, d.rows) AS rows, coalesce(r.amount, d.amount) AS total_amount,
       coalesce(tally_table_size(p.oid), 0) AS bytes, d.changed_at,
       CASE WHEN r.month IS NULL THEN 'stored' ELSE 'retired' END AS state, coalesce(r.totals, '') AS totals, coalesce(r.kept_table, '') AS kept_table,
       coalesce(r.exported_path IS NOT NULL OR d.changed_at < e.started_at AND d.file_id <= e.last_file_id, false) AS exported,
       r.month IS NULL AND d.rows < 100 AS sparse
FROM (
    SELECT date_trunc('month', transaction_date)::date AS month, sum(total_transactions)::bigint AS rows, sum(total_amount) AS amount,
           max(updated_at) AS changed_at, max(file_id) AS file_id
    FROM daily_totals GROUP BY 1
) d
FULL JOIN etl_retired r USING (month)
LEFT JOIN pg_class p ON p.oid = to_regclass(tally_partition_name(month)) AND (p.relispartition OR p.relname = r.kept_table)
LEFT JOIN LATERAL (SELECT * FROM etl_exports WHERE status = 'succeeded' ORDER BY id DESC LIMIT 1) e ON true
ORDER BY month;
