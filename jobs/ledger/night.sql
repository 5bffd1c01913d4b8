-- name: nights
-- The files of each source by logical date (?0 to ?1). A failed file counts unless the same
-- path was loaded since. The run is that of the date, or else the last one by hand.
SELECT r.logical_date, f.source, coalesce(max(r.id) FILTER (WHERE r.kind <> 'manual'), max(r.id)) AS run_id,
       count(*) FILTER (WHERE f.status = 'loaded') AS files,
       count(*) FILTER (WHERE f.status = 'failed' AND NOT EXISTS (
           SELECT FROM etl_files later WHERE later.path = f.path AND later.id > f.id AND later.status = 'loaded')) AS failed,
       sum(f.read)::bigint AS read, sum(f.loaded)::bigint AS loaded, sum(f.rejected + f.conflict)::bigint AS rejected,
       sum(f.replaced)::bigint AS replaced, count(v.file_id) AS reverted,
       min(f.finished_at) FILTER (WHERE f.status = 'loaded' AND r.kind = 'nightly') AS loaded_at
FROM etl_runs r JOIN etl_files f ON f.run_id = r.id LEFT JOIN etl_reverts v ON v.file_id = f.id
WHERE r.logical_date BETWEEN ?0 AND ?1
GROUP BY r.logical_date, f.source ORDER BY r.logical_date, f.source;

-- name: first_nights
-- The sources of which files were read, by name, each with the logical date of its first file.
WITH RECURSIVE names (name) AS (
    (SELECT source FROM etl_files ORDER BY source LIMIT 1)
    UNION ALL
    SELECT (SELECT source FROM etl_files WHERE source > name ORDER BY source LIMIT 1) FROM names WHERE name IS NOT NULL
)
SELECT name AS source, r.logical_date AS first_date
FROM names
CROSS JOIN LATERAL (SELECT run_id FROM etl_files WHERE source = name ORDER BY id LIMIT 1) f
JOIN etl_runs r ON r.id = f.run_id
ORDER BY name LIMIT 1000;

-- name: first_date
-- The first logical date of a run of dates; a backfill may be before the first file of a source.
SELECT coalesce(min(logical_date), current_date) FROM etl_runs WHERE kind <> 'manual';
