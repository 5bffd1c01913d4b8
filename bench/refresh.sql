-- name: night
CREATE TABLE night (LIKE transactions INCLUDING DEFAULTS);
CREATE TABLE night_plain (LIKE transactions INCLUDING ALL);
CREATE TABLE night_row_trigger (LIKE transactions INCLUDING ALL);
CREATE TABLE night_statement_trigger (LIKE transactions INCLUDING ALL);

-- name: empty_nights
TRUNCATE night, night_plain, night_row_trigger, night_statement_trigger;

-- name: fill_night
-- About 5 % of the rows may belong to users without a summary.
INSERT INTO night (transaction_id, user_id, amount, transaction_date, file_id, line)
SELECT 'N' || $1::bigint || '-' || i, 1001 + abs(hashint8extended(i, $1)) % ($3::bigint + $3::bigint / 20),
       abs(hashint8extended(i, -$1)) % 1000000 / 100.0, date '2025-02-12', 1000000 + $1, i
FROM generate_series(1, $2::bigint) i;

-- name: store_night
INSERT INTO transactions SELECT * FROM night;

-- name: table
CREATE TABLE {{table}} WITH (fillfactor = 70) AS
SELECT user_id, count(*) AS total_transactions, sum(amount::numeric) AS total_amount, max(file_id) AS file_id
FROM transactions GROUP BY user_id ORDER BY user_id;
ALTER TABLE {{table}} ADD PRIMARY KEY (user_id);

-- name: view
CREATE MATERIALIZED VIEW {{table}} AS
SELECT user_id, count(*) AS total_transactions, sum(amount::numeric) AS total_amount, max(file_id) AS file_id
FROM transactions GROUP BY user_id ORDER BY user_id;
CREATE UNIQUE INDEX ON {{table}} (user_id);

-- name: triggers
CREATE FUNCTION move_by_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO summary_row_trigger AS s VALUES (NEW.user_id, 1, NEW.amount::numeric, NEW.file_id)
    ON CONFLICT (user_id) DO UPDATE
    SET total_transactions = s.total_transactions + 1, total_amount = s.total_amount + excluded.total_amount,
        file_id = excluded.file_id;
    RETURN NULL;
END $$;
CREATE FUNCTION move_by_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO summary_statement_trigger AS s
    SELECT user_id, count(*), sum(amount::numeric), max(file_id) FROM inserted GROUP BY user_id ORDER BY user_id
    ON CONFLICT (user_id) DO UPDATE
    SET total_transactions = s.total_transactions + excluded.total_transactions,
        total_amount = s.total_amount + excluded.total_amount, file_id = excluded.file_id;
    RETURN NULL;
END $$;
CREATE TRIGGER move AFTER INSERT ON night_row_trigger FOR EACH ROW EXECUTE FUNCTION move_by_row();
CREATE TRIGGER move AFTER INSERT ON night_statement_trigger REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT EXECUTE FUNCTION move_by_statement();

-- name: insert
-- Fires the triggers. On night_plain it is their reference.
INSERT INTO {{table}} SELECT * FROM night;

-- name: deltas
INSERT INTO summary_deltas AS s
SELECT user_id, count(*), sum(amount::numeric), max(file_id) FROM night GROUP BY user_id ORDER BY user_id
ON CONFLICT (user_id) DO UPDATE
SET total_transactions = s.total_transactions + excluded.total_transactions,
    total_amount = s.total_amount + excluded.total_amount, file_id = excluded.file_id;

-- name: swap
-- DROP TABLE, which blocks readers, comes as late as possible.
CREATE TABLE summary_swapped_in WITH (fillfactor = 70) AS
SELECT user_id, count(*) AS total_transactions, sum(amount::numeric) AS total_amount, max(file_id) AS file_id
FROM transactions GROUP BY user_id ORDER BY user_id;
ALTER TABLE summary_swapped_in ADD PRIMARY KEY (user_id);
DROP TABLE summary_swap;
ALTER TABLE summary_swapped_in RENAME TO summary_swap;
ALTER INDEX summary_swapped_in_pkey RENAME TO summary_swap_pkey;

-- name: upsert_all
INSERT INTO summary_upsert_all AS s
SELECT user_id, count(*), sum(amount::numeric), max(file_id) FROM transactions GROUP BY user_id ORDER BY user_id
ON CONFLICT (user_id) DO UPDATE
SET total_transactions = excluded.total_transactions, total_amount = excluded.total_amount, file_id = excluded.file_id;

-- name: upsert_changed
-- Unchanged rows are not written. ON CONFLICT still locks them, which modifies their
-- pages and writes WAL.
INSERT INTO summary_upsert_changed AS s
SELECT user_id, count(*), sum(amount::numeric), max(file_id) FROM transactions GROUP BY user_id ORDER BY user_id
ON CONFLICT (user_id) DO UPDATE
SET total_transactions = excluded.total_transactions, total_amount = excluded.total_amount, file_id = excluded.file_id
WHERE (s.total_transactions, s.total_amount, s.file_id)
      IS DISTINCT FROM (excluded.total_transactions, excluded.total_amount, excluded.file_id);

-- name: view_refresh
REFRESH MATERIALIZED VIEW summary_view;

-- name: view_concurrently
REFRESH MATERIALIZED VIEW CONCURRENTLY summary_view_concurrently;

-- name: digest
-- Equal digests mean that every user has the same count and sum.
SELECT count(*) || ' users, ' || sum(total_transactions) || ' rows, ' || trim_scale(sum(total_amount)) || ', ' ||
       sum(hashtextextended(user_id || ' ' || total_transactions || ' ' || trim_scale(total_amount), 0)::numeric)
FROM {{table}};

-- name: recomputed
(SELECT user_id, count(*) AS total_transactions, sum(amount::numeric) AS total_amount FROM transactions GROUP BY user_id) r
