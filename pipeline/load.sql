-- name: stage
-- Everything the file says, in this session alone: temporary, so neither logged
-- nor visible, and gone with the transaction.
CREATE TEMPORARY TABLE load_stage (
    line             BIGINT NOT NULL,
    transaction_id   TEXT COLLATE "C",
    user_id          INT,
    amount           FLOAT,
    transaction_date DATE,
    ambiguous        INT  NOT NULL,
    faults           INT  NOT NULL,
    raw              TEXT NOT NULL,
    raw_bytes        BYTEA,
    raw_length       BIGINT NOT NULL
) ON COMMIT DROP;

-- name: refuse_ambiguous
UPDATE load_stage SET faults = faults | $1 WHERE ambiguous = $2;

-- name: count
SELECT count(*), count(*) FILTER (WHERE faults <> 0) FROM load_stage;

-- name: faults
-- Rejected rows by their first fault: the lowest bit.
SELECT faults & -faults, count(*) FROM load_stage WHERE faults <> 0 GROUP BY 1;

-- name: winners
-- The first valid row of each transaction_id, beside the row that is stored
-- under it already, found through its key.
CREATE TEMPORARY TABLE load_winners ON COMMIT DROP AS
SELECT w.*, k.transaction_id IS NOT NULL AS known,
       s.user_id AS s_user_id, s.transaction_date AS s_date, s.amount AS s_amount,
       s.id AS s_id, s.file_id AS s_file_id, s.line AS s_line,
       CASE
           WHEN k.transaction_id IS NULL THEN 'new'
           WHEN (w.user_id, w.transaction_date, w.amount) IS NOT DISTINCT FROM (s.user_id, s.transaction_date, s.amount) THEN 'same'
           WHEN $1 THEN 'replace'
           ELSE 'differs'
       END AS action
FROM (
    SELECT DISTINCT ON (transaction_id) transaction_id, line, user_id, amount, transaction_date
    FROM load_stage WHERE faults = 0 ORDER BY transaction_id, line
) w
LEFT JOIN transaction_keys k ON k.transaction_id = w.transaction_id
LEFT JOIN transactions s ON s.user_id = k.user_id AND s.transaction_date = k.transaction_date
                        AND s.transaction_id = k.transaction_id;

-- name: orphan_keys
-- A key without its row: somebody wrote by hand. Nothing can be compared then.
SELECT transaction_id FROM load_winners WHERE known AND s_id IS NULL ORDER BY transaction_id LIMIT 1;

-- name: partitions
SELECT tally_ensure_partition(month)
FROM (
    SELECT DISTINCT date_trunc('month', transaction_date)::date AS month
    FROM load_winners WHERE action IN ('new', 'replace') ORDER BY 1
) m;

-- name: keys
INSERT INTO transaction_keys (transaction_id, user_id, transaction_date)
SELECT transaction_id, user_id, transaction_date FROM load_winners
WHERE action = 'new' ORDER BY transaction_id;

-- name: keep_version
INSERT INTO transaction_versions (transaction_id, user_id, amount, transaction_date, file_id, line, replaced_by_file)
SELECT transaction_id, s_user_id, s_amount, s_date, s_file_id, s_line, $1
FROM load_winners WHERE action = 'replace';

-- name: take_out
DELETE FROM transactions t USING load_winners w
WHERE w.action = 'replace'
  AND t.user_id = w.s_user_id AND t.transaction_date = w.s_date AND t.id = w.s_id;

-- name: move_keys
UPDATE transaction_keys k SET user_id = w.user_id, transaction_date = w.transaction_date
FROM load_winners w
WHERE w.action = 'replace' AND k.transaction_id = w.transaction_id;

-- name: rows
-- In the order of the partitions and of their primary keys, so that each index
-- is written from left to right.
INSERT INTO transactions (transaction_id, user_id, amount, transaction_date, file_id, line)
SELECT transaction_id, user_id, amount, transaction_date, $1, line
FROM load_winners WHERE action IN ('new', 'replace')
ORDER BY date_trunc('month', transaction_date), user_id, transaction_date, line;

-- name: changes
(SELECT user_id, transaction_date, amount, 1 AS sign
 FROM load_winners WHERE action IN ('new', 'replace')
 UNION ALL
 SELECT s_user_id, s_date, s_amount, -1 FROM load_winners WHERE action = 'replace') changes

-- name: loaded
SELECT count(*), count(*) FILTER (WHERE action = 'replace'), count(DISTINCT user_id),
       trim_scale(coalesce(sum(amount::numeric), 0))::text
FROM load_winners WHERE action IN ('new', 'replace');

-- name: keep_rejected
INSERT INTO etl_rejects (file_id, line, outcome, faults, transaction_id, raw, raw_bytes, raw_length)
SELECT $1, line, 'rejected',
       ARRAY(SELECT name FROM unnest($2::text[]) WITH ORDINALITY f(name, bit) WHERE s.faults & (1 << bit::int) <> 0 ORDER BY bit),
       transaction_id, raw, raw_bytes, raw_length
FROM load_stage s WHERE faults <> 0 ORDER BY line LIMIT $3;

-- name: keep_repeated
-- Valid rows that were not loaded, held against the row that was kept: the
-- stored one where there is one and it stays, else the file's first.
WITH repeated AS (
    SELECT s.line, s.transaction_id, s.raw, s.raw_bytes, s.raw_length,
           (s.user_id, s.transaction_date, s.amount) IS NOT DISTINCT FROM
               CASE WHEN stays THEN ROW(w.s_user_id, w.s_date, w.s_amount) ELSE ROW(w.user_id, w.transaction_date, w.amount) END AS same,
           CASE WHEN stays THEN w.s_file_id ELSE $1 END AS kept_file_id,
           CASE WHEN stays THEN w.s_line ELSE w.line END AS kept_line
    FROM load_stage s
    JOIN (SELECT *, action IN ('same', 'differs') AS stays FROM load_winners) w
         ON w.transaction_id = s.transaction_id
    WHERE s.faults = 0 AND (w.stays OR s.line <> w.line)
)
INSERT INTO etl_rejects (file_id, line, outcome, transaction_id, kept_file_id, kept_line, raw, raw_bytes, raw_length)
SELECT $1, line, CASE WHEN same THEN 'duplicate' ELSE 'conflict' END,
       transaction_id, kept_file_id, kept_line, raw, raw_bytes, raw_length
FROM repeated ORDER BY line;

-- name: repeated
SELECT count(*) FILTER (WHERE outcome = 'duplicate'), count(*) FILTER (WHERE outcome = 'conflict')
FROM etl_rejects WHERE file_id = $1;

-- name: file
INSERT INTO etl_files (id, run_id, attempt, source, path, sha256, bytes, status, error_code, error,
    read, loaded, duplicate, conflict, rejected, replaced, faults, total_amount, rules, code_version, started_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21);

-- name: known_content
SELECT id, path FROM etl_files WHERE sha256 = $1 AND status = 'loaded';

-- name: fence
-- Whether this attempt is still the run's last. The lock keeps a new attempt
-- from starting between this look and the commit.
SELECT (SELECT max(attempt) FROM etl_attempts a WHERE a.run_id = r.id)
FROM etl_runs r WHERE r.id = $1 FOR SHARE OF r;
