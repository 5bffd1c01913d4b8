-- name: night_counts
SELECT count(*) FILTER (WHERE status = 'loaded') AS files, count(*) FILTER (WHERE status = 'failed') AS failed,
       coalesce(sum(read), 0)::bigint AS read, coalesce(sum(loaded), 0)::bigint AS loaded, coalesce(sum(duplicate), 0)::bigint AS duplicate,
       coalesce(sum(conflict), 0)::bigint AS conflict, coalesce(sum(rejected), 0)::bigint AS rejected,
       coalesce(sum(replaced), 0)::bigint AS replaced, coalesce(sum(total_amount), 0) AS total_amount
FROM etl_files WHERE run_id = ?0;

-- name: open_groups
-- Open rejected rows and conflicts by source and fault, the most first. Counted are those that
-- the loads found in the files that still have open ones, less those that were dealt with since.
-- The latter are read up to a bound (?0): past it the counts are upper bounds.
WITH file AS MATERIALIZED (
    SELECT f.id, f.source, f.faults, f.conflict, f.hints
    FROM (SELECT DISTINCT file_id FROM etl_open_rejects) part JOIN etl_files f ON f.id = part.file_id
), change AS MATERIALIZED (
    SELECT file.source, s.file_id, s.line, s.change, s.state, s.outcome
    FROM file CROSS JOIN LATERAL (SELECT * FROM etl_reject_states WHERE file_id = file.id) s
    LIMIT ?0 + 1
), last AS (
    SELECT DISTINCT ON (file_id, line) * FROM change WHERE (SELECT count(*) FROM change) <= ?0 ORDER BY file_id, line, change DESC
), counted AS (
    SELECT file.id, file.source, fault.key AS fault, fault.value::bigint AS rows FROM file CROSS JOIN LATERAL jsonb_each_text(file.faults) AS fault
    UNION ALL
    SELECT id, source, 'conflict', conflict FROM file
    UNION ALL
    SELECT last.file_id, last.source, coalesce(r.faults[1], r.outcome), -1
    FROM last JOIN etl_rejects r USING (file_id, line) WHERE r.outcome <> 'duplicate'
    UNION ALL
    SELECT last.file_id, last.source, CASE last.outcome WHEN 'rejected' THEN r.faults[1] ELSE last.outcome END, 1
    FROM last JOIN etl_rejects r USING (file_id, line) WHERE last.state = 'open' AND last.outcome IN ('rejected', 'conflict')
), found AS (
    SELECT source, fault, sum(rows)::bigint AS rows, max(id) AS last_file_id FROM counted WHERE fault <> 'duplicate'
    GROUP BY source, fault HAVING sum(rows) > 0
    ORDER BY rows DESC, source, fault LIMIT 200 -- before the hints, which cost more
)
SELECT found.source, found.fault, found.rows, (SELECT count(*) FROM change) > ?0 AS at_most, coalesce(hint.text, '') AS hint
FROM found LEFT JOIN LATERAL (
    SELECT h AS text FROM file CROSS JOIN LATERAL unnest(file.hints) AS h
    WHERE file.source = found.source AND h LIKE '%with ' || found.fault || ',%' ORDER BY file.id DESC LIMIT 1
) hint ON true
ORDER BY found.rows DESC, found.source, found.fault;
