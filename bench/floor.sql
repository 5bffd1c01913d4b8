-- name: rows
-- The minimum that PostgreSQL must write for a night: its rows, keys and rollups in Tally's
-- tables, from tables that hold what is to be written. Nothing is read, cleaned, looked up
-- or recorded.
CREATE UNLOGGED TABLE floor_rows (transaction_id TEXT COLLATE "C", user_id INT, amount FLOAT, transaction_date DATE);

-- name: copy
COPY floor_rows FROM STDIN (FORMAT csv)

-- name: deltas
-- Without the ids that are stored already. What is written is in the order of its index.
DELETE FROM floor_rows f USING transaction_keys k WHERE k.transaction_id = f.transaction_id;
CREATE UNLOGGED TABLE floor_transactions AS
SELECT (SELECT last_value FROM transactions_id_seq) + row_number() OVER w AS id, transaction_id, user_id, amount, transaction_date,
       1::bigint AS file_id, row_number() OVER w AS line
FROM floor_rows WINDOW w AS (ORDER BY user_id, transaction_date) ORDER BY id;
CREATE UNLOGGED TABLE floor_keys AS SELECT transaction_id, user_id, transaction_date FROM floor_rows ORDER BY transaction_id;
CREATE UNLOGGED TABLE floor_users AS
SELECT user_id, count(*) AS n, sum(amount::numeric) AS amount FROM floor_rows GROUP BY user_id ORDER BY user_id;
CREATE UNLOGGED TABLE floor_months AS
SELECT user_id, date_trunc('month', transaction_date)::date AS month, count(*) AS n, sum(amount::numeric) AS amount
FROM floor_rows GROUP BY 1, 2 ORDER BY 1, 2;
CREATE UNLOGGED TABLE floor_days AS
SELECT transaction_date, count(*) AS n, sum(amount::numeric) AS amount FROM floor_rows GROUP BY 1 ORDER BY 1;
SELECT setval('transactions_id_seq', (SELECT max(id) FROM floor_transactions));
ANALYZE floor_transactions, floor_keys, floor_users, floor_months, floor_days;

-- name: write
BEGIN;
SET LOCAL tally.writer = 'tally'; -- the guards refuse other writers
INSERT INTO transactions SELECT * FROM floor_transactions;
INSERT INTO transaction_keys SELECT * FROM floor_keys;
INSERT INTO user_summary AS r (user_id, total_transactions, total_amount, file_id) SELECT user_id, n, amount, 1 FROM floor_users
ON CONFLICT (user_id) DO UPDATE SET total_transactions = r.total_transactions + excluded.total_transactions,
    total_amount = r.total_amount + excluded.total_amount, version = r.version + 1, file_id = 1, updated_at = now();
INSERT INTO user_months AS r (user_id, month, total_transactions, total_amount) SELECT * FROM floor_months
ON CONFLICT (user_id, month) DO UPDATE SET total_transactions = r.total_transactions + excluded.total_transactions,
    total_amount = r.total_amount + excluded.total_amount;
INSERT INTO daily_totals AS r (transaction_date, total_transactions, total_amount, file_id) SELECT transaction_date, n, amount, 1 FROM floor_days
ON CONFLICT (transaction_date) DO UPDATE SET total_transactions = r.total_transactions + excluded.total_transactions,
    total_amount = r.total_amount + excluded.total_amount, version = r.version + 1, file_id = 1, updated_at = now();
COMMIT;

-- name: end
DROP TABLE floor_rows, floor_transactions, floor_keys, floor_users, floor_months, floor_days;
