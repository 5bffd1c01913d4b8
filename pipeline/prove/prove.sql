-- name: rows
-- The user's rows: each with the change that brought it, and the one that read its values.
WITH t AS (SELECT * FROM transactions WHERE user_id = $1)
SELECT t.transaction_id, t.amount::numeric, t.transaction_date, t.file_id, t.line, c.number,
       coalesce((SELECT max(o.change) FROM transaction_origins o WHERE o.file_id = t.file_id AND o.line = t.line), c.number),
       coalesce((SELECT max(s.change) FROM etl_reject_states s WHERE s.file_id = t.file_id AND s.line = t.line AND s.outcome = 'loaded'), c.number)
FROM t JOIN audit_chain c ON c.kind = 'load' AND c.file_id = t.file_id
ORDER BY t.transaction_date, t.id;

-- name: summary
SELECT total_transactions, total_amount FROM user_summary WHERE user_id = $1;

-- name: retired
-- Whether the total has a share of retired months, or files have rows of these: their lines
-- cannot be told from rows that are missing.
SELECT EXISTS (SELECT 1 FROM user_months WHERE user_id = $1 AND month < (SELECT before FROM etl_retired_before))
    OR EXISTS (SELECT 1 FROM etl_retired_files WHERE file_id = ANY($2::bigint[]));

-- name: uncounted
-- Rows of files that may be valid rows of the user, and are not stored as such: the ids are
-- another user's by now, or the rows could not be loaded for a reason outside the file.
WITH lost AS (
    SELECT file_id, line, transaction_id, false AS uncountable FROM transaction_versions
    WHERE user_id = $1 AND file_id = ANY($2::bigint[])
    UNION ALL
    SELECT file_id, line, transaction_id, faults && '{orphan_key,other_currency}' FROM etl_rejects
    WHERE file_id = ANY($2::bigint[]) AND strpos(raw, $1::int::text) > 0
      AND (outcome = 'conflict' OR faults && '{orphan_key,other_currency}')
), owned AS MATERIALIZED (
    SELECT transaction_id FROM transaction_keys WHERE user_id = $1 AND transaction_id IN (SELECT transaction_id FROM lost)
)
SELECT DISTINCT file_id, line FROM lost LEFT JOIN owned ON owned.transaction_id = lost.transaction_id
WHERE uncountable OR owned.transaction_id IS NULL
ORDER BY 1, 2;

-- name: chain_size
-- How many links there are from entry $1 to the head, and the bytes of some entries' texts.
SELECT (SELECT max(number) FROM audit_chain) - $1 + 1,
       (SELECT coalesce(sum(octet_length(entry)), 0)::bigint FROM audit_chain WHERE number = ANY($2::bigint[]));

-- name: links
-- Only the texts that the receipt has leave the server. A join, since a statement that is planned
-- for any array searches it from end to end for each entry.
SELECT c.number, sha256(convert_to(c.entry, 'UTF8')), c.hash, CASE WHEN named.number IS NOT NULL THEN c.entry END
FROM audit_chain c LEFT JOIN unnest($2::bigint[]) named(number) ON named.number = c.number
WHERE c.number >= $1 ORDER BY c.number;

-- name: before
SELECT hash FROM audit_chain WHERE number = $1 - 1;
