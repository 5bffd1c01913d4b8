-- name: no_keys
-- And the first day that is not retired.
SELECT NOT EXISTS (SELECT 1 FROM transaction_keys LIMIT 1), greatest(before, DATE '0001-01-01') FROM etl_retired_before;

-- name: drop_key
ALTER TABLE transaction_keys DROP CONSTRAINT transaction_keys_pkey;

-- name: add_key
ALTER TABLE transaction_keys ADD PRIMARY KEY (transaction_id);

-- name: look_up
-- One id after the other by the index, whatever the planner thinks of the tables:
-- the batches are many, and none is worth a scan.
-- A cluster passes the whole text on to its nodes.
SET LOCAL citus.propagate_set_commands = 'local';
SET LOCAL jit = off; SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;
SET LOCAL citus.propagate_set_commands = 'none';

-- name: look_up_ends
SET LOCAL citus.propagate_set_commands = 'local';
SET LOCAL enable_seqscan TO DEFAULT; SET LOCAL enable_hashjoin TO DEFAULT; SET LOCAL enable_mergejoin TO DEFAULT;
SET LOCAL citus.propagate_set_commands = 'none';

-- name: analyze_known
ANALYZE load_known;

-- name: prefetch_rows
-- Reads the pages of the primary keys that rows of these users and dates go into. Without
-- the first and the last date, it would be planned for every partition.
SELECT count(*) FROM unnest($1::int[], $2::date[]) n(user_id, transaction_date)
CROSS JOIN LATERAL (
    SELECT FROM transactions t
    WHERE t.user_id = n.user_id AND t.transaction_date = n.transaction_date AND t.transaction_date BETWEEN $3 AND $4
    OFFSET 0 -- as a join, it would compare all rows of a table without statistics with all of n
) t;

-- name: prefetch_months
SELECT sum(m.total_transactions) FROM (
    SELECT DISTINCT user_id, date_trunc('month', transaction_date)::date AS month
    FROM unnest($1::int[], $2::date[]) n(user_id, transaction_date) ORDER BY user_id, month
) n JOIN user_months m ON m.user_id = n.user_id AND m.month = n.month;

-- name: prefetch_users
-- Reads the rows of the summaries that will move, and clears dead versions out of
-- their pages on the way, as any reader does.
SELECT sum(s.total_transactions) FROM unnest($1::int[]) n(user_id) JOIN user_summary s ON s.user_id = n.user_id;

-- name: known_table
-- The rows of the file whose ids are stored already, and where. Only this session sees
-- the table, and it ends with the transaction.
CREATE TEMPORARY TABLE load_known (
    transaction_id   TEXT COLLATE "C" NOT NULL,
    line             BIGINT NOT NULL,
    packed           BYTEA NOT NULL,
    user_id          INT NOT NULL,
    transaction_date DATE NOT NULL
) ON COMMIT DROP;

-- name: known_keys
-- The ids come in the order of the index.
SELECT i.n::int, k.user_id, k.transaction_date - DATE '1970-01-01'
FROM unnest($1::text[]) WITH ORDINALITY i(id, n)
JOIN transaction_keys k ON k.transaction_id = i.id;

-- name: drop_known
-- Of the file before, where several are read in one transaction.
DROP TABLE IF EXISTS load_known, load_replaced, load_stored;

-- name: stored_rows
-- On a cluster: an outer join with what is only here would fetch all of transactions.
CREATE TEMPORARY TABLE load_stored ON COMMIT DROP AS
SELECT * FROM transactions
WHERE (user_id, transaction_date, transaction_id) IN (SELECT user_id, transaction_date, transaction_id FROM load_known);
ANALYZE load_stored;

-- name: stored
-- Without a stored row: where the key says that it was.
SELECT n.packed, coalesce(s.user_id, n.user_id), coalesce(s.transaction_date, n.transaction_date) - DATE '1970-01-01', s.amount, s.id, s.file_id, s.line, false
FROM load_known n
LEFT JOIN {{transactions}} s ON s.user_id = n.user_id AND s.transaction_date = n.transaction_date
                        AND s.transaction_id = n.transaction_id
ORDER BY n.transaction_id, n.line;

-- name: stored_arrivals
-- The same, and whether the stored row came no later than entry $2 of logical date $1.
SELECT n.packed, coalesce(s.user_id, n.user_id), coalesce(s.transaction_date, n.transaction_date) - DATE '1970-01-01', s.amount, s.id, s.file_id, s.line,
       coalesce((r.logical_date, a.id) <= ($1::date, $2::bigint), true)
FROM load_known n
LEFT JOIN {{transactions}} s ON s.user_id = n.user_id AND s.transaction_date = n.transaction_date
                        AND s.transaction_id = n.transaction_id
LEFT JOIN etl_files f ON f.id = s.file_id
LEFT JOIN etl_files a ON a.id = coalesce(f.arrived_as, f.id)
LEFT JOIN etl_runs r ON r.id = a.run_id
ORDER BY n.transaction_id, n.line;

-- name: replaced_table
CREATE TEMPORARY TABLE load_replaced (
    transaction_id   TEXT COLLATE "C" NOT NULL,
    old_user_id      INT NOT NULL,
    old_date         DATE NOT NULL,
    old_id           BIGINT NOT NULL,
    user_id          INT NOT NULL,
    transaction_date DATE NOT NULL
) ON COMMIT DROP;

-- name: keep_version
-- The rows came with the load of their file, unless they have an origin of their own.
INSERT INTO transaction_versions (transaction_id, user_id, amount, transaction_date, file_id, line, from_change, to_change)
WITH t AS MATERIALIZED (
    SELECT t.transaction_id, t.user_id, t.amount, t.transaction_date, t.file_id, t.line
    FROM load_replaced r
    JOIN transactions t ON t.user_id = r.old_user_id AND t.transaction_date = r.old_date AND t.id = r.old_id
)
SELECT t.transaction_id, t.user_id, t.amount, t.transaction_date, t.file_id, t.line,
       coalesce((SELECT max(o.change) FROM transaction_origins o WHERE o.file_id = t.file_id AND o.line = t.line), c.number, 0),
       (SELECT coalesce(max(number), 0) + 1 FROM audit_chain)
FROM t
LEFT JOIN audit_chain c ON c.kind = 'load' AND c.file_id = t.file_id;

-- name: delete_replaced
DELETE FROM transactions t USING load_replaced r
WHERE t.user_id = r.old_user_id AND t.transaction_date = r.old_date AND t.id = r.old_id;

-- name: move_keys
UPDATE transaction_keys k SET user_id = r.user_id, transaction_date = r.transaction_date
FROM load_replaced r
WHERE k.transaction_id = r.transaction_id;

-- name: missing_months
SELECT m FROM tally_missing_partitions($1::date[]) m;

-- name: staging_table
CREATE TABLE {{table}} (LIKE transactions INCLUDING DEFAULTS);

-- name: staging_key
-- After the rows, which are in its order. The check is the partition's constraint, so that
-- attaching does not scan the rows while readers are locked out.
ALTER TABLE {{table}} ADD PRIMARY KEY (user_id, transaction_date, id),
    ADD CONSTRAINT tally_load_month CHECK (transaction_date >= {{from}} AND transaction_date < {{to}});

-- name: drop_staging_check
ALTER TABLE {{table}} DROP CONSTRAINT tally_load_month;

-- name: planned
-- The transactions whose statement in progress has a lock on transactions; of those in $2, if it is
-- not null. Left out are those that wait for the load ($1): they plan when they have all locks.
-- Sessions whose state this role may not see are included.
SELECT DISTINCT l.virtualtransaction
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.relation = 'transactions'::regclass AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.granted AND l.pid NOT IN ($1::int, pg_backend_pid())
  AND coalesce(a.state, '') NOT LIKE 'idle%'
  AND $1 <> ALL (pg_blocking_pids(l.pid))
  AND ($2::text[] IS NULL OR l.virtualtransaction = ANY($2));

-- name: move_staged
INSERT INTO transactions SELECT * FROM {{table}} ORDER BY user_id, transaction_date, id;

-- name: reserve_ids
-- The first of a block of ids. Only loads take ids, and they take turns.
SELECT setval('transactions_id_seq', nextval('transactions_id_seq') + $1 - 1) - $1 + 1;

-- name: file
INSERT INTO etl_files (id, run_id, attempt, source, path, sha256, bytes, status, error_code, error,
    read, loaded, duplicate, conflict, rejected, replaced, faults, total_amount, rules, code_version, started_at,
    reading, conventions, hints, warnings, arrived_as, layout, first_month, last_month)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29);

-- name: known_content
-- The last time that the content was loaded by the same rules, if possible by the source:
-- whether dates were outside the window or keys were orphans, and whether rows may have lost
-- their place: some did not get it, or a file has replaced rows since, whichever.
SELECT id, source, path, conventions, faults ? 'date_out_of_window', faults ? 'orphan_key',
       conflict > 0 OR EXISTS (SELECT FROM etl_files later WHERE later.id > f.id AND later.replaced > 0)
FROM etl_files f
WHERE sha256 = $1 AND status = 'loaded' AND reading = $2 AND rules = $3
  AND NOT EXISTS (SELECT FROM etl_reverts v WHERE v.file_id = f.id)
ORDER BY (source = $4) DESC, id DESC LIMIT 1;

-- name: reverted_content
-- The last file with the content, if it was reverted.
SELECT v.file_id, f.path FROM (
    SELECT id, path FROM etl_files WHERE sha256 = $1 AND status = 'loaded' ORDER BY id DESC LIMIT 1
) f JOIN etl_reverts v ON v.file_id = f.id;

-- name: displaced
-- Whether rows of a file, or those that they repeat, were replaced or taken out, or lost
-- against rows of other files that did not come later than $2. Rejects that have expired may
-- have been such rows.
SELECT EXISTS (SELECT FROM transaction_versions WHERE file_id = $1)
    OR EXISTS (SELECT FROM etl_expired_rejects WHERE file_id = $1)
    OR EXISTS (SELECT FROM etl_rejects r JOIN etl_files k ON k.id = r.kept_file_id
                   JOIN etl_files a ON a.id = coalesce(k.arrived_as, k.id) JOIN etl_runs n ON n.id = a.run_id
               WHERE r.file_id = $1 AND r.outcome = 'conflict' AND k.id <> $1 AND n.logical_date <= $2)
    OR EXISTS (SELECT FROM etl_rejects r JOIN transaction_versions v
                   ON v.transaction_id = r.transaction_id AND v.file_id = r.kept_file_id AND v.line = r.kept_line
               WHERE r.file_id = $1 AND r.outcome = 'duplicate');

-- name: same_file
-- Whether the content is what was last found at the path. OFFSET 0 has it look there, and
-- not go through all files of the source from the last one on.
SELECT coalesce((
    SELECT sha256 = $1 FROM (SELECT * FROM etl_files WHERE path = $2 OFFSET 0) f
    WHERE source = $3 AND status = 'loaded' ORDER BY id DESC LIMIT 1),
    EXISTS (SELECT FROM etl_copies WHERE sha256 = $1 AND source = $3 AND md5(path) = md5($2)));

-- name: known_files
-- The files of a source whose content is known since they are as they were when they were
-- read; and what known_content, reverted_content and same_file say of it, the latter for a source that
-- replaces rows ($8).
SELECT f.path, o.sha256, o.bytes, coalesce(k.id, l.id), l.id IS NOT NULL, coalesce(k.source, ''), coalesce(k.path, l.path, ''), k.conventions, coalesce(k.outside, false), coalesce(k.orphans, false),
       coalesce(k.conflict > 0 OR k.id < (SELECT max(id) FROM etl_files WHERE replaced > 0), false),
       CASE WHEN $8 THEN coalesce((
           SELECT e.sha256 = o.sha256 FROM (SELECT * FROM etl_files WHERE path = f.path OFFSET 0) e
           WHERE e.source = $1 AND e.status = 'loaded' ORDER BY e.id DESC LIMIT 1),
           EXISTS (SELECT FROM etl_copies c WHERE c.sha256 = o.sha256 AND c.source = $1 AND md5(c.path) = md5(f.path)))
       ELSE true END
FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::text[]) f(path, size, modified, tag)
JOIN etl_observations o ON o.source = $1 AND md5(o.path) = md5(f.path) AND o.path = f.path
                       AND o.size = f.size AND o.modified = f.modified AND o.tag = f.tag
LEFT JOIN LATERAL (
    SELECT e.id, e.source, e.path, e.conventions, e.conflict, e.faults ? 'date_out_of_window' AS outside, e.faults ? 'orphan_key' AS orphans
    FROM etl_files e WHERE e.sha256 = o.sha256 AND e.status = 'loaded' AND e.reading = $6 AND e.rules = $7
      AND NOT EXISTS (SELECT FROM etl_reverts v WHERE v.file_id = e.id)
    ORDER BY (e.source = $1) DESC, e.id DESC LIMIT 1
) k ON true
LEFT JOIN LATERAL (
    SELECT e.id, e.path FROM etl_files e WHERE k.id IS NULL AND e.sha256 = o.sha256 AND e.status = 'loaded'
    ORDER BY e.id DESC LIMIT 1
) l ON EXISTS (SELECT FROM etl_reverts v WHERE v.file_id = l.id);

-- name: observe
INSERT INTO etl_observations (source, path, size, modified, tag, sha256, bytes) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (source, md5(path)) DO UPDATE SET path = excluded.path, size = excluded.size, modified = excluded.modified,
    tag = excluded.tag, sha256 = excluded.sha256, bytes = excluded.bytes, observed_at = excluded.observed_at;

-- name: forget
-- Files that the source does not have any more, and were not read for a month.
DELETE FROM etl_observations
WHERE source = $1 AND observed_at < now() - interval '30 days' AND NOT EXISTS (SELECT FROM unnest($2::text[]) f (path) WHERE f.path = etl_observations.path);

-- name: copy
INSERT INTO etl_copies (sha256, path, source) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: arrival
-- With which entry, and for which logical date, the content came to the path where it was
-- last loaded from; with none, and for the date of this run, unless it lies there still.
SELECT a.id, r.logical_date - DATE '1970-01-01'
FROM (SELECT) this
LEFT JOIN (
    SELECT * FROM (SELECT * FROM etl_files WHERE path = $2 OFFSET 0) p
    WHERE source = $3 AND status = 'loaded' ORDER BY id DESC LIMIT 1
) f ON f.sha256 = $1 AND NOT $5
LEFT JOIN etl_files a ON a.id = coalesce(f.arrived_as, f.id)
JOIN etl_runs r ON r.id = coalesce(a.run_id, $4);

-- name: learned
-- What loaded files have proven: of the source, and of the currency.
SELECT c.convention, c.value, c.file_id, coalesce(f.path, ''), c.line
FROM etl_conventions c LEFT JOIN etl_files f ON f.id = c.file_id
WHERE c.source IN ($1, '') AND NOT EXISTS (SELECT FROM etl_reverts v WHERE v.file_id = c.file_id);

-- name: learn
-- A proof of a file that was reverted counts no more.
INSERT INTO etl_conventions (source, convention, value, file_id, line)
SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS (
    SELECT FROM etl_conventions c WHERE source = $1 AND convention = $2 AND value = $3
    AND NOT EXISTS (SELECT FROM etl_reverts v WHERE v.file_id = c.file_id)
) ON CONFLICT DO NOTHING;

-- name: fence
-- Whether this attempt is still the run's last. The lock keeps a new attempt
-- from starting between this look and the commit.
SELECT (SELECT max(attempt) FROM etl_attempts a WHERE a.run_id = r.id)
FROM etl_runs r WHERE r.id = $1 FOR SHARE OF r;

-- name: open_rejects
-- The files of rows that are to be read again, and how each file was read.
SELECT f.id, f.source, f.path, coalesce(f.layout::text, ''), f.conventions, f.rules, r.logical_date - DATE '1970-01-01',
       coalesce(f.arrived_as, f.id)
FROM etl_files f JOIN etl_runs r ON r.id = f.run_id
WHERE f.id = ANY($1::bigint[]) AND f.status = 'loaded' AND NOT EXISTS (SELECT FROM etl_reverts v WHERE v.file_id = f.id)
ORDER BY f.id;

-- name: open_rows
-- The open ones of some rows of a file, and if $4 those that repeat a row, in the order of
-- their lines. The last change of each is 0 if there was none.
SELECT j.line, coalesce(j.raw_bytes, convert_to(j.raw, 'UTF8')), j.raw_length, coalesce(s.change, 0)
FROM unnest($2::bigint[]) i(line)
JOIN etl_rejects j ON j.file_id = $1 AND j.line = i.line
LEFT JOIN LATERAL (
    SELECT state, outcome, change FROM etl_reject_states s WHERE s.file_id = j.file_id AND s.line = j.line ORDER BY change DESC LIMIT 1
) s ON true
WHERE coalesce(s.outcome, j.outcome) = ANY($3::text[])
  AND (coalesce(s.state, 'open') = 'open' OR $4 AND s.outcome = 'duplicate' AND s.state IN ('replayed', 'fixed'))
ORDER BY j.line;

-- name: fixes
-- The values that persons gave rows which some changes have read.
SELECT (r ->> 'file_id')::bigint, f.key::bigint, f.value::text
FROM audit_chain c
CROSS JOIN json_array_elements(c.entry::json -> 'readings') r
CROSS JOIN json_each(r -> 'fixes') f
WHERE c.number = ANY($1::bigint[]) ORDER BY c.number;

-- name: open_states
-- The open ones of some rows, and what they are.
SELECT j.file_id, j.line, coalesce(s.outcome, j.outcome), coalesce(s.kept_file_id, j.kept_file_id, 0), coalesce(s.kept_line, j.kept_line, 0)
FROM unnest($1::bigint[], $2::bigint[]) i(file_id, line)
JOIN etl_rejects j ON j.file_id = i.file_id AND j.line = i.line
JOIN etl_files f ON f.id = j.file_id AND f.status = 'loaded'
LEFT JOIN LATERAL (
    SELECT * FROM etl_reject_states s WHERE s.file_id = j.file_id AND s.line = j.line ORDER BY change DESC LIMIT 1
) s ON true
WHERE coalesce(s.state, 'open') = 'open' AND coalesce(s.outcome, j.outcome) = ANY($3::text[])
  AND NOT EXISTS (SELECT FROM etl_reverts v WHERE v.file_id = j.file_id)
ORDER BY j.file_id, j.line;

-- name: add_open
INSERT INTO etl_open_rejects (file_id, block) SELECT * FROM unnest($1::bigint[], $2::bigint[]) ON CONFLICT DO NOTHING;

-- name: remove_open
-- Looks into one part after the other, until the first open reject.
DELETE FROM etl_open_rejects o USING unnest($1::bigint[], $2::bigint[]) t(file_id, block)
WHERE o.file_id = t.file_id AND o.block = t.block AND (
    SELECT j.line
    FROM etl_rejects j
    LEFT JOIN LATERAL (
        SELECT state, outcome FROM etl_reject_states s WHERE s.file_id = j.file_id AND s.line = j.line ORDER BY change DESC LIMIT 1
    ) s ON true
    WHERE j.file_id = o.file_id AND j.line >= o.block << $3::int AND j.line < (o.block + 1) << $3::int
      AND coalesce(s.state, 'open') = 'open' AND coalesce(s.outcome, j.outcome) <> 'duplicate'
    LIMIT 1
) IS NULL;

-- name: close_open
DELETE FROM etl_open_rejects WHERE file_id = ANY($1::bigint[]);

-- name: revertible
SELECT source, path, encode(sha256, 'hex'), EXISTS (SELECT FROM etl_reverts v WHERE v.file_id = f.id)
FROM etl_files f WHERE id = $1 AND status = 'loaded';

-- name: reverted_months
-- The days between which the rows of files are: those of their loads, unless rows came later
-- or an earlier version loaded them.
SELECT CASE WHEN bool_or(open) THEN '-infinity' ELSE coalesce(min(first_month)::text, 'infinity') END,
       CASE WHEN bool_or(open) THEN 'infinity' ELSE coalesce((max(last_month) + interval '1 month')::date::text, '-infinity') END
FROM (
    SELECT first_month, last_month,
           layout IS NULL OR EXISTS (SELECT FROM transaction_origins o WHERE o.file_id = f.id) AS open
    FROM etl_files f WHERE id = ANY($1::bigint[])
) f;

-- name: reverted_rows
-- The present rows of files, and which entry of the audit chain brought each. A table that
-- is made of a query can be filled by parallel workers. Without statistics the planner takes
-- the origins for a few, and would go through all of them for each row.
SET LOCAL enable_nestloop = off;
CREATE TEMPORARY TABLE load_reverted ON COMMIT DROP AS
SELECT t.transaction_id, t.user_id, t.amount, t.transaction_date, t.id, t.file_id, t.line,
       coalesce(o.change, c.number, 0) AS from_change
FROM transactions t
LEFT JOIN (
    SELECT file_id, line, max(change) AS change FROM transaction_origins WHERE file_id IN ({{files}}) GROUP BY file_id, line
) o ON o.file_id = t.file_id AND o.line = t.line
LEFT JOIN audit_chain c ON c.kind = 'load' AND c.file_id = t.file_id
WHERE t.file_id IN ({{files}}) AND t.transaction_date >= {{from}} AND t.transaction_date < {{to}};
SET LOCAL enable_nestloop TO DEFAULT;
ANALYZE load_reverted;

-- name: reverted_values
SELECT user_id, transaction_date - DATE '1970-01-01', amount FROM load_reverted;

-- name: reverted_users
SELECT count(DISTINCT user_id) FROM load_reverted;

-- name: keep_reverted
INSERT INTO transaction_versions (transaction_id, user_id, amount, transaction_date, file_id, line, from_change, to_change)
SELECT transaction_id, user_id, amount, transaction_date, file_id, line, from_change, (SELECT coalesce(max(number), 0) + 1 FROM audit_chain)
FROM load_reverted ORDER BY transaction_id;

-- name: delete_reverted
DELETE FROM transactions t USING load_reverted r
WHERE t.user_id = r.user_id AND t.transaction_date = r.transaction_date AND t.id = r.id;

-- name: delete_keys
DELETE FROM transaction_keys k USING load_reverted r WHERE k.transaction_id = r.transaction_id;

-- name: note_reverts
INSERT INTO etl_reverts (file_id, change) SELECT unnest($1::bigint[]), $2;

-- name: restored_rows
-- Of each id that was taken out the newest former state whose file was not.
CREATE TEMPORARY TABLE load_restored ON COMMIT DROP AS
SELECT DISTINCT ON (v.transaction_id) v.transaction_id, v.user_id, v.amount, v.transaction_date, v.file_id, v.line
FROM load_reverted r JOIN transaction_versions v ON v.transaction_id = r.transaction_id
WHERE NOT EXISTS (SELECT FROM etl_reverts e WHERE e.file_id = v.file_id)
ORDER BY v.transaction_id, v.to_change DESC, v.file_id DESC, v.line DESC;

-- name: restored_values
SELECT user_id, transaction_date - DATE '1970-01-01', amount FROM load_restored;

-- name: restore
INSERT INTO transactions (transaction_id, user_id, amount, transaction_date, file_id, line)
SELECT transaction_id, user_id, amount, transaction_date, file_id, line FROM load_restored ORDER BY user_id, transaction_date;

-- name: restore_keys
INSERT INTO transaction_keys (transaction_id, user_id, transaction_date)
SELECT transaction_id, user_id, transaction_date FROM load_restored ORDER BY transaction_id;

-- name: restore_origins
INSERT INTO transaction_origins (file_id, line, change)
SELECT file_id, line, (SELECT coalesce(max(number), 0) + 1 FROM audit_chain) FROM load_restored;

-- name: losers
-- Rows of other files that were not loaded because of a row of files that were taken out.
SELECT j.file_id, j.line
FROM (
    SELECT file_id, line FROM etl_rejects WHERE kept_file_id = ANY($1::bigint[])
    UNION
    SELECT file_id, line FROM etl_reject_states WHERE kept_file_id = ANY($1::bigint[])
) i
JOIN etl_rejects j ON j.file_id = i.file_id AND j.line = i.line
LEFT JOIN LATERAL (
    SELECT * FROM etl_reject_states s WHERE s.file_id = j.file_id AND s.line = j.line ORDER BY change DESC LIMIT 1
) s ON true
WHERE coalesce(s.kept_file_id, j.kept_file_id) = ANY($1::bigint[]) AND coalesce(s.state, 'open') IN ('open', 'replayed', 'fixed')
  AND coalesce(s.outcome, j.outcome) IN ('duplicate', 'conflict')
  AND NOT EXISTS (SELECT FROM etl_reverts v WHERE v.file_id = j.file_id);
