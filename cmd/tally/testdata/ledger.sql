-- A ledger of 2,000 nights: an attempt, a file, some rejects and log lines each.
-- River has only the jobs of the last ones.
INSERT INTO etl_runs (kind, logical_date, requested_by, created_at)
SELECT 'nightly', DATE '2010-01-01' + n, 'schedule', TIMESTAMPTZ '2010-01-02' + n * interval '1 day' FROM generate_series(0, 1999) n;
INSERT INTO etl_attempts (run_id, attempt, worker, code_version, started_at)
SELECT id, 1, 'worker', 'v0', created_at FROM etl_runs ORDER BY id;
INSERT INTO etl_outcomes (run_id, attempt, status, finished_at)
SELECT id, 1, 'succeeded', created_at + interval '1 minute' FROM etl_runs WHERE id > 1 ORDER BY id;
INSERT INTO etl_files (run_id, attempt, source, path, sha256, bytes, status, read, loaded, duplicate, conflict, rejected, rules, code_version, started_at)
SELECT id, 1, 'nights', logical_date || '.csv', sha256(id::text::bytea), 1000, 'loaded', 5, 0, 0, 0, 5, '{}', 'v0', created_at
FROM etl_runs ORDER BY id;
INSERT INTO etl_rejects (file_id, line, outcome, faults, raw, raw_length)
SELECT id, line, 'rejected', '{missing_amount}', repeat('x', 80), 80 FROM etl_files, generate_series(2, 6) line ORDER BY id, line;
INSERT INTO etl_reject_states (file_id, line, change, state, outcome) SELECT id, line, 1, CASE WHEN line = 2 AND id % 100 = 0 THEN 'fixed' ELSE 'replayed' END, 'loaded' FROM etl_files, generate_series(2, 5) line ORDER BY id, line;
INSERT INTO etl_open_rejects SELECT id, 0 FROM etl_files;
INSERT INTO etl_logs (run_id, attempt, at, level, message)
SELECT id, 1, created_at, 'INFO', 'file loaded ' || n FROM etl_runs, generate_series(1, 5) n ORDER BY id, n;
INSERT INTO etl_schedule (last_date, time_zone) VALUES ('2015-01-01', 'UTC');
INSERT INTO river_job (args, kind, max_attempts, state, finalized_at)
SELECT jsonb_build_object('run_id', id), 'etl_run', 3, 'completed', created_at FROM etl_runs WHERE id > 1990 ORDER BY id;
