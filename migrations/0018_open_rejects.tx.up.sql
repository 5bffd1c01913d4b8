-- Records where open rejects are.
--
-- Why: rejects are listed by key, the open ones by default. Most are closed one day, and a
-- list that went through those would take seconds before its first row.
--
-- Locks: only a new table.
-- Blocks: loads while an index on etl_reject_states is built, and etl_rejects is read once, about 1 s per million rejects.

CREATE TABLE etl_open_rejects (
    file_id BIGINT NOT NULL,
    block   BIGINT NOT NULL,
    PRIMARY KEY (file_id, block)
);

COMMENT ON TABLE etl_open_rejects IS 'Parts of files that may have open rejects or conflicts. Each other part has none.';
COMMENT ON COLUMN etl_open_rejects.block IS 'Lines from 4096 times this number on, 4096 of them.';

INSERT INTO etl_open_rejects
SELECT DISTINCT r.file_id, r.line >> 12
FROM etl_rejects r JOIN etl_files f ON f.id = r.file_id AND f.status = 'loaded'
WHERE r.outcome <> 'duplicate' OR EXISTS (SELECT FROM etl_reject_states s WHERE s.file_id = r.file_id AND s.line = r.line AND s.state = 'open');

DELETE FROM etl_open_rejects o USING etl_reverts v WHERE v.file_id = o.file_id;

CREATE INDEX etl_reject_states_closed ON etl_reject_states (state, file_id, line) WHERE state <> 'open';

--bun:split

INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0018', 1, now());
