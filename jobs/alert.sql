-- name: run_failed
-- Attempts of runs of dates that failed within $1 seconds for a reason besides their files, and
-- that no later attempt of the run has followed to its end.
SELECT 'run ' || r.id AS subject, 'the run of ' || r.logical_date || ' failed: ' || left(o.error, 1000) AS what,
       r.id AS run_id, r.logical_date, NULL::text AS source, NULL::text AS path, NULL::text AS code
FROM etl_outcomes o JOIN etl_runs r ON r.id = o.run_id
WHERE o.status = 'failed' AND NOT o.files_only AND o.finished_at > now() - make_interval(secs => $1) AND r.kind <> 'manual'
  AND NOT EXISTS (
      SELECT FROM etl_outcomes later
      WHERE later.run_id = o.run_id AND later.attempt > o.attempt AND later.status IN ('succeeded', 'failed'))
ORDER BY o.finished_at;

-- name: file_failed
-- Files of runs of dates that failed within $1 seconds and were not loaded from the same path
-- since, each with its last failure.
SELECT subject, what, run_id, logical_date, source, path, code
FROM (
    SELECT DISTINCT ON (f.path) f.id, f.path AS subject, left(f.error, 1000) AS what,
           f.run_id, r.logical_date, f.source, f.path, f.error_code AS code
    FROM etl_files f JOIN etl_runs r ON r.id = f.run_id
    WHERE f.status = 'failed' AND f.finished_at > now() - make_interval(secs => $1) AND r.kind <> 'manual'
      AND NOT EXISTS (
          SELECT FROM etl_files later WHERE later.path = f.path AND later.id > f.id AND later.status = 'loaded')
    ORDER BY f.path, f.id DESC
) failed
ORDER BY id;

-- name: file_warning
-- Sources of which a run of a date loaded a file with warnings within $1 seconds, and no later
-- run one without, each with its last such file.
SELECT DISTINCT ON (f.source) f.source AS subject, f.path || ': ' || left(array_to_string(f.warnings, '; '), 1000) AS what,
       f.run_id, r.logical_date, f.source, f.path, NULL::text AS code
FROM etl_files f JOIN etl_runs r ON r.id = f.run_id
WHERE f.status = 'loaded' AND f.warnings <> '{}' AND f.finished_at > now() - make_interval(secs => $1) AND r.kind <> 'manual'
  AND NOT EXISTS (
      SELECT FROM etl_files later
      WHERE later.source = f.source AND later.id > f.id AND later.run_id <> f.run_id
        AND later.status = 'loaded' AND later.warnings = '{}')
ORDER BY f.source, f.id DESC;

-- name: source_late
-- Sources ($1) of which no file has been loaded for a logical date ($2) although it was
-- expected by a time ($3), and the date's run is finished or missing. Before the first night
-- nothing is late.
SELECT e.source AS subject,
       'no file of ' || e.source || ' for ' || e.logical_date || ' was loaded by ' || e.expected_by AS what,
       r.id AS run_id, e.logical_date, e.source, NULL::text AS path, NULL::text AS code
FROM unnest($1::text[], $2::date[], $3::text[]) AS e (source, logical_date, expected_by)
LEFT JOIN etl_run_status r ON r.logical_date = e.logical_date AND r.kind <> 'manual'
WHERE coalesce(r.status IN ('succeeded', 'failed'), true)
  AND EXISTS (SELECT FROM etl_runs WHERE kind <> 'manual' AND kind = 'nightly' AND logical_date <= e.logical_date)
  AND NOT EXISTS (
      SELECT FROM etl_runs later CROSS JOIN LATERAL (
          SELECT FROM etl_files WHERE run_id = later.id AND source = e.source AND status = 'loaded' LIMIT 1) f
      WHERE later.logical_date >= e.logical_date)
ORDER BY e.source;

-- name: run_late
-- Runs of a logical date ($2) that are not finished and have loaded no file of a source ($1)
-- that was expected by a time ($3).
SELECT 'run ' || r.id AS subject,
       'the run of ' || r.logical_date || ' is ' || r.status || ', and has loaded no file of '
           || string_agg(e.source || ' by ' || e.expected_by, ', ' ORDER BY e.source) || coalesce(': ' || left(r.error, 1000), '') AS what,
       r.id AS run_id, r.logical_date, NULL::text AS source, NULL::text AS path, NULL::text AS code
FROM unnest($1::text[], $2::date[], $3::text[]) AS e (source, logical_date, expected_by)
JOIN etl_run_status r ON r.logical_date = e.logical_date AND r.kind <> 'manual'
WHERE r.status NOT IN ('succeeded', 'failed')
  AND NOT EXISTS (
      SELECT FROM etl_runs later CROSS JOIN LATERAL (
          SELECT FROM etl_files WHERE run_id = later.id AND source = e.source AND status = 'loaded' LIMIT 1) f
      WHERE later.logical_date >= e.logical_date)
GROUP BY r.id, r.logical_date, r.status, r.error
ORDER BY r.id;

-- name: schedule_late
-- The schedule has not decided a date that ended more than the grace ago ($1), or it is at a
-- date that does not end within the grace ($2), before which nothing runs.
SELECT 'schedule' AS subject,
       'the schedule is at ' || last_date || ', and ' || CASE WHEN last_date < $1::date THEN $1::date || ' has ended' ELSE 'that has not ended' END AS what,
       NULL::bigint AS run_id, $1::date AS logical_date, NULL::text AS source, NULL::text AS path, NULL::text AS code
FROM etl_schedule WHERE last_date < $1::date OR last_date > $2::date;

-- name: export_old
-- The first run that is not in the export to the target ($1), if the last export failed, or the
-- run ended more than $2 seconds ago. Before the first export, time counts from the first try or
-- its job ($3).
WITH last AS (
    SELECT status, error FROM etl_exports WHERE target = $1 ORDER BY id DESC LIMIT 1
), good AS (
    SELECT started_at FROM etl_exports WHERE target = $1 AND status = 'succeeded' ORDER BY id DESC LIMIT 1
), missing AS (
    SELECT r.id, r.logical_date, o.finished_at
    FROM etl_outcomes o JOIN etl_runs r ON r.id = o.run_id
    WHERE o.status IN ('succeeded', 'failed') AND o.finished_at > coalesce((SELECT started_at FROM good), '-infinity')
    ORDER BY o.finished_at LIMIT 1
), first AS (
    SELECT coalesce((SELECT started_at FROM etl_exports WHERE target = $1 ORDER BY id LIMIT 1),
                    (SELECT min(created_at) FROM river_job WHERE kind = $3), now()) AS tried_at
)
SELECT $1 AS subject,
       CASE last.status WHEN 'failed' THEN 'the export failed' ELSE 'the export does not have the run of ' || missing.logical_date END
           || coalesce(': ' || left(last.error, 1000), '') AS what,
       missing.id AS run_id, missing.logical_date, NULL::text AS source, $1 AS path, NULL::text AS code
FROM missing CROSS JOIN first LEFT JOIN last ON true
WHERE last.status = 'failed' OR greatest(missing.finished_at, first.tried_at) < now() - make_interval(secs => $2);

-- name: verify_drift
-- The last verification that ended, if it found differences or failed.
SELECT 'verify' AS subject,
       CASE status WHEN 'drift' THEN differences || ' differences' || coalesce(', the first: ' || left((found -> 0)::text, 1000), '')
           ELSE 'the verification failed: ' || left(error, 1000) END AS what,
       NULL::bigint AS run_id, coalesce(logical_date, finished_at::date) AS logical_date, NULL::text AS source, NULL::text AS path, NULL::text AS code
FROM (SELECT * FROM etl_verifications WHERE status <> 'retrying' ORDER BY id DESC LIMIT 1) last
WHERE status IN ('drift', 'failed');

-- name: keep_alerts
-- What was gone for a moment has come back.
UPDATE alerts a SET gone_at = NULL
FROM unnest($1::text[], $2::text[]) AS found (cause, subject)
WHERE a.closed_at IS NULL AND a.gone_at IS NOT NULL
  AND a.cause = found.cause AND md5(a.subject) = md5(found.subject);

-- name: close_alerts
-- Of the open alerts, those that are gone since $3 seconds, or since a moment of the future (the
-- clock was ahead), are closed, and others that are gone are marked.
UPDATE alerts a SET closed_at = CASE WHEN a.gone_at IS NOT NULL THEN now() END, gone_at = coalesce(a.gone_at, now())
WHERE a.closed_at IS NULL AND (a.gone_at IS NULL OR a.gone_at NOT BETWEEN now() - make_interval(secs => $3) AND now())
  AND NOT EXISTS (
      SELECT FROM unnest($1::text[], $2::text[]) AS found (cause, subject)
      WHERE found.cause = a.cause AND found.subject = a.subject)
RETURNING a.id, a.cause, a.subject, a.closed_at IS NOT NULL AS closed;

-- name: open_alerts
INSERT INTO alerts (cause, subject, what, next_step, run_id, logical_date, source, path, code)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::date[], $7::text[], $8::text[], $9::text[])
    AS found (cause, subject, what, next_step, run_id, logical_date, source, path, code)
WHERE NOT EXISTS (
    SELECT FROM alerts a
    WHERE a.closed_at IS NULL AND a.cause = found.cause AND md5(a.subject) = md5(found.subject))
RETURNING id, cause, subject, false AS closed;

-- name: add_messages
-- For each channel ($1) a message about every open alert, and about each that was told and has
-- closed within a day.
INSERT INTO alert_messages (id, alert_id, state, channel)
SELECT 'msg_' || replace(gen_random_uuid()::text, '-', ''), a.id, CASE WHEN a.closed_at IS NULL THEN 'open' ELSE 'over' END, c.channel
FROM (
    SELECT id, closed_at FROM alerts WHERE closed_at IS NULL
    UNION ALL
    SELECT id, closed_at FROM alerts WHERE closed_at > now() - interval '1 day'
) a CROSS JOIN unnest($1::text[]) AS c (channel)
WHERE (a.closed_at IS NULL OR EXISTS (
          SELECT FROM alert_messages m WHERE m.alert_id = a.id AND m.channel = c.channel AND m.state = 'open'))
  AND NOT EXISTS (
      SELECT FROM alert_messages m
      WHERE m.alert_id = a.id AND m.channel = c.channel AND m.state = CASE WHEN a.closed_at IS NULL THEN 'open' ELSE 'over' END)
ORDER BY a.id;

-- name: unqueued_messages
-- Pending messages to a channel ($1) without a River job ($2) that will be worked on: they are
-- new, or their worker was killed, or their job was deleted. A cancelled job stays cancelled.
-- A running job counts for $3 seconds.
SELECT m.id
FROM alert_messages m
WHERE m.delivered_at IS NULL AND m.failed_at IS NULL AND m.channel = ANY ($1::text[])
  AND NOT EXISTS (
      SELECT FROM river_job j
      WHERE j.kind = $2 AND j.args @> jsonb_build_object('message_id', m.id)
        AND (j.state IN ('available', 'scheduled', 'retryable', 'pending', 'cancelled')
             OR j.state = 'running' AND j.attempted_at BETWEEN now() - make_interval(secs => $3) AND now() + make_interval(secs => $3)))
ORDER BY m.created_at, m.id;

-- name: message
-- A message that an alert is over waits for the one that it is open.
SELECT m.alert_id, m.state, m.channel, m.created_at, m.delivered_at IS NOT NULL OR m.failed_at IS NOT NULL AS finished,
       EXISTS (SELECT FROM alert_messages earlier
               WHERE earlier.alert_id = m.alert_id AND earlier.channel = m.channel AND earlier.state = 'open' AND m.state = 'over'
                 AND earlier.delivered_at IS NULL AND earlier.failed_at IS NULL) AS waits
FROM alert_messages m WHERE m.id = $1;

-- name: message_delivered
UPDATE alert_messages SET delivered_at = now() WHERE id = $1 AND failed_at IS NULL;

-- name: message_failed
UPDATE alert_messages SET failed_at = now(), error = $2 WHERE id = $1 AND delivered_at IS NULL;
