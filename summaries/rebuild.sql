-- name: differing
-- The keys whose stored values differ from a recomputation. Without rows (n is NULL) a key is to be removed.
CREATE TEMPORARY TABLE rebuild_{{rollup}} AS
SELECT *, (row_number() OVER (ORDER BY {{columns}}) - 1) / {{size}} AS part
FROM (
    SELECT {{both}}, t.n, t.amount, t.file_id, r.total_transactions AS stored_n, r.total_amount AS stored_amount
    FROM {{stored}} r
    FULL JOIN (
        {{recomputed}}
    ) t ON {{match}}
    WHERE r.total_transactions IS DISTINCT FROM t.n OR r.total_amount IS DISTINCT FROM t.amount
) d;

-- name: state
-- The state of the summaries, and how many loads since an entry have added rows and replaced none.
SELECT epoch, last, added FROM summary_epoch, (
    SELECT coalesce(max(number), $1) AS last,
           count(*) FILTER (WHERE kind = 'load' AND (entry::json ->> 'rows')::bigint > 0 AND entry::json ->> 'replaced' IS NULL) AS added
    FROM audit_chain WHERE number > $1
) c;

-- name: again
-- The same keys, recomputed: something was committed meanwhile that shows in no stored value.
UPDATE rebuild_{{rollup}} d
SET n = t.n, amount = t.amount, file_id = t.file_id, stored_n = r.total_transactions, stored_amount = r.total_amount
FROM rebuild_{{rollup}} k
LEFT JOIN (
    {{recomputed}}
) t ON {{match_k}}
LEFT JOIN {{rollup}} r ON {{match_r}}
WHERE {{match_d}};

-- name: added
-- What loads have added to the stored values since, they have added to the true ones.
UPDATE rebuild_{{rollup}} d
SET n = coalesce(d.n, 0) + r.total_transactions - coalesce(d.stored_n, 0),
    amount = coalesce(d.amount, 0) + r.total_amount - coalesce(d.stored_amount, 0), file_id = coalesce(d.file_id, {{file}})
FROM {{rollup}} r
WHERE d.part = {{part}} AND {{match}} AND (r.total_transactions, r.total_amount) IS DISTINCT FROM (d.stored_n, d.stored_amount);

-- name: remove
DELETE FROM {{rollup}} r USING rebuild_{{rollup}} d WHERE d.part = {{part}} AND d.n IS NULL AND {{match}};

-- name: store
-- A row that exists keeps the file of its last change.
INSERT INTO {{rollup}} AS r ({{columns}}, total_transactions, total_amount{{file_column}})
SELECT {{columns}}, n, amount{{file_value}} FROM rebuild_{{rollup}} WHERE part = {{part}} AND n IS NOT NULL ORDER BY {{columns}}
ON CONFLICT ({{columns}}) DO UPDATE
SET total_transactions = excluded.total_transactions, total_amount = excluded.total_amount{{stamp}}
WHERE (r.total_transactions, r.total_amount) IS DISTINCT FROM (excluded.total_transactions, excluded.total_amount);

-- name: stamp
, version = r.version + 1, updated_at = greatest(excluded.updated_at, (r.updated_at AT TIME ZONE 'UTC' + interval '1 second') AT TIME ZONE 'UTC')

-- name: touch
-- The rows of a versioned rollup that stand for the changed rows of one without versions.
UPDATE {{rollup}} r SET version = r.version + 1, updated_at = greatest(now(), (r.updated_at AT TIME ZONE 'UTC' + interval '1 second') AT TIME ZONE 'UTC')
FROM (SELECT DISTINCT {{distinct}} FROM rebuild_{{changed}} {{within}}) d WHERE {{match}};

-- name: keys
-- Every id whose key is missing, has no row, or names another place than a row of it.
CREATE TEMPORARY TABLE rebuild_keys AS
SELECT coalesce(k.transaction_id, t.transaction_id) AS transaction_id, t.user_id, t.transaction_date, t.id
FROM (SELECT * FROM transaction_keys WHERE transaction_date >= (SELECT before FROM etl_retired_before)) k
FULL JOIN transactions t ON t.transaction_id COLLATE "C" = k.transaction_id
WHERE (k.user_id, k.transaction_date) IS DISTINCT FROM (t.user_id, t.transaction_date);

-- name: key_rows
-- What is true of each of these ids under the load lock: its key, whether a row is where the
-- key says, and the row without a key, if it still exists and is the only one.
CREATE TEMPORARY TABLE rebuild_key_rows ON COMMIT DROP AS
WITH ids AS MATERIALIZED (
    SELECT DISTINCT transaction_id FROM rebuild_keys
), k AS MATERIALIZED (
    SELECT k.* FROM ids i JOIN transaction_keys k ON k.transaction_id = i.transaction_id
), t AS MATERIALIZED (
    SELECT b.transaction_id, count(*) AS rows, min(t.user_id) AS user_id, min(t.transaction_date) AS transaction_date
    FROM rebuild_keys b
    JOIN transactions t ON t.user_id = b.user_id AND t.transaction_date = b.transaction_date AND t.id = b.id
                       AND t.transaction_id = b.transaction_id
    GROUP BY b.transaction_id
), valid AS MATERIALIZED (
    SELECT DISTINCT k.transaction_id FROM k
    JOIN transactions t ON t.user_id = k.user_id AND t.transaction_date = k.transaction_date AND t.transaction_id = k.transaction_id
)
SELECT i.transaction_id, k.transaction_id IS NOT NULL AS has_key, v.transaction_id IS NOT NULL AS valid,
       coalesce(t.rows, 0) AS rows, t.user_id, t.transaction_date
FROM ids i
LEFT JOIN t ON t.transaction_id = i.transaction_id
LEFT JOIN k ON k.transaction_id = i.transaction_id
LEFT JOIN valid v ON v.transaction_id = i.transaction_id;

-- name: remove_keys
DELETE FROM transaction_keys k USING rebuild_key_rows r
WHERE k.transaction_id = r.transaction_id AND r.has_key AND NOT r.valid AND r.rows = 0;

-- name: store_keys
INSERT INTO transaction_keys AS k (transaction_id, user_id, transaction_date)
SELECT transaction_id, user_id, transaction_date FROM rebuild_key_rows WHERE NOT valid AND rows = 1 ORDER BY transaction_id
ON CONFLICT (transaction_id) DO UPDATE SET user_id = excluded.user_id, transaction_date = excluded.transaction_date;

-- name: second_rows
-- Ids with several rows, of which none can be chosen, or one has the key.
SELECT transaction_id FROM rebuild_key_rows WHERE valid AND rows > 0 OR rows > 1 ORDER BY transaction_id;
