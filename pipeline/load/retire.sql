-- name: lock_retired
-- Excludes the exports and verifications, which lock it in ROW SHARE mode: their snapshots
-- would have the rollups of before and none of the rows.
LOCK TABLE etl_retired IN EXCLUSIVE MODE;

-- name: old_partitions
-- The partitions with days before $1, and whether they have later days, too.
SELECT c.oid::regclass::text, c.relname::text,
       bounds IS NULL OR bounds[2] = 'MAXVALUE' OR trim(BOTH chr(39) FROM bounds[2])::date > $1
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
CROSS JOIN LATERAL (SELECT regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \((.*)\) TO \((.*)\)') AS bounds) b
WHERE i.inhparent = 'transactions'::regclass
  AND (bounds IS NULL OR bounds[1] = 'MINVALUE' OR trim(BOTH chr(39) FROM bounds[1])::date < $1)
ORDER BY c.relname;

-- name: retired_revert
-- The first file of $1 with retired rows, and the first of their months.
SELECT file_id::text, to_char(month, 'YYYY-MM') FROM etl_retired_files WHERE file_id = ANY($1::bigint[]) ORDER BY file_id, month LIMIT 1;

-- name: retired_restore
-- An id whose former state is in a retired month.
SELECT transaction_id, to_char(transaction_date, 'YYYY-MM') FROM load_restored
WHERE transaction_date < (SELECT before FROM etl_retired_before) ORDER BY transaction_id LIMIT 1;
