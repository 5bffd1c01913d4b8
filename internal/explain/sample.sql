-- Reads a few rows of each table by their keys. The first keys are taken as they are stored:
-- in any order of the ids, and without the key table's index, which may be missing. A user
-- without a transaction in the month that a rollup counts is a fault that tally verify reports.
SELECT u.user_id IS NULL AS empty,
       coalesce(u.user_id, 1) AS user_id,
       coalesce(t.transaction_date, m.month, '2000-01-01') AS date,
       coalesce(k.ids, '{}') AS transaction_ids,
       coalesce(k.users, '{}') AS user_ids,
       coalesce(k.dates, '{}') AS dates,
       coalesce(f.id, 0) AS file_id,
       coalesce(f.run_id, 0) AS run_id,
       coalesce(f.sha256, '') AS sha256
FROM (
    SELECT array_agg(transaction_id::text ORDER BY transaction_id) AS ids,
           array_agg(user_id ORDER BY transaction_id) AS users,
           array_agg(transaction_date ORDER BY transaction_id) AS dates
    FROM (SELECT transaction_id, user_id, transaction_date FROM transaction_keys LIMIT 10) first
) k
LEFT JOIN (
    SELECT id, run_id, sha256 FROM etl_files WHERE status = 'loaded' ORDER BY id DESC LIMIT 1
) f ON true
LEFT JOIN (
    SELECT user_id FROM user_summary
    WHERE user_id >= (SELECT (min(user_id)::bigint + max(user_id)) / 2 FROM user_summary)
    ORDER BY user_id LIMIT 1
) u ON true
LEFT JOIN LATERAL (
    SELECT month FROM user_months WHERE user_id = u.user_id ORDER BY month
    OFFSET (SELECT count(*) / 2 FROM user_months WHERE user_id = u.user_id) LIMIT 1
) m ON true
LEFT JOIN LATERAL (
    SELECT transaction_date FROM transactions
    WHERE user_id = u.user_id AND transaction_date >= m.month AND transaction_date < m.month + interval '1 month'
    ORDER BY transaction_date, id LIMIT 1
) t ON true;
