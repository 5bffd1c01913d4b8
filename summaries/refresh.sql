-- name: empty
SELECT NOT EXISTS (SELECT 1 FROM {{rollup}} LIMIT 1);

-- name: drop_key
-- Of an empty table, for its first rows. Readers of it wait until the commit.
ALTER TABLE {{rollup}} DROP CONSTRAINT {{rollup}}_pkey;

-- name: add_key
ALTER TABLE {{rollup}} ADD PRIMARY KEY ({{keys}});

-- name: delta
CREATE TEMPORARY TABLE refresh_delta ON COMMIT DROP AS
SELECT {{keys}}, total_transactions AS n, total_amount AS amount FROM {{rollup}} WHERE false;

-- name: drop_delta
DROP TABLE refresh_delta;

-- name: delete
-- A key whose last transaction is removed has no row.
DELETE FROM {{rollup}} r USING refresh_delta d
WHERE d.n < 0 AND {{match}} AND r.total_transactions + d.n = 0;

-- name: update
-- Fewer transactions, or as many with other amounts: the row exists.
UPDATE {{rollup}} r
SET total_transactions = r.total_transactions + d.n, total_amount = r.total_amount + d.amount{{stamp}}
FROM refresh_delta d
WHERE d.n <= 0 AND {{match}};

-- name: upsert
-- More transactions. In order of the key, as the deltas were written, so that
-- the index is read from left to right.
INSERT INTO {{rollup}} AS r ({{keys}}, total_transactions, total_amount{{file_column}})
SELECT {{keys}}, n, amount{{file_value}} FROM refresh_delta WHERE n > 0
ON CONFLICT ({{keys}}) DO UPDATE
SET total_transactions = r.total_transactions + excluded.total_transactions,
    total_amount = r.total_amount + excluded.total_amount{{stamp}};

-- name: stamp
-- Of a versioned rollup. updated_at increases by a second at least (of two loads, the one
-- that began first may commit last): it is HTTP's Last-Modified, which counts in seconds.
-- AT TIME ZONE: the sum of a timestamptz and an interval is not immutable, as a cluster asks.
, version = r.version + 1, file_id = {{file}}, updated_at = greatest({{now}}, (r.updated_at AT TIME ZONE 'UTC' + interval '1 second') AT TIME ZONE 'UTC')
