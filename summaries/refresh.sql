-- name: empty
SELECT NOT EXISTS (SELECT FROM {{rollup}});

-- name: bare
-- Of an empty table, for its first rows. Readers of it wait until the commit.
ALTER TABLE {{rollup}} DROP CONSTRAINT {{rollup}}_pkey;

-- name: index
ALTER TABLE {{rollup}} ADD PRIMARY KEY ({{keys}});

-- name: delta
CREATE TEMPORARY TABLE refresh_delta ON COMMIT DROP AS
SELECT {{keys}}, total_transactions AS n, total_amount AS amount FROM {{rollup}} WHERE false;

-- name: delete
-- A key whose last transaction goes away has no summary.
DELETE FROM {{rollup}} r USING refresh_delta d
WHERE d.n < 0 AND {{match}} AND r.total_transactions + d.n = 0;

-- name: update
-- Fewer transactions, or as many with other amounts: the row is there already.
-- updated_at moves by a second at least, and never back (of two loads, the one that
-- began first may commit last): it is HTTP's Last-Modified, which counts in seconds.
UPDATE {{rollup}} r
SET total_transactions = r.total_transactions + d.n,
    total_amount = r.total_amount + d.amount,
    version = r.version + 1, file_id = $1, updated_at = greatest(now(), r.updated_at + interval '1 second')
FROM refresh_delta d
WHERE d.n <= 0 AND {{match}};

-- name: upsert
-- More transactions. In order of the key, as the deltas were written, so that
-- the index is gone through from left to right.
INSERT INTO {{rollup}} AS r ({{keys}}, total_transactions, total_amount, file_id)
SELECT {{keys}}, n, amount, $1 FROM refresh_delta WHERE n > 0
ON CONFLICT ({{keys}}) DO UPDATE
SET total_transactions = r.total_transactions + excluded.total_transactions,
    total_amount = r.total_amount + excluded.total_amount,
    version = r.version + 1, file_id = excluded.file_id,
    updated_at = greatest(excluded.updated_at, r.updated_at + interval '1 second');

-- name: update_plain
-- As update, of a rollup that does not say when it moved.
UPDATE {{rollup}} r
SET total_transactions = r.total_transactions + d.n, total_amount = r.total_amount + d.amount
FROM refresh_delta d
WHERE d.n <= 0 AND {{match}};

-- name: upsert_plain
INSERT INTO {{rollup}} AS r ({{keys}}, total_transactions, total_amount)
SELECT {{keys}}, n, amount FROM refresh_delta WHERE n > 0
ON CONFLICT ({{keys}}) DO UPDATE
SET total_transactions = r.total_transactions + excluded.total_transactions,
    total_amount = r.total_amount + excluded.total_amount;
