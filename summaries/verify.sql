-- name: ranges
-- Ranges of months with about $1 rows each, and the number of rows. Only progress depends on daily_totals: together they have
-- every date, whatever it says.
SELECT first, coalesce(lead(first) OVER (ORDER BY first) - 1, 'infinity'), n
FROM (
    SELECT DATE '-infinity' AS first, 0::bigint AS n
    UNION ALL
    SELECT min(month), sum(n)::bigint FROM (
        SELECT month, n, div(sum(n) OVER (ORDER BY month) - n, $1) AS part FROM (
            SELECT date_trunc('month', transaction_date)::date AS month, sum(total_transactions) AS n FROM daily_totals GROUP BY 1
        ) m
    ) p GROUP BY part
) r ORDER BY first;

-- name: sums
-- Count and sum of rows; the same weighted by user; and the sum of the rows' hashes. Converting a float to numeric costs
-- more than all the rest, so amounts are integers of 0.0001 where that is exact ({{small}}): the product with either half
-- of a weight fits in 64 bits. {{small}} is a key of the groups so that it is computed once a row.
count(*)::numeric AS n,
       coalesce(sum({{units}}) FILTER (WHERE {{small}}), 0) * 0.0001 + coalesce(sum(amount::numeric) FILTER (WHERE NOT {{small}}), 0) AS amount,
       sum({{weight}}) AS weighted_n,
       coalesce(sum(({{weight}} >> 32) * {{units}}) FILTER (WHERE {{small}}) * 4294967296
                + sum(({{weight}} & 4294967295) * {{units}}) FILTER (WHERE {{small}}), 0) * 0.0001
           + coalesce(sum({{weight}} * amount::numeric) FILTER (WHERE NOT {{small}}), 0) AS weighted_amount,
       sum({{hash}}) AS hash

-- name: days
-- The reading of the rows for all rollups and keys: the sums of each day, which may have two groups.
SELECT transaction_date, {{sums}}
FROM transactions WHERE transaction_date BETWEEN $2 AND $3
GROUP BY transaction_date, {{small}};

-- name: same_sums
-- Whether the sums of those days are a rollup's, by day, by month, or of all time. NaN would hide every other difference.
SELECT NOT EXISTS (
    SELECT 1 FROM (
        SELECT {{period_of_days}} AS period, sum(n) AS n, sum(amount) AS amount
        FROM unnest($1::date[], $2::numeric[], $3::numeric[]) d(transaction_date, n, amount) GROUP BY 1
    ) t
    FULL JOIN (
        SELECT {{period}} AS period, sum({{weight}} * total_transactions::numeric) AS n, sum({{weight}} * total_amount) AS amount
        FROM {{stored}} r GROUP BY 1
    ) r ON t.period = r.period
    WHERE (t.n, t.amount) IS DISTINCT FROM (r.n, r.amount) OR t.amount IN ('NaN', 'Infinity', '-Infinity')
);

-- name: same_keys
-- Whether the rows and the keys have the same sum of hashes.
SELECT (SELECT sum({{hash}}) FROM transaction_keys WHERE transaction_date >= (SELECT before FROM etl_retired_before)) IS NOT DISTINCT FROM (SELECT sum(n) FROM unnest($2::numeric[]) n);

-- name: rollup
-- Every key whose stored values differ from a recomputation, or that has only one of them.
SELECT concat_ws(' ', {{label}}),
       coalesce(r.total_transactions, 0)::text, coalesce(t.n, 0)::text,
       trim_scale(coalesce(r.total_amount, 0))::text, trim_scale(coalesce(t.amount, 0))::text
FROM {{stored}} r
FULL JOIN (
    {{recomputed}}
) t ON {{match}}
WHERE r.total_transactions IS DISTINCT FROM t.n OR r.total_amount IS DISTINCT FROM t.amount
ORDER BY {{order}};

-- name: keys
-- Every transaction_id whose key is missing, has no row, or names another user or date.
SELECT coalesce(k.transaction_id, t.transaction_id),
       coalesce('user ' || k.user_id || ' on ' || k.transaction_date, 'no key'),
       coalesce('user ' || t.user_id || ' on ' || t.transaction_date, 'no row'),
       to_char(coalesce(t.transaction_date, k.transaction_date), 'YYYY-MM')
FROM (SELECT * FROM transaction_keys WHERE transaction_date >= (SELECT before FROM etl_retired_before)) k
FULL JOIN transactions t ON t.transaction_id COLLATE "C" = k.transaction_id
WHERE (k.user_id, k.transaction_date) IS DISTINCT FROM (t.user_id, t.transaction_date)
ORDER BY 1;

-- name: twice
-- Every transaction_id that is stored more than once.
SELECT transaction_id, 'once', count(*) || ' times'
FROM transactions GROUP BY transaction_id HAVING count(*) > 1 ORDER BY 1;

-- name: files
-- Every file whose ledger entry has another number of rows than its load brought: those in
-- transactions now, those that were replaced or taken out, and those that were retired, less those that came later.
SELECT 'file ' || coalesce(f.id, t.file_id), coalesce(f.loaded, 0)::text, coalesce(t.n, 0)::text
FROM etl_files f
FULL JOIN (
    SELECT file_id, sum(n) AS n FROM (
        SELECT file_id, 1 AS n FROM transactions UNION ALL SELECT file_id, 1 FROM transaction_versions
        UNION ALL SELECT file_id, -1 FROM transaction_origins UNION ALL SELECT file_id, rows FROM etl_retired_files
    ) r GROUP BY file_id
) t ON t.file_id = f.id
WHERE coalesce(f.loaded, 0) <> coalesce(t.n, 0)
ORDER BY coalesce(f.id, t.file_id);

-- name: rejects
-- Every loaded file whose rejects do not have the counts of its ledger entry, unless all are removed as
-- past their retention.
SELECT 'file ' || f.id,
       format('%s duplicate, %s conflict, %s rejected', f.duplicate, f.conflict, f.rejected),
       format('%s duplicate, %s conflict, %s rejected', coalesce(r.duplicate, 0), coalesce(r.conflict, 0), coalesce(r.rejected, 0))
FROM etl_files f
LEFT JOIN (
    SELECT file_id,
           count(*) FILTER (WHERE outcome = 'duplicate') AS duplicate,
           count(*) FILTER (WHERE outcome = 'conflict') AS conflict,
           count(*) FILTER (WHERE outcome = 'rejected') AS rejected
    FROM etl_rejects GROUP BY file_id
) r ON r.file_id = f.id
WHERE f.status = 'loaded'
  AND (NOT EXISTS (SELECT FROM etl_expired_rejects x WHERE x.file_id = f.id) OR r.file_id IS NOT NULL)
  AND (f.duplicate, f.conflict, f.rejected) IS DISTINCT FROM
      (coalesce(r.duplicate, 0), coalesce(r.conflict, 0), coalesce(r.rejected, 0))
ORDER BY f.id;

-- name: retired
-- Every retired month whose keys, or whose rows in a rollup that has kept it, are not what they were.
SELECT r.month::text, concat_ws(' ', k.hash, m.hash, d.hash), concat_ws(' ', r.keys_hash, r.months_hash, r.days_hash)
FROM etl_retired r
LEFT JOIN (
    SELECT date_trunc('month', transaction_date)::date AS month, sum({{hash}}) AS hash
    FROM transaction_keys WHERE transaction_date < (SELECT before FROM etl_retired_before) GROUP BY 1
) k ON k.month = r.month
LEFT JOIN ({{user_months}}) m ON m.month = r.month
LEFT JOIN ({{daily_totals}}) d ON d.month = r.month
WHERE (k.hash, m.hash, d.hash) IS DISTINCT FROM (r.keys_hash, r.months_hash, r.days_hash)
ORDER BY r.month;
