-- name: sources
-- The sources one after the other by the index, each with its last file.
WITH RECURSIVE names (name) AS (
    (SELECT source FROM etl_files ORDER BY source LIMIT 1)
    UNION ALL
    SELECT (SELECT source FROM etl_files WHERE source > name ORDER BY source LIMIT 1) FROM names WHERE name IS NOT NULL
)
SELECT name, f.rules AS settings, f.id AS last_file_id, f.path AS last_path, f.finished_at AS last_at
FROM names CROSS JOIN LATERAL (SELECT * FROM etl_files WHERE source = name ORDER BY id DESC LIMIT 1) f
LIMIT 1000;
