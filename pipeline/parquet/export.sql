-- name: lock
-- Until the transaction ends.
SELECT pg_try_advisory_xact_lock($1, hashtext($2));

-- name: snapshot
-- For the second connection.
SELECT pg_export_snapshot();

-- name: months
-- The state of each month: its days, and the file and time of the last change of each. Every
-- load that changes a row of a day changes it here, in the same commit. The time is included
-- since a database that is restored from a backup assigns versions and file ids again. Of a retired
-- month only the rollups are left.
SELECT date_trunc('month', transaction_date)::date AS month,
       sum(total_transactions)::bigint,
       string_agg(format('%s:%s:%s:%s', transaction_date - DATE '1970-01-01', version, file_id, extract(epoch FROM updated_at)), ',' ORDER BY transaction_date),
       bool_and(transaction_date < (SELECT before FROM etl_retired_before))
FROM daily_totals GROUP BY 1 ORDER BY 1;

-- name: state
-- The epoch counts the commits that have changed data; summaries is the last that changed user_summary.
SELECT s.epoch, d.id::text, (SELECT coalesce(max(id), 0) FROM etl_files WHERE status = 'loaded'),
       coalesce((SELECT format('%s:%s', number, encode(hash, 'hex')) FROM audit_chain ORDER BY number DESC LIMIT 1), ''),
       u.users, format('%s:%s', s.summaries, extract(epoch FROM u.updated_at)),
       (SELECT coalesce(max(before)::text, '') FROM etl_retired), (SELECT coalesce(sum(amount), 0) FROM etl_retired WHERE totals = 'kept')
FROM summary_epoch s, lake d, (SELECT count(*) AS users, max(updated_at) AS updated_at FROM user_summary) u;

-- name: transactions
-- In the order of the primary key, so that its index can be used.
SELECT id, transaction_id, user_id, amount, transaction_date, file_id, line FROM transactions
WHERE transaction_date >= $1 AND transaction_date < $2
ORDER BY user_id, transaction_date, id;

-- name: rollup
SELECT {{columns}} FROM {{rollup}} ORDER BY {{keys}};

-- name: rollup_by_month
-- Several months in one scan of the primary key, since the table is not partitioned: sorting
-- its rows by month took longer than all the rest. The first column, the month, selects the file.
SELECT month, {{columns}} FROM {{rollup}}
WHERE month = ANY($1)
ORDER BY {{keys}};

-- name: rollup_by_day
SELECT m.month, {{columns}}
FROM unnest($1::date[]) m(month)
JOIN {{rollup}} d ON d.transaction_date >= m.month AND d.transaction_date < m.month + interval '1 month'
ORDER BY {{keys}};
