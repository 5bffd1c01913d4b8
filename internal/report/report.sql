-- name: server
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS number,
       current_database()::text AS database, pg_database_size(current_database()) AS bytes,
       pg_postmaster_start_time() AS since,
       (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()) AS stats_since,
       pg_is_in_recovery() AS replica,
       (SELECT count(*) FROM pg_stat_replication) AS standbys,
       current_setting('cluster_name') = 'tally' AS embedded, tally_distributed() AS distributed,
       -- Of other roles' sessions all but their existence is hidden from others.
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_sessions,
       ARRAY(SELECT extname::text FROM pg_extension) AS extensions;

-- name: migrated
SELECT bool_and(to_regclass(name) IS NOT NULL) FROM unnest($1::text[]) name;

-- name: tables
-- What rows need is estimated from pg_stats: their average widths and 28 bytes for a
-- row's header and pointer, in pages filled as the table's fillfactor says.
SELECT c.relname::text AS name, coalesce(p.relname::text, '') AS partition_of, c.relkind = 'p' AS partitioned,
       c.reltuples::float8 AS rows, coalesce(s.n_live_tup, 0) AS live, coalesce(s.n_dead_tup, 0) AS dead,
       CASE WHEN c.relkind = 'p' THEN 0 ELSE pg_table_size(c.oid) END AS bytes,
       CASE WHEN c.relkind = 'p' THEN 0 ELSE pg_indexes_size(c.oid) END AS index_bytes,
       CASE WHEN c.relkind = 'p' OR c.reltuples <= 0 OR w.bytes IS NULL THEN 0
            ELSE greatest(0, pg_relation_size(c.oid) - ceil(c.reltuples * (w.bytes + 28)
                 / (8168 * coalesce((SELECT option_value::int FROM pg_options_to_table(c.reloptions) WHERE option_name = 'fillfactor'), 100) / 100.0)) * 8192)::bigint
       END AS bloat,
       coalesce(s.n_mod_since_analyze, 0) AS modified,
       greatest(s.last_analyze, s.last_autoanalyze) AS analyzed, greatest(s.last_vacuum, s.last_autovacuum) AS vacuumed,
       EXISTS (SELECT FROM pg_stats a WHERE a.tablename = c.relname AND a.schemaname = c.relnamespace::regnamespace::text AND (a.inherited = (c.relkind = 'p'))) AS has_stats,
       coalesce(s.seq_scan, 0) AS seq_scans, coalesce(s.seq_tup_read, 0) AS seq_rows, coalesce(s.idx_scan, 0) AS index_scans,
       coalesce(s.n_tup_upd, 0) AS updates, coalesce(s.n_tup_hot_upd, 0) AS hot_updates,
       coalesce(io.heap_blks_hit, 0) AS heap_hit, coalesce(io.heap_blks_read, 0) AS heap_read,
       coalesce(io.idx_blks_hit, 0) AS index_hit, coalesce(io.idx_blks_read, 0) AS index_read,
       CASE WHEN c.relkind = 'p' THEN 0 ELSE age(c.relfrozenxid)::bigint END AS xid_age
FROM pg_class c
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
LEFT JOIN pg_class p ON p.oid = i.inhparent
LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
LEFT JOIN pg_statio_all_tables io ON io.relid = c.oid
LEFT JOIN (SELECT schemaname, tablename, sum(avg_width * (1 - null_frac)) AS bytes FROM pg_stats WHERE NOT inherited GROUP BY 1, 2) w
       ON w.tablename = c.relname AND w.schemaname = c.relnamespace::regnamespace::text
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'transactions'::regclass)
ORDER BY coalesce(p.relname, c.relname), p.relname IS NOT NULL, c.relname;

-- name: indexes
SELECT c.relname::text AS name, t.relname::text AS table_name, pg_get_indexdef(c.oid) AS definition,
       EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid) AS of_partition,
       x.indisunique OR EXISTS (SELECT FROM pg_constraint WHERE conindid = c.oid) AS is_constraint,
       x.indisvalid AND x.indisready AS valid,
       CASE WHEN c.relkind = 'I' THEN 0 ELSE pg_relation_size(c.oid) END AS bytes, coalesce(s.idx_scan, 0) AS scans
FROM pg_index x
JOIN pg_class c ON c.oid = x.indexrelid
JOIN pg_class t ON t.oid = x.indrelid
LEFT JOIN pg_stat_all_indexes s ON s.indexrelid = c.oid
WHERE t.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'transactions'::regclass) AND t.relkind IN ('r', 'p')
ORDER BY t.relname, c.relname;

-- name: partitions
-- Every month that has a partition, or that daily_totals counts rows in and that was not retired. What a
-- partition holds is taken as the planner takes it: its pages, as they are now, at the
-- rows that each had when they were last counted. One without pages holds nothing.
SELECT coalesce(p.month, d.month) AS month, coalesce(p.name, '') AS name, coalesce(p.rows, 0)::float8 AS rows, coalesce(p.bytes, 0) AS bytes,
       CASE WHEN tally_distributed() THEN -1 WHEN p.pages = 0 THEN 0 WHEN p.rows > 0 AND p.counted_pages > 0 THEN p.rows * p.pages / p.counted_pages ELSE -1 END::float8 AS held,
       coalesce(d.counted, 0)::bigint AS counted, coalesce(trim_scale(d.amount)::text, '0') AS amount,
       count(*) OVER () > 2 AND coalesce(coalesce(p.month, d.month) - interval '3 years' >= lag(coalesce(p.month, d.month)) OVER months, true)
           AND coalesce(coalesce(p.month, d.month) + interval '3 years' <= lead(coalesce(p.month, d.month)) OVER months, true) AS apart
FROM (
    SELECT substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \(''([0-9-]+)''\)')::date AS month, c.relname::text AS name,
           c.reltuples AS rows, tally_table_size(c.oid) AS bytes, c.relpages AS counted_pages, pg_relation_size(c.oid) / 8192 AS pages
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'transactions'::regclass
) p
FULL JOIN (
    SELECT date_trunc('month', transaction_date)::date AS month, sum(total_transactions) AS counted, sum(total_amount) AS amount
    FROM daily_totals WHERE date_trunc('month', transaction_date)::date NOT IN (SELECT month FROM etl_retired) GROUP BY 1
) d ON d.month = p.month
WINDOW months AS (ORDER BY coalesce(p.month, d.month))
ORDER BY 1;

-- name: nights
SELECT (finished_at AT TIME ZONE 'UTC')::date AS day, count(*) AS files, sum(read)::bigint AS read, sum(loaded)::bigint AS loaded,
       sum(read - loaded)::bigint AS not_loaded, sum(bytes)::bigint AS bytes,
       coalesce(sum(extract(epoch FROM finished_at - started_at)), 0)::float8 AS seconds
FROM etl_files WHERE status = 'loaded' AND finished_at > now() - interval '400 days'
GROUP BY 1 ORDER BY 1;

-- name: pace
-- Of the last ninety days. The very first load is often years at once, so what it loaded
-- is left out. A night's time for a row is fitted by a line through the days.
WITH night AS (
    SELECT (finished_at AT TIME ZONE 'UTC')::date AS day, sum(loaded)::float8 AS loaded, sum(read)::float8 AS read,
           extract(epoch FROM sum(finished_at - started_at))::float8 AS seconds,
           row_number() OVER (ORDER BY (finished_at AT TIME ZONE 'UTC')::date) > 1 AS later
    FROM etl_files WHERE status = 'loaded' AND finished_at > now() - interval '400 days'
    GROUP BY 1
), recent AS (
    SELECT *, seconds / nullif(read, 0) AS per_row, loaded > 0 AND seconds > 0 AS timed,
           extract(epoch FROM day - (now() AT TIME ZONE 'UTC'))::float8 / 86400 AS at
    FROM night WHERE day >= (now() AT TIME ZONE 'UTC') - interval '90 days'
)
SELECT count(*) AS nights,
       coalesce(sum(loaded) FILTER (WHERE later) / (max(day) - min(day) FILTER (WHERE later) + 1), 0) AS loaded,
       count(*) FILTER (WHERE timed) AS timed,
       coalesce(avg(read) FILTER (WHERE timed), 0) AS rows,
       coalesce((array_agg(per_row ORDER BY day DESC) FILTER (WHERE timed))[1], 0) AS per_row,
       coalesce(regr_intercept(per_row, at) FILTER (WHERE timed), 0) AS today,
       coalesce(regr_slope(per_row, at) FILTER (WHERE timed), 0) AS slope
FROM recent;

-- name: totals
-- What each rollup counts: they move in one commit, so they agree or something went
-- round Tally.
SELECT '{{rollup}}' AS rollup, coalesce(sum(total_transactions), 0)::text AS transactions, trim_scale(coalesce(sum(total_amount), 0))::text AS amount FROM {{rollup}};

-- name: settings
SELECT name, current_setting(name) AS value, source, source = 'default' AS is_default,
       CASE WHEN unit IN ('8kB', 'kB', 'MB', 'B') THEN greatest(0, pg_size_bytes(setting || CASE unit WHEN '8kB' THEN 'kB' ELSE unit END)) * CASE unit WHEN '8kB' THEN 8 ELSE 1 END
            ELSE 0 END AS bytes
FROM pg_settings WHERE name IN (
    'autovacuum', 'autovacuum_freeze_max_age', 'checkpoint_timeout', 'default_statistics_target', 'effective_cache_size', 'fsync', 'full_page_writes', 'huge_pages',
    'jit', 'maintenance_work_mem', 'max_connections', 'max_parallel_workers_per_gather', 'max_wal_size', 'random_page_cost',
    'shared_buffers', 'synchronous_commit', 'track_activities', 'track_counts', 'track_io_timing', 'wal_compression', 'work_mem')
ORDER BY name;

-- name: statements
SELECT left(query, 2000) AS text, calls, total_exec_time AS total, mean_exec_time AS mean, rows
FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY total_exec_time DESC LIMIT 15;

-- Each of the following finds what its name says: a row is a finding, and its columns are
-- what its words are filled in with.

-- name: failed-run
-- As for the alerts: failed within a week, for a reason besides its files, or with a file that was
-- not loaded from the same path since.
SELECT 'run ' || r.id AS subject, 60::float8 AS weight, r.logical_date::text AS date, coalesce(r.error, '') AS error
FROM etl_run_status r JOIN etl_outcomes o ON o.run_id = r.id AND o.attempt = r.attempt
WHERE o.status = 'failed' AND r.kind <> 'manual' AND o.finished_at > now() - interval '7 days'
  AND (NOT o.files_only OR EXISTS (
      SELECT FROM etl_files f
      WHERE f.run_id = r.id AND f.status = 'failed' AND NOT EXISTS (
          SELECT FROM etl_files later WHERE later.path = f.path AND later.id > f.id AND later.status = 'loaded')))
ORDER BY r.logical_date DESC LIMIT 10;

-- name: unsafe-setting
SELECT name AS subject, 105::float8 AS weight, source, loses
FROM (VALUES
    ('fsync', 'a crash of the machine can destroy the whole database'),
    ('full_page_writes', 'a crash of the machine can leave half-written pages'),
    ('synchronous_commit', 'a crash can lose the last commits, a load that was reported among them; the next run loads its file again')
) dangers (name, loses) JOIN pg_settings USING (name) WHERE setting = 'off';

-- name: no-autovacuum
SELECT name AS subject, 50::float8 AS weight FROM pg_settings WHERE name IN ('autovacuum', 'track_counts') AND setting = 'off';

-- name: checkpoints
-- A write-ahead log that fills before a checkpoint is due. The view is another one from 17 on.
SELECT 'max_wal_size' AS subject, 13::float8 AS weight, {{requested}} AS requested, {{timed}} AS timed, {{requested}} + {{timed}} AS total,
       current_setting('max_wal_size') AS size, greatest(2048, 2 * pg_size_bytes(current_setting('max_wal_size')) >> 20) AS fix
FROM {{view}} WHERE {{requested}} >= greatest(20, {{timed}});

-- name: open-transaction
SELECT 'process ' || pid AS subject, 35::float8 AS weight, pid, coalesce(application_name, '') AS application,
       coalesce(state, '') AS state, extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
  AND xact_start < clock_timestamp() - make_interval(secs => $1)
ORDER BY xact_start LIMIT 10;

-- name: slot-keeps-log
SELECT slot_name::text AS subject, 65 + bytes / 2::float8 ^ 40 AS weight, bytes
FROM (
    SELECT slot_name, active, pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                                                   ELSE pg_current_wal_lsn() END, restart_lsn)::bigint AS bytes
    FROM pg_replication_slots WHERE restart_lsn IS NOT NULL
) slot
WHERE NOT active AND bytes > 1::bigint << 30;

-- name: leftover-table
-- Tables that look like a month of transactions, are none of its partitions, and were not kept
-- when their months were retired.
SELECT name AS subject, 11 + least(9, bytes / 2::float8 ^ 30) AS weight, bytes, rows
FROM (
    SELECT relname::text AS name, pg_total_relation_size(oid) AS bytes, reltuples::float8 AS rows
    FROM pg_class
    WHERE relkind = 'r' AND relname LIKE 'transactions\_%' AND NOT relispartition AND relname <> 'transaction_versions'
      AND relname NOT IN (SELECT kept_table FROM etl_retired WHERE kept_table IS NOT NULL)
      AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'transactions'::regclass)
) leftover;

-- name: transaction-ids
-- PostgreSQL freezes by force at autovacuum_freeze_max_age, and refuses writes at two billion.
SELECT datname::text AS subject, 95::float8 AS weight, age, "limit"
FROM (
    SELECT datname, age(datfrozenxid)::bigint AS age, current_setting('autovacuum_freeze_max_age')::bigint AS "limit" FROM pg_database
) ids
WHERE datname = current_database() AND age >= 1.5 * "limit";

-- name: index-bloat
-- Of pgstattuple; it reads the whole index. PostgreSQL fills pages to 90 per cent, and splits
-- in random order leave some 70; at 45 a new index would have half the size.
SELECT $1::text AS subject, 38 + least(0.9, index_size / 2::float8 ^ 40) AS weight, avg_leaf_density / 100 AS density,
       index_size::bigint AS bytes, (index_size * (1 - avg_leaf_density / 90))::bigint AS waste
FROM pgstatindex($1::text) WHERE index_size >= 8 << 20 AND avg_leaf_density <= 45;
