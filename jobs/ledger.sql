-- name: create_runs
-- Only the dates that have no run yet; the index etl_runs_one_a_date decides.
INSERT INTO etl_runs (kind, logical_date, requested_by)
SELECT $1, d, $2 FROM unnest($3::date[]) WITH ORDINALITY AS dates(d, n) ORDER BY n
ON CONFLICT (logical_date) WHERE kind <> 'manual' DO NOTHING
RETURNING id, logical_date, created_at;

-- name: lock_run
-- Waits for a load that is about to commit, and keeps the next from starting to:
-- the loader's fence shares this lock.
SELECT kind, logical_date, paths FROM etl_runs WHERE id = $1 FOR UPDATE;

-- name: last_attempt
SELECT status, attempt, job_id FROM etl_run_status WHERE id = $1;

-- name: note_lost
-- The attempt left no word and holds no lock: its process is gone.
INSERT INTO etl_outcomes (run_id, attempt, status, error)
VALUES ($1, $2, 'lost', 'the process went away')
ON CONFLICT DO NOTHING;

-- name: start_attempt
INSERT INTO etl_attempts (run_id, attempt, job_id, worker, code_version)
VALUES ($1, $2, $3, $4, $5);

-- name: end_attempt
-- Nothing where the next attempt has noted this one as lost.
INSERT INTO etl_outcomes (run_id, attempt, status, error)
VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING;

-- name: known_failures
-- Files that failed under this version of the program, newest first.
SELECT run_id, source, path, sha256, rules, coalesce(error_code, ''), error
FROM etl_files
WHERE status = 'failed' AND sha256 IS NOT NULL AND code_version = $1
ORDER BY id DESC;

-- name: write_logs
INSERT INTO etl_logs (run_id, attempt, at, level, message, attrs)
SELECT run_id, attempt, at, level, message, attrs::jsonb
FROM unnest($1::bigint[], $2::int[], $3::timestamptz[], $4::text[], $5::text[], $6::text[])
     WITH ORDINALITY AS l(run_id, attempt, at, level, message, attrs, n)
ORDER BY n;

-- name: unattended
-- Runs that are to be done and that nobody is doing: not over, the lock of no
-- live process on them, nothing heard of them for the grace ($2), and no River
-- job that will come to them by itself. A running job counts as long as it may
-- still be on its way to the lock.
SELECT r.id, r.logical_date, r.attempt, r.status, r.job_id IS NOT NULL
FROM etl_run_status r
WHERE r.kind <> 'manual'
  AND r.status NOT IN ('succeeded', 'failed')
  AND coalesce(r.finished_at, r.started_at, r.created_at) < now() - make_interval(secs => $2)
  AND NOT EXISTS (
      SELECT FROM pg_locks l
      WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.classid = $1::bigint::oid AND l.objid = (r.id & 2147483647)::oid)
  AND NOT EXISTS (
      SELECT FROM river_job j
      WHERE j.kind = $3 AND j.args @> jsonb_build_object('run_id', r.id)
        AND (j.state IN ('available', 'scheduled', 'retryable', 'pending')
             OR j.state = 'running' AND j.attempted_at > now() - make_interval(secs => $2)))
ORDER BY r.logical_date;

-- name: cancelled_by_hand
-- The newest job of the run was cancelled through River since the last attempt
-- started. Tally's own cancelling leaves no such mark, and a retry takes it away.
SELECT j.metadata ? 'cancel_attempted_at'
       AND NOT EXISTS (SELECT FROM etl_attempts a WHERE a.run_id = $2
                       AND a.started_at > coalesce(j.finalized_at, (j.metadata ->> 'cancel_attempted_at')::timestamptz))
FROM river_job j
WHERE j.kind = $1 AND j.args @> jsonb_build_object('run_id', $2::bigint)
ORDER BY j.id DESC LIMIT 1;

-- name: lost_by_hand
-- Runs by hand whose process went away. Nobody takes them over: their paths may
-- exist on that machine alone.
INSERT INTO etl_outcomes (run_id, attempt, status, error)
SELECT r.id, r.attempt, 'lost', 'the process went away; run it again'
FROM etl_run_status r
WHERE r.kind = 'manual' AND r.status = 'running' AND r.started_at < now() - make_interval(secs => $2)
  AND NOT EXISTS (
      SELECT FROM pg_locks l
      WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.classid = $1::bigint::oid AND l.objid = (r.id & 2147483647)::oid)
ON CONFLICT DO NOTHING;

-- name: run_counts
SELECT kind, status, count(*) FROM etl_run_status GROUP BY kind, status ORDER BY kind, status;

-- name: file_counts
SELECT count(*) FILTER (WHERE status = 'loaded'), count(*) FILTER (WHERE status = 'failed'),
       coalesce(sum(read), 0)::bigint, coalesce(sum(loaded), 0)::bigint, coalesce(sum(duplicate), 0)::bigint,
       coalesce(sum(conflict), 0)::bigint, coalesce(sum(rejected), 0)::bigint
FROM etl_files;

-- name: last_success
SELECT max(o.finished_at), extract(epoch FROM clock_timestamp() - max(o.finished_at))::float
FROM etl_outcomes o JOIN etl_runs r ON r.id = o.run_id
WHERE o.status = 'succeeded' AND r.kind <> 'manual';

-- name: waiting
SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(coalesce(finished_at, created_at))), 0)::float
FROM etl_run_status
WHERE kind <> 'manual' AND status NOT IN ('running', 'succeeded', 'failed');

-- name: last_export
-- Of those after runs: one by hand may have been to anywhere.
SELECT finished_at, extract(epoch FROM clock_timestamp() - finished_at)::float
FROM etl_exports WHERE status = 'succeeded' AND run_id IS NOT NULL ORDER BY id DESC LIMIT 1;

-- name: unattended_export
-- The newest run that has ended, if no export to the target ($1) has begun since and come
-- to an end, no live process is at one, nothing was heard of the run for the grace ($3),
-- and no River job ($4) will come to it by itself.
SELECT r.id, r.logical_date
FROM etl_outcomes o JOIN etl_runs r ON r.id = o.run_id
WHERE o.status IN ('succeeded', 'failed') AND o.finished_at < now() - make_interval(secs => $3)
  AND NOT EXISTS (
      SELECT FROM etl_exports e
      WHERE e.target = $1 AND e.status IN ('succeeded', 'failed') AND e.started_at > o.finished_at)
  AND NOT EXISTS (
      SELECT FROM pg_locks l
      WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.classid = $2::bigint::oid AND l.objid = (hashtext($1)::bigint & 4294967295)::oid)
  AND NOT EXISTS (
      SELECT FROM river_job j
      WHERE j.kind = $4
        AND (j.state IN ('available', 'scheduled', 'retryable', 'pending')
             OR j.state = 'running' AND j.attempted_at > now() - make_interval(secs => $3)))
ORDER BY o.finished_at DESC LIMIT 1;

-- name: note_export
INSERT INTO etl_exports (run_id, job_id, requested_by, target, status, error, epoch, last_file_id, files, written, removed,
    rows, total_amount, bytes, bytes_written, worker, code_version, started_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13::text::numeric, $14, $15, $16, $17, $18);
