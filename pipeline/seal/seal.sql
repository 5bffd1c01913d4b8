-- name: head
SELECT number, at, hash FROM audit_chain ORDER BY number DESC LIMIT 1;

-- name: last
-- The head, and the time of the next entry: later than the head's whatever the clock says.
SELECT coalesce(c.number, 0), coalesce(c.hash, decode(repeat('00', 32), 'hex')),
       greatest(clock_timestamp(), c.at + interval '1 microsecond')
FROM (SELECT) this LEFT JOIN (SELECT number, at, hash FROM audit_chain ORDER BY number DESC LIMIT 1) c ON true;

-- name: append
INSERT INTO audit_chain (number, at, kind, file_id, entry, hash) VALUES ($1, $2, $3, $4, $5, $6);

-- name: entries
-- Each entry, and the file that it says was loaded.
SELECT c.number, c.at, c.kind, coalesce(c.file_id, 0), c.entry, c.hash, f.id IS NOT NULL, coalesce(f.path, ''), coalesce(encode(f.sha256, 'hex'), ''),
       coalesce(f.read, 0), coalesce(f.loaded, 0), coalesce(f.duplicate, 0), coalesce(f.conflict, 0), coalesce(f.rejected, 0), coalesce(f.replaced, 0),
       coalesce(f.total_amount, 0)
FROM audit_chain c LEFT JOIN etl_files f ON f.id = c.file_id AND f.status = 'loaded' AND c.kind = 'load'
ORDER BY c.number;

-- name: unsealed
-- Loaded files without an entry: the end of the chain was cut off.
SELECT id, path FROM etl_files f
WHERE status = 'loaded' AND NOT EXISTS (SELECT FROM audit_chain c WHERE c.kind = 'load' AND c.file_id = f.id)
ORDER BY id LIMIT 1;

-- name: states
-- What became of rejects, in the order in which the changes wrote it.
SELECT file_id, line, change, state, outcome, kept_file_id, kept_line FROM etl_reject_states ORDER BY change, file_id, line;

-- name: reverts
SELECT change, array_agg(file_id ORDER BY file_id) FROM etl_reverts GROUP BY change;

-- name: foreign
SELECT v.from_change FROM transaction_versions v
JOIN audit_chain c ON c.number = v.from_change AND c.kind = 'load' AND c.file_id <> v.file_id
ORDER BY v.from_change LIMIT 1;

-- name: changes
-- The rows that each change brought and ended: those with an origin, which are stored or
-- were, and former ones.
SELECT change, sum(origins)::bigint, sum(began)::bigint, sum(ended)::bigint, sum(began_amount), sum(ended_amount)
FROM (
    SELECT change, 1 AS origins, 0 AS began, 0 AS ended, 0::numeric AS began_amount, 0::numeric AS ended_amount FROM transaction_origins
    UNION ALL
    SELECT from_change, 0, 1, 0, amount::numeric, 0 FROM transaction_versions
    UNION ALL
    SELECT to_change, 0, 0, 1, 0, amount::numeric FROM transaction_versions
    UNION ALL
    SELECT o.change, 0, 1, 0, t.amount::numeric, 0
    FROM (SELECT file_id, line, max(change) AS change FROM transaction_origins GROUP BY file_id, line) o
    JOIN transactions t ON t.file_id = o.file_id AND t.line = o.line
) c
GROUP BY change;

-- name: unsealed_month
SELECT to_char(month, 'YYYY-MM') FROM etl_retired r
WHERE NOT EXISTS (SELECT FROM audit_chain c WHERE c.kind = 'retire' AND c.number = r.change) ORDER BY month LIMIT 1;

-- name: totals
-- Of the rows in transactions: retired months whose totals were kept have none there.
SELECT coalesce(sum(total_transactions), 0), coalesce(sum(total_amount), 0) FROM daily_totals
WHERE transaction_date >= (SELECT before FROM etl_retired_before);

-- name: rejects
-- The records about rows of a file that were not loaded, in the order in which a load
-- writes them: those rejected for what they say, then those rejected for what is stored.
COPY (
    SELECT file_id, line, outcome, faults, transaction_id, kept_file_id, kept_line, raw, raw_bytes, raw_length, hints
    FROM etl_rejects WHERE file_id = {{file}} ORDER BY outcome <> 'rejected' OR faults && '{orphan_key,retired_month}', line
) TO STDOUT (FORMAT binary);

-- name: retired
-- The months that an entry has retired, with the rows of each file.
SELECT json_build_object('before', to_char(max(r.before), 'YYYY-MM-DD'), 'totals', max(r.totals), 'months', json_agg(json_build_object(
    'month', to_char(r.month, 'YYYY-MM'), 'rows', r.rows, 'amount', trim_scale(r.amount)::text, 'kept_table', r.kept_table,
    'keys_hash', r.keys_hash::text, 'months_hash', r.months_hash::text, 'days_hash', r.days_hash::text,
    'exported_to', r.exported_to, 'exported_path', r.exported_path, 'exported_sha256', r.exported_sha256,
    'files', (SELECT json_object_agg(f.file_id, f.rows ORDER BY f.file_id) FROM etl_retired_files f WHERE f.month = r.month)
) ORDER BY r.month))::text
FROM etl_retired r WHERE r.change = $1 HAVING count(*) > 0;
