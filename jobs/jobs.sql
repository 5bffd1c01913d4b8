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

-- name: record_lost
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
VALUES ($1, $2, $3, nullif($4, ''))
ON CONFLICT DO NOTHING;

-- name: known_failures
-- Files that failed under this version of the program, newest first.
SELECT run_id, source, path, sha256, rules, coalesce(error_code, ''), error
FROM etl_files
WHERE status = 'failed' AND sha256 IS NOT NULL AND code_version = $1
ORDER BY id DESC;

-- name: orphaned_runs
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

-- name: cancelled_by_operator
-- The newest job of the run was cancelled through River since the last attempt
-- started. Tally's own cancelling leaves no such mark, and a retry takes it away.
SELECT j.metadata ? 'cancel_attempted_at'
       AND NOT EXISTS (SELECT FROM etl_attempts a WHERE a.run_id = $2
                       AND a.started_at > coalesce(j.finalized_at, (j.metadata ->> 'cancel_attempted_at')::timestamptz))
FROM river_job j
WHERE j.kind = $1 AND j.args @> jsonb_build_object('run_id', $2::bigint)
ORDER BY j.id DESC LIMIT 1;

-- name: lost_manual_runs
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

-- name: orphaned_export
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
