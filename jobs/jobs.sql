-- name: create_runs
-- Only dates without a run; the index etl_runs_one_a_date decides.
INSERT INTO etl_runs (kind, logical_date, requested_by)
SELECT $1, d, $2 FROM unnest($3::date[]) WITH ORDINALITY AS dates(d, n) ORDER BY n
ON CONFLICT (logical_date) WHERE kind <> 'manual' DO NOTHING
RETURNING id, logical_date, created_at;

-- name: lock_run
-- Waits for a load that is about to commit and blocks the next one: the loader's fence
-- shares this lock.
SELECT kind, logical_date, paths FROM etl_runs WHERE id = $1 FOR UPDATE;

-- name: earlier_runs
-- For each source ($2): whether the run of a date ($1) has read it, how many unfinished runs
-- of earlier dates have not, and the first of these dates.
WITH earlier AS MATERIALIZED (
    SELECT e.id, e.logical_date FROM etl_run_status e
    WHERE e.kind <> 'manual' AND e.status NOT IN ('succeeded', 'failed')
      AND e.logical_date < (SELECT logical_date FROM etl_runs WHERE id = $1)
)
SELECT s.source, EXISTS (SELECT FROM etl_run_sources d WHERE d.run_id = r.id AND d.source = s.source),
       count(e.id), min(e.logical_date)
FROM etl_runs r CROSS JOIN unnest($2::text[]) s(source)
LEFT JOIN earlier e ON NOT EXISTS (SELECT FROM etl_run_sources d WHERE d.run_id = e.id AND d.source = s.source)
WHERE r.id = $1 AND r.kind <> 'manual'
GROUP BY r.id, s.source;

-- name: record_source
INSERT INTO etl_run_sources (run_id, attempt, source, files, failed) VALUES ($1, $2, $3, $4, $5);

-- name: next_jobs
-- For each source ($1), the first run that has not read it need not wait for its job ($2)
-- to become due.
WITH unfinished AS MATERIALIZED (
    SELECT id, logical_date FROM etl_run_status WHERE kind <> 'manual' AND status NOT IN ('succeeded', 'failed')
), first AS (
    SELECT DISTINCT ON (s.source) u.id
    FROM unnest($1::text[]) s(source) CROSS JOIN unfinished u
    WHERE NOT EXISTS (SELECT FROM etl_run_sources d WHERE d.run_id = u.id AND d.source = s.source)
    ORDER BY s.source, u.logical_date
)
SELECT DISTINCT j.id FROM first JOIN river_job j ON j.args @> jsonb_build_object('run_id', first.id)
WHERE j.kind = $2 AND j.state IN ('available', 'scheduled') AND j.scheduled_at > now();

-- name: unfinished_runs
-- The first runs of dates that are not finished ($2 of them), with the sources ($1) that
-- each has not read, and the count of all.
SELECT r.id, r.logical_date, r.status, r.attempt, r.created_at, coalesce(r.error, ''),
       ARRAY(SELECT s.source FROM unnest($1::text[]) s(source)
             WHERE NOT EXISTS (SELECT FROM etl_run_sources d WHERE d.run_id = r.id AND d.source = s.source) ORDER BY s.source),
       count(*) OVER ()
FROM etl_run_status r
WHERE r.kind <> 'manual' AND r.status NOT IN ('succeeded', 'failed')
ORDER BY r.logical_date LIMIT $2;

-- name: last_attempt
SELECT status, attempt, job_id FROM etl_run_status WHERE id = $1;

-- name: record_lost
-- The attempt has no outcome and holds no lock: its process crashed.
INSERT INTO etl_outcomes (run_id, attempt, status, error)
VALUES ($1, $2, 'lost', 'the process crashed')
ON CONFLICT DO NOTHING;

-- name: start_attempt
INSERT INTO etl_attempts (run_id, attempt, job_id, worker, code_version)
VALUES ($1, $2, $3, $4, $5);

-- name: end_attempt
-- Does nothing if the next attempt recorded this one as lost.
INSERT INTO etl_outcomes (run_id, attempt, status, error, files_only)
VALUES ($1, $2, $3, nullif($4, ''), $5)
ON CONFLICT DO NOTHING;

-- name: note_trouble
INSERT INTO etl_troubles (run_id, attempt, source, path, trouble, error)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: file_tries
-- In how many attempts a file was set aside since the run was last requested, and whether
-- the run has loaded files since the first of them.
SELECT count(DISTINCT t.attempt),
       EXISTS (SELECT FROM etl_files f WHERE f.run_id = $1 AND f.status = 'loaded' AND f.finished_at > min(t.at))
FROM etl_troubles t
WHERE t.run_id = $1 AND t.source = $2 AND t.path = $3 AND t.trouble <> 'crash'
  AND t.attempt > coalesce((SELECT max(o.attempt) FROM etl_outcomes o WHERE o.run_id = $1 AND o.status = 'failed'), 0);

-- name: file_crashes
-- In how many attempts since the run was last requested the process crashed at a file: it was the
-- last one that the attempt recorded.
SELECT count(*)
FROM etl_troubles t JOIN etl_outcomes o USING (run_id, attempt)
WHERE t.run_id = $1 AND t.source = $2 AND t.path = $3 AND t.trouble = 'crash' AND o.status = 'lost'
  AND NOT EXISTS (SELECT FROM etl_troubles n WHERE n.run_id = $1 AND n.attempt = t.attempt AND n.id > t.id)
  AND t.attempt > coalesce((SELECT max(o.attempt) FROM etl_outcomes o WHERE o.run_id = $1 AND o.status = 'failed'), 0);

-- name: known_failures
-- Files that failed under this version of the program, newest first. A file that was given
-- up is tried again in the next run.
SELECT run_id, source, path, sha256, rules, coalesce(error_code, ''), error
FROM etl_files
WHERE status = 'failed' AND sha256 IS NOT NULL AND code_version = $1
  AND (error_code IS DISTINCT FROM 'given_up' OR run_id = $2)
ORDER BY id DESC;

-- name: orphaned_runs
-- Runs of dates that are not finished, are not locked by a process, have not changed for
-- the grace ($2), and have no River job ($3) that will be worked on. A running job counts
-- while it may not have acquired the lock yet. A time of the future is one of a clock that
-- was ahead, here and below: nothing is known of when that was. With each run, how many
-- attempts before its last one have crashed in a row.
SELECT r.id, r.logical_date, r.attempt, r.status,
       (SELECT r.attempt - 1 - coalesce(max(o.attempt), 0) FROM etl_outcomes o WHERE o.run_id = r.id AND o.status <> 'lost') AS crashes
FROM etl_run_status r
WHERE r.kind <> 'manual'
  AND r.status NOT IN ('succeeded', 'failed')
  AND coalesce(r.finished_at, r.started_at, r.created_at) NOT BETWEEN now() - make_interval(secs => $2) AND now() + make_interval(secs => $2)
  AND NOT EXISTS (
      SELECT FROM pg_locks l
      WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.classid = $1::bigint::oid AND l.objid = (r.id & 2147483647)::oid)
  AND NOT EXISTS (
      SELECT FROM river_job j
      WHERE j.kind = $3 AND j.args @> jsonb_build_object('run_id', r.id)
        AND (j.state IN ('available', 'scheduled', 'retryable', 'pending')
             OR j.state = 'running' AND j.attempted_at BETWEEN now() - make_interval(secs => $2) AND now() + make_interval(secs => $2)))
ORDER BY r.logical_date;

-- name: cancelled_by_operator
-- The newest job of the run was cancelled through River since the last attempt
-- started. Tally's own cancelling leaves no such mark, and a retry removes it.
SELECT j.metadata ? 'cancel_attempted_at'
       AND NOT EXISTS (SELECT FROM etl_attempts a WHERE a.run_id = $2
                       AND a.started_at > coalesce(j.finalized_at, (j.metadata ->> 'cancel_attempted_at')::timestamptz))
FROM river_job j
WHERE j.kind = $1 AND j.args @> jsonb_build_object('run_id', $2::bigint)
ORDER BY j.id DESC LIMIT 1;

-- name: lost_manual_runs
-- Manual runs whose process crashed. They are not requeued: their paths may exist on that
-- machine only.
INSERT INTO etl_outcomes (run_id, attempt, status, error)
SELECT r.id, r.attempt, 'lost', 'the process crashed; run it again'
FROM etl_run_status r
WHERE r.kind = 'manual' AND r.status = 'running' AND r.started_at NOT BETWEEN now() - make_interval(secs => $2) AND now() + make_interval(secs => $2)
  AND NOT EXISTS (
      SELECT FROM pg_locks l
      WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.classid = $1::bigint::oid AND l.objid = (r.id & 2147483647)::oid)
ON CONFLICT DO NOTHING;

-- name: orphaned_export
-- The newest finished run, if no export to the target ($1) has started since and finished,
-- none holds the export's lock, the run ended before the grace ($3), and there is no River
-- job ($4) that will be worked on.
SELECT r.id, r.logical_date
FROM etl_outcomes o JOIN etl_runs r ON r.id = o.run_id
WHERE o.status IN ('succeeded', 'failed') AND o.finished_at < now() - make_interval(secs => $3)
  AND o.finished_at >= coalesce((
      SELECT max(e.started_at) FROM etl_exports e WHERE e.target = $1 AND e.status IN ('succeeded', 'failed')), '-infinity')
  AND NOT EXISTS (
      SELECT FROM pg_locks l
      WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.classid = $2::bigint::oid AND l.objid = (hashtext($1)::bigint & 4294967295)::oid)
  AND NOT EXISTS (
      SELECT FROM river_job j
      WHERE j.kind = $4
        AND (j.state IN ('available', 'scheduled', 'retryable', 'pending')
             OR j.state = 'running' AND j.attempted_at BETWEEN now() - make_interval(secs => $3) AND now() + make_interval(secs => $3)))
ORDER BY o.finished_at DESC LIMIT 1;

-- name: due_verification
-- The newest date that has a run, if it has not been verified, no run of a date is unfinished
-- (unless for longer than $1), no process has the lock of verifications ($2), and there is no
-- River job ($3) that will be worked on.
SELECT n.logical_date
FROM (SELECT max(logical_date) AS logical_date FROM etl_runs WHERE kind <> 'manual') n
WHERE n.logical_date IS NOT NULL
  AND NOT EXISTS (SELECT FROM etl_verifications v WHERE v.logical_date = n.logical_date AND v.status <> 'retrying')
  AND NOT EXISTS (
      SELECT FROM etl_run_status r
      WHERE r.kind <> 'manual' AND r.status NOT IN ('succeeded', 'failed') AND r.created_at > now() - make_interval(secs => $1))
  AND NOT EXISTS (
      SELECT FROM pg_locks l
      WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.classid = $2::bigint::oid AND l.objid = 0)
  AND NOT EXISTS (
      SELECT FROM river_job j
      WHERE j.kind = $3
        AND (j.state IN ('available', 'scheduled', 'retryable', 'pending')
             OR j.state = 'running' AND j.attempted_at BETWEEN now() - make_interval(secs => $4) AND now() + make_interval(secs => $4)));

-- name: orphaned_expiry
-- The logical date of the last job ($1) that removes old records, if its worker crashed: the job has
-- been running for longer than the grace ($3), and no process has the lock of removals ($2). One that
-- is between two commits, or waits for a load of its process, may get a second job, which removes
-- what the first has left.
SELECT (j.args ->> 'logical_date')::date
FROM (SELECT * FROM river_job WHERE kind = $1 ORDER BY id DESC LIMIT 1) j
WHERE j.state = 'running' AND j.attempted_at NOT BETWEEN now() - make_interval(secs => $3) AND now() + make_interval(secs => $3)
  AND NOT EXISTS (
      SELECT FROM pg_locks l
      WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.classid = $2::bigint::oid AND l.objid = 0);

-- name: lock_retirements
LOCK TABLE etl_retirements IN SHARE ROW EXCLUSIVE MODE;

-- name: unfinished_retirement
-- The retirement that has no outcome, and whether it is the same as the requested one.
SELECT id, (before, totals, export, keep_tables, dry_run) = ($1::date, $2, $3::bool, $4::bool, $5::bool)
FROM etl_retirements r
WHERE NOT EXISTS (SELECT FROM etl_retirement_outcomes o WHERE o.retirement_id = r.id)
ORDER BY id LIMIT 1;

-- name: insert_retirement
INSERT INTO etl_retirements (before, totals, export, keep_tables, dry_run, reason, requested_by)
VALUES ($1::date, $2, $3, $4, $5, $6, $7)
RETURNING id;

-- name: end_retirement
INSERT INTO etl_retirement_outcomes (retirement_id, status, error, result)
SELECT id, $2, nullif($3, ''), nullif($4, '')::jsonb FROM etl_retirements WHERE id = $1
ON CONFLICT DO NOTHING;

-- name: orphaned_retirement
-- The retirement that has no outcome, if it has no River job ($2) that will be worked on, whether it
-- exports, and whether its job was cancelled. A running job counts for the grace ($1), and while a retirement has its lock or
-- waits for it, or an export ($3) goes on. One that waits longer for a load of its process may get a
-- second job, which finds nothing left to do; months commit only with the first outcome.
SELECT r.id, r.export, coalesce(j.state = 'cancelled', false)
FROM etl_retirements r
LEFT JOIN LATERAL (
    SELECT state, attempted_at FROM river_job WHERE kind = $2 AND args @> jsonb_build_object('retirement_id', r.id) ORDER BY id DESC LIMIT 1
) j ON true
WHERE NOT EXISTS (SELECT FROM etl_retirement_outcomes o WHERE o.retirement_id = r.id)
  AND coalesce(j.state NOT IN ('available', 'scheduled', 'retryable', 'pending'), true)
  AND NOT coalesce(j.state = 'running' AND (
      j.attempted_at BETWEEN now() - make_interval(secs => $1) AND now() + make_interval(secs => $1)
      OR EXISTS (
          SELECT FROM pg_locks l
          WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND (l.relation = 'etl_retired'::regclass AND l.mode = 'ExclusiveLock'
                 OR l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted AND l.classid = $3::bigint::oid))), false)
LIMIT 1;

-- name: verified
SELECT EXISTS (SELECT FROM etl_verifications WHERE logical_date = $1::date AND status <> 'retrying');

-- name: run_of_date
SELECT id, kind FROM etl_runs WHERE logical_date = $1::date AND kind <> 'manual';

-- name: insert_manual
INSERT INTO etl_runs (kind, logical_date, requested_by, paths)
VALUES ('manual', $1::date, $2, $3::text[])
RETURNING id;

-- name: read_schedule
SELECT clock_timestamp(), s.last_date, s.time_zone FROM (SELECT) one LEFT JOIN etl_schedule s ON true;

-- name: lock_schedule
SELECT last_date FROM etl_schedule FOR UPDATE;

-- name: start_schedule
INSERT INTO etl_schedule (last_date, time_zone) VALUES ($1::date, $2) ON CONFLICT DO NOTHING;

-- name: move_schedule
UPDATE etl_schedule SET last_date = $1::date, time_zone = $2, updated_at = now();
