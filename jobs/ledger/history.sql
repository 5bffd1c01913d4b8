-- name: history
-- Every state of a transaction: the stored row, found by its key, and the former ones. A
-- row came with the load of its file, unless it has an origin. States that began and ended
-- in one change were never visible.
WITH key AS (
    SELECT user_id, transaction_date FROM transaction_keys WHERE transaction_id = ?0
), stored AS (
    SELECT t.user_id, t.amount, t.transaction_date, t.file_id, t.line
    FROM key k JOIN transactions t ON t.user_id = k.user_id AND t.transaction_date = k.transaction_date AND t.transaction_id = ?0
), states AS (
    SELECT user_id, amount, transaction_date, file_id, line, from_change, to_change
    FROM transaction_versions WHERE transaction_id = ?0
    UNION ALL
    SELECT t.user_id, t.amount, t.transaction_date, t.file_id, t.line,
           coalesce((SELECT max(o.change) FROM transaction_origins o WHERE o.file_id = t.file_id AND o.line = t.line), c.number, 0), NULL
    FROM stored t LEFT JOIN audit_chain c ON c.kind = 'load' AND c.file_id = t.file_id
)
SELECT s.amount::numeric, s.transaction_date, s.user_id, s.file_id, coalesce(f.path, '') AS path, s.line,
       coalesce(began.at, f.finished_at) AS "from", ended.at AS "to",
       CASE WHEN began.kind = 'load' AND EXISTS (SELECT FROM states e WHERE e.to_change = s.from_change) THEN 'correction'
            ELSE coalesce(began.kind, 'load') END AS cause
FROM states s
LEFT JOIN audit_chain began ON began.number = s.from_change
LEFT JOIN audit_chain ended ON ended.number = s.to_change
LEFT JOIN etl_files f ON f.id = s.file_id
WHERE s.from_change IS DISTINCT FROM s.to_change
ORDER BY s.from_change
LIMIT 1000;

-- name: retired
-- A key whose row is in a retired month, and what became of the row.
WITH key AS (
    SELECT user_id, transaction_date FROM transaction_keys WHERE transaction_id = ?0
)
SELECT to_char(r.month, 'YYYY-MM') AS month, k.user_id, k.transaction_date, c.at, r.totals, coalesce(r.kept_table, '') AS kept_table,
       coalesce(rtrim(r.exported_to, '/') || '/' || r.exported_path, '') AS exported
FROM key k
JOIN etl_retired r ON r.month = date_trunc('month', k.transaction_date)::date
JOIN audit_chain c ON c.number = r.change;
