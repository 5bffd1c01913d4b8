-- name: file_counts
SELECT count(*) FILTER (WHERE status = 'loaded'), count(*) FILTER (WHERE status = 'failed'),
       coalesce(sum(read), 0)::bigint, coalesce(sum(loaded), 0)::bigint, coalesce(sum(duplicate), 0)::bigint,
       coalesce(sum(conflict), 0)::bigint, coalesce(sum(rejected), 0)::bigint
FROM etl_files;

-- name: last_success
-- Ages are computed here, so that they do not depend on the client's clock.
SELECT max(o.finished_at), greatest(0, extract(epoch FROM clock_timestamp() - max(o.finished_at)) * 1e9)::bigint
FROM etl_outcomes o JOIN etl_runs r ON r.id = o.run_id
WHERE o.status = 'succeeded' AND r.kind <> 'manual'
HAVING count(*) > 0;

-- name: last_export
-- Only of exports after runs: a manual one may have another target.
SELECT finished_at, greatest(0, extract(epoch FROM clock_timestamp() - finished_at) * 1e9)::bigint
FROM etl_exports WHERE status = 'succeeded' AND run_id IS NOT NULL ORDER BY id DESC LIMIT 1;

-- name: last_verification
SELECT finished_at, greatest(0, extract(epoch FROM clock_timestamp() - finished_at) * 1e9)::bigint, status, differences
FROM etl_verifications WHERE status <> 'retrying' ORDER BY id DESC LIMIT 1;

-- name: waiting
SELECT count(*), greatest(0, coalesce(extract(epoch FROM clock_timestamp() - min(coalesce(finished_at, created_at))), 0) * 1e9)::bigint
FROM etl_run_status
WHERE kind <> 'manual' AND status NOT IN ('running', 'succeeded', 'failed');

-- name: undelivered
SELECT count(*) FROM alert_messages WHERE failed_at IS NOT NULL;
