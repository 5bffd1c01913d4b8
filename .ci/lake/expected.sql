-- Counts and sums of each table and month in PostgreSQL, a line of JSON each.
WITH t AS (
    SELECT 1 AS n, 'transactions' AS "table", date_trunc('month', transaction_date)::date AS month, count(*) AS rows,
           sum(amount::numeric)::numeric(38, 4) AS sum, min(amount::numeric)::numeric(38, 4) AS minimum, max(amount::numeric)::numeric(38, 4) AS maximum,
           min(transaction_id COLLATE "C") || max(transaction_id COLLATE "C") || count(*) AS key
    FROM transactions GROUP BY 3
    UNION ALL
    SELECT 2, 'user_months', month, sum(total_transactions)::bigint, sum(total_amount), min(total_amount), max(total_amount), count(*)::text
    FROM user_months GROUP BY 3
    UNION ALL
    SELECT 3, 'daily_totals', date_trunc('month', transaction_date)::date, sum(total_transactions)::bigint, sum(total_amount), min(total_amount), max(total_amount), count(*)::text
    FROM daily_totals GROUP BY 3
    UNION ALL
    SELECT 4, 'user_summary', NULL, sum(total_transactions)::bigint, sum(total_amount), min(total_amount), max(total_amount), count(*)::text
    FROM user_summary
)
SELECT json_build_object('table', "table", 'month', month, 'rows', rows, 'sum', sum::numeric(38, 4)::text,
                         'minimum', minimum::numeric(38, 4)::text, 'maximum', maximum::numeric(38, 4)::text, 'key', key)
FROM t ORDER BY n, month;
