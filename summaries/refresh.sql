-- name: delete
-- A key whose last transaction goes away has no summary.
WITH delta AS (
    SELECT {{key}}, sum(sign) AS n FROM {{changes}} GROUP BY {{key}} HAVING sum(sign) < 0
)
DELETE FROM {{rollup}} r USING delta d
WHERE r.{{key}} = d.{{key}} AND r.total_transactions + d.n = 0;

-- name: update
-- Fewer transactions, or as many with other amounts: the row is there already.
WITH delta AS (
    SELECT {{key}}, sum(sign) AS n, sum(sign * amount::numeric) AS amount
    FROM {{changes}} GROUP BY {{key}} HAVING sum(sign) <= 0
)
UPDATE {{rollup}} r
SET total_transactions = r.total_transactions + d.n,
    total_amount = r.total_amount + d.amount,
    version = r.version + 1, file_id = $1, updated_at = now()
FROM delta d
WHERE r.{{key}} = d.{{key}};

-- name: upsert
-- More transactions. In order of the key, so that two loads could never wait
-- for each other's rows crosswise.
INSERT INTO {{rollup}} AS r ({{key}}, total_transactions, total_amount, file_id)
SELECT {{key}}, sum(sign), sum(sign * amount::numeric), $1
FROM {{changes}} GROUP BY {{key}} HAVING sum(sign) > 0 ORDER BY {{key}}
ON CONFLICT ({{key}}) DO UPDATE
SET total_transactions = r.total_transactions + excluded.total_transactions,
    total_amount = r.total_amount + excluded.total_amount,
    version = r.version + 1, file_id = excluded.file_id, updated_at = excluded.updated_at;
