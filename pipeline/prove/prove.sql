-- name: rows
-- The user's rows: each with the change that brought it, and the one that read its values.
SELECT t.transaction_id, t.amount::numeric, t.transaction_date, t.file_id, t.line, c.number,
       coalesce((SELECT max(o.change) FROM transaction_origins o WHERE o.file_id = t.file_id AND o.line = t.line), c.number),
       coalesce((SELECT max(s.change) FROM etl_reject_states s WHERE s.file_id = t.file_id AND s.line = t.line AND s.outcome = 'loaded'), c.number)
FROM transactions t JOIN audit_chain c ON c.kind = 'load' AND c.file_id = t.file_id
WHERE t.user_id = $1
ORDER BY t.transaction_date, t.id;

-- name: summary
SELECT total_transactions, total_amount FROM user_summary WHERE user_id = $1;

-- name: retired
-- Whether the total has a share of retired months, or files have rows of these: their lines
-- cannot be told from rows that are missing.
SELECT EXISTS (SELECT FROM user_months WHERE user_id = $1 AND month < (SELECT before FROM etl_retired_before))
    OR EXISTS (SELECT FROM etl_retired_files WHERE file_id = ANY($2::bigint[]));

-- name: uncounted
-- Rows of files that may be valid rows of the user, and are not stored as such: the ids are
-- another user's by now, or the rows could not be loaded for a reason outside the file.
SELECT v.file_id, v.line FROM transaction_versions v
LEFT JOIN transaction_keys k ON k.transaction_id = v.transaction_id
WHERE v.user_id = $1 AND v.file_id = ANY($2::bigint[]) AND k.user_id IS DISTINCT FROM $1
UNION
SELECT j.file_id, j.line FROM etl_rejects j
LEFT JOIN transaction_keys k ON k.transaction_id = j.transaction_id
WHERE j.file_id = ANY($2::bigint[]) AND strpos(j.raw, $1::int::text) > 0
  AND (j.outcome = 'conflict' AND k.user_id IS DISTINCT FROM $1::int OR j.faults && '{orphan_key,other_currency}')
ORDER BY 1, 2;

-- name: links
SELECT number, entry, hash FROM audit_chain WHERE number >= $1 ORDER BY number;

-- name: before
SELECT hash FROM audit_chain WHERE number = $1 - 1;
