-- name: retirement
-- A retirement with its outcome. Until there is one, the newest job says how far it is.
SELECT r.id, to_char(r.before, 'YYYY-MM') AS before, r.totals, r.export, r.keep_tables, r.dry_run, r.reason, r.requested_by, r.created_at,
       coalesce(o.status, CASE WHEN j.state = 'running' THEN 'running' ELSE 'queued' END) AS status, coalesce(j.id, 0) AS job_id,
       o.finished_at, coalesce(o.error, '') AS error, o.result
FROM etl_retirements r
LEFT JOIN etl_retirement_outcomes o ON o.retirement_id = r.id
LEFT JOIN LATERAL (
    SELECT id, state FROM river_job WHERE kind = 'retire' AND args @> jsonb_build_object('retirement_id', r.id) ORDER BY id DESC LIMIT 1
) j ON true
WHERE r.id = ?0;
