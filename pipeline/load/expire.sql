-- name: expiring_files
-- Files with rejects that ended before $1, after file $2.
SELECT f.id, (SELECT count(*) FROM etl_rejects r WHERE r.file_id = f.id)
FROM etl_files f
WHERE f.finished_at < $1 AND f.id > $2 AND f.duplicate + f.conflict + f.rejected > 0
  AND NOT EXISTS (SELECT FROM etl_expired_rejects x WHERE x.file_id = f.id)
ORDER BY f.id LIMIT $3;

-- name: sealed_digest
SELECT coalesce(entry::jsonb->>'digest', '') FROM audit_chain WHERE kind = 'load' AND file_id = $1;

-- name: expire_rejects
DELETE FROM etl_rejects WHERE file_id = $1;

-- name: expire_open
DELETE FROM etl_open_rejects WHERE file_id = $1;

-- name: note_expired
INSERT INTO etl_expired_rejects (file_id, change, rows) VALUES ($1, $2, $3);

-- name: expiring
-- Of the $2 records with the smallest ids: the last one before $1, how many are before $1, and whether there
-- are others. Ids rise with time but for what is written at the same time.
SELECT coalesce(max(id) FILTER (WHERE at < $1), 0), count(*) FILTER (WHERE at < $1), count(*) = $2
FROM (SELECT id, {{time}} AS at FROM {{table}} ORDER BY id LIMIT $2) r;

-- name: expiring_rows
COPY (SELECT * FROM {{table}} WHERE {{time}} < {{before}} AND id <= {{last}} ORDER BY id) TO STDOUT (FORMAT binary);

-- name: expire
DELETE FROM {{table}} WHERE {{time}} < {{before}} AND id <= {{last}};

-- name: expire_messages
DELETE FROM alert_messages m USING alerts a WHERE a.id = m.alert_id AND a.closed_at < {{before}} AND a.id <= {{last}};
