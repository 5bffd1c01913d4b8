-- name: table
-- The required schema, unchanged.
CREATE TABLE transactions (
    id               SERIAL PRIMARY KEY,
    transaction_id   VARCHAR(50) UNIQUE,
    user_id          INT NOT NULL,
    amount           FLOAT NOT NULL,
    transaction_date DATE NOT NULL
);
CREATE INDEX transactions_user_id ON transactions (user_id);

-- name: drop_indexes
ALTER TABLE transactions DROP CONSTRAINT transactions_pkey;
ALTER TABLE transactions DROP CONSTRAINT transactions_transaction_id_key;
DROP INDEX transactions_user_id;

-- name: add_indexes
ALTER TABLE transactions ADD PRIMARY KEY (id);
ALTER TABLE transactions ADD UNIQUE (transaction_id);
CREATE INDEX transactions_user_id ON transactions (user_id);

-- name: copy
COPY transactions (transaction_id, user_id, amount, transaction_date) FROM STDIN (FORMAT csv)

-- name: stage
-- The tables of the SQL script, which does the complete work of a load.
CREATE TABLE user_summary (user_id INT PRIMARY KEY, total_transactions BIGINT NOT NULL, total_amount NUMERIC NOT NULL);
CREATE TABLE rejects (line BIGINT PRIMARY KEY, transaction_id TEXT, user_id TEXT, amount TEXT, transaction_date TEXT);
CREATE UNLOGGED TABLE stage (line BIGSERIAL, transaction_id TEXT, user_id TEXT, amount TEXT, transaction_date TEXT);

-- name: copy_stage
COPY stage (transaction_id, user_id, amount, transaction_date) FROM STDIN (FORMAT csv, HEADER)

-- name: script
BEGIN;
SET LOCAL work_mem = '128MB';
ANALYZE stage;
CREATE TEMPORARY TABLE clean ON COMMIT DROP AS
SELECT line, transaction_id, user_id::int AS user_id, replace(amount, '$', '')::float AS amount,
       CASE WHEN transaction_date LIKE '____-%' OR transaction_date LIKE '____/%' THEN replace(transaction_date, '/', '-')::date
            WHEN transaction_date LIKE '%/%' THEN to_date(transaction_date, 'MM/DD/YYYY')
            ELSE to_date(transaction_date, 'DD-MM-YYYY') END AS transaction_date
FROM stage WHERE amount <> '' AND transaction_date <> '';
CREATE TEMPORARY TABLE accepted ON COMMIT DROP AS
SELECT DISTINCT ON (transaction_id COLLATE "C") * FROM clean ORDER BY transaction_id COLLATE "C", line;
DELETE FROM accepted a USING transactions t WHERE t.transaction_id = a.transaction_id;
INSERT INTO transactions (transaction_id, user_id, amount, transaction_date)
SELECT transaction_id, user_id, amount, transaction_date FROM accepted;
INSERT INTO user_summary AS s
SELECT user_id, count(*), sum(amount::numeric) FROM accepted GROUP BY user_id
ON CONFLICT (user_id) DO UPDATE
SET total_transactions = s.total_transactions + excluded.total_transactions, total_amount = s.total_amount + excluded.total_amount;
INSERT INTO rejects
SELECT s.line, s.transaction_id, s.user_id, s.amount, s.transaction_date
FROM stage s LEFT JOIN accepted a USING (line) WHERE a.line IS NULL;
COMMIT;
