-- name: retired_rows
-- The sums of each file's rows of each day, in one reading of them.
CREATE TEMPORARY TABLE retired_rows ON COMMIT DROP AS
SELECT transaction_date, file_id, {{sums}}
FROM transactions WHERE transaction_date < {{before}} GROUP BY transaction_date, file_id, {{small}};

-- name: retired_months
CREATE TEMPORARY TABLE retired_months ON COMMIT DROP AS
SELECT date_trunc('month', transaction_date)::date AS month, sum(n)::bigint AS rows, trim_scale(sum(amount)) AS amount, sum(hash) AS keys_hash
FROM retired_rows GROUP BY 1;

-- name: list_retired
SELECT month - DATE '1970-01-01', rows, amount FROM retired_months ORDER BY month;

-- name: retire
INSERT INTO etl_retired (month, change, before, rows, amount, totals, kept_table, keys_hash, months_hash, days_hash, exported_to, exported_path, exported_sha256)
SELECT r.month, $1, $2, r.rows, r.amount, $3, e.kept_table, r.keys_hash,
       CASE $3 WHEN 'kept' THEN m.hash END, CASE $3 WHEN 'kept' THEN d.hash END, nullif(e.exported_to, ''), nullif(e.path, ''), nullif(e.sha256, '')
FROM retired_months r
JOIN unnest($4::date[], $5::text[], $6::text[], $7::text[], $8::text[]) e(month, kept_table, exported_to, path, sha256) ON e.month = r.month
LEFT JOIN ({{user_months}}) m ON m.month = r.month
LEFT JOIN ({{daily_totals}}) d ON d.month = r.month;

-- name: retire_files
INSERT INTO etl_retired_files (month, file_id, rows)
SELECT date_trunc('month', transaction_date)::date, file_id, sum(n)::bigint FROM retired_rows GROUP BY 1, 2 ORDER BY 1, 2;

-- name: drift
-- Whether the sums of a rollup differ from those of the retired rows, by day or by month. They are weighted where it has
-- users: without weights, an amount that moved from one user to another would not change a sum.
SELECT EXISTS (
    SELECT 1 FROM (
        SELECT {{period_of_days}} AS period, sum({{n}}) AS n, sum({{amount}}) AS amount FROM retired_rows GROUP BY 1
    ) r
    FULL JOIN (
        SELECT {{period}} AS period, sum({{weight}} * total_transactions::numeric) AS n, sum({{weight}} * total_amount) AS amount
        FROM {{rollup}} WHERE {{period}} >= $1 AND {{period}} < $2 GROUP BY 1
    ) t ON t.period = r.period
    WHERE (t.n, t.amount) IS DISTINCT FROM (r.n, r.amount)
);

-- name: drift_keys
SELECT EXISTS (
    SELECT 1 FROM retired_months r
    FULL JOIN (
        SELECT date_trunc('month', transaction_date)::date AS month, sum({{hash}}) AS hash
        FROM transaction_keys WHERE transaction_date >= $1 AND transaction_date < $2 GROUP BY 1
    ) t ON t.month = r.month
    WHERE t.hash IS DISTINCT FROM r.keys_hash
);

-- name: drop_users
-- A user whose last transactions are retired has no row.
DELETE FROM user_summary s USING retired_users d WHERE s.user_id = d.user_id AND s.total_transactions = d.n;

-- name: retired_users
CREATE TEMPORARY TABLE retired_users ON COMMIT DROP AS
SELECT user_id, sum(total_transactions)::bigint AS n, sum(total_amount) AS amount
FROM user_months WHERE month >= {{from}} AND month < {{before}} GROUP BY user_id;

-- name: reduce_users
UPDATE user_summary s SET total_transactions = s.total_transactions - d.n, total_amount = s.total_amount - d.amount,
    version = s.version + 1, updated_at = greatest(now(), (s.updated_at AT TIME ZONE 'UTC' + interval '1 second') AT TIME ZONE 'UTC')
FROM retired_users d WHERE s.user_id = d.user_id;

-- name: drop_periods
DELETE FROM {{rollup}} WHERE {{period}} >= $1 AND {{period}} < $2;

-- name: rollup_hash
-- The checksum of each month's rows in a rollup.
SELECT date_trunc('month', {{period}})::date AS month, sum(hashtextextended(concat_ws(' ', {{keys}}, total_transactions, trim_scale(total_amount)), 0)) AS hash
FROM {{rollup}} WHERE {{period}} >= {{from}} AND {{period}} < {{before}} GROUP BY 1
