-- name: workers
-- The workers of the last attempts, each with its last one.
SELECT * FROM (
    SELECT DISTINCT ON (worker) worker, code_version, run_id, coalesce(o.status, 'running') AS status, started_at, finished_at
    FROM (SELECT * FROM etl_attempts ORDER BY run_id DESC, attempt DESC LIMIT 200) a LEFT JOIN etl_outcomes o USING (run_id, attempt)
    ORDER BY worker, started_at DESC
) last ORDER BY started_at DESC LIMIT 10;
