-- Seals every commit that changes data in a chain of hashes, and keeps each state of a
-- transaction.
--
-- The hash is over the SHA-256 of an entry and not its text, so that a receipt can go along
-- the chain with 32 bytes for each entry that it does not show.
--
-- Why: a load is not the end. Rows are corrected, replayed and taken back; each of that must
-- leave a trace that cannot be edited without a mark. An entry's hash covers the entry and
-- the hash before it, so a hash that was noted elsewhere shows any later change up to it.
--
-- Files that are loaded already get an entry each, in the order of their commits, without a
-- digest of their rejects.
--
-- Locks: transaction_versions while it is rewritten, which has only replaced rows.

CREATE TABLE audit_chain (
    number  BIGINT      PRIMARY KEY CHECK (number >= 1),
    at      TIMESTAMPTZ NOT NULL,
    kind    TEXT        NOT NULL CHECK (kind IN ('load', 'replay', 'fix', 'settle', 'discard', 'revert', 'retire', 'expire')),
    file_id BIGINT,
    entry   TEXT        NOT NULL,
    hash    BYTEA       NOT NULL CHECK (length(hash) = 32)
);

COMMENT ON TABLE audit_chain IS 'One entry for each commit that changed data, numbered without gaps in the order of the commits.';
COMMENT ON COLUMN audit_chain.entry IS 'What the commit changed, as JSON: the text that hash covers.';
COMMENT ON COLUMN audit_chain.hash IS 'SHA-256 of the hash before it (of the first entry: 32 zero bytes) and the SHA-256 of entry.';
COMMENT ON COLUMN audit_chain.file_id IS 'The file that was loaded or reverted.';

CREATE UNIQUE INDEX audit_chain_load ON audit_chain (file_id) WHERE kind = 'load';
CREATE INDEX audit_chain_at ON audit_chain (at);

--bun:split

DO $$
DECLARE
    f        RECORD;
    n        BIGINT      := 0;
    at       TIMESTAMPTZ := '-infinity';
    previous BYTEA       := decode(repeat('00', 32), 'hex');
    entry    TEXT;
BEGIN
    FOR f IN
        SELECT e.*, coalesce(v.amount, 0) AS replaced_amount, r.logical_date
        FROM etl_files e JOIN etl_runs r ON r.id = e.run_id
        LEFT JOIN (SELECT replaced_by_file, sum(amount::numeric) AS amount FROM transaction_versions GROUP BY 1) v ON v.replaced_by_file = e.id
        WHERE e.status = 'loaded' ORDER BY e.finished_at, e.id
    LOOP
        n := n + 1;
        at := greatest(f.finished_at, at + interval '1 microsecond');
        entry := json_build_object('number', n, 'at', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'kind', 'load',
            'file_id', f.id, 'path', f.path, 'sha256', encode(f.sha256, 'hex'), 'read', f.read, 'loaded', f.loaded, 'duplicate', f.duplicate,
            'conflict', f.conflict, 'rejected', f.rejected, 'replaced', f.replaced,
            'rows', f.loaded - f.replaced, 'amount', f.total_amount - f.replaced_amount,
            'readings', json_build_array(json_build_object('file_id', f.id, 'version', f.reading, 'rules', f.rules, 'conventions',
                (SELECT coalesce(json_object_agg(key, value->>'choice') FILTER (WHERE value->>'choice' <> ''), '{}') FROM jsonb_each(f.conventions)),
                'logical_date', f.logical_date)))::text;
        previous := sha256(previous || sha256(convert_to(entry, 'UTF8')));
        INSERT INTO audit_chain VALUES (n, at, 'load', f.id, entry, previous);
    END LOOP;
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_chain
    FOR EACH STATEMENT EXECUTE FUNCTION tally_append_only();

--bun:split

-- Rows that came by another commit than their file's load. The last entry of a row is what
-- brought its present state.
CREATE TABLE transaction_origins (
    file_id BIGINT NOT NULL,
    line    BIGINT NOT NULL,
    change  BIGINT NOT NULL,
    PRIMARY KEY (file_id, line, change)
);

COMMENT ON TABLE transaction_origins IS 'Rows of transactions that came by a replay, a fix, a settlement or a revert. All others came with the load of their file.';
COMMENT ON COLUMN transaction_origins.change IS 'audit_chain.number.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON transaction_origins
    FOR EACH STATEMENT EXECUTE FUNCTION tally_append_only();

--bun:split

DROP TRIGGER append_only ON transaction_versions;

ALTER TABLE transaction_versions
    ADD COLUMN from_change BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN to_change   BIGINT NOT NULL DEFAULT 0;

UPDATE transaction_versions v SET
    from_change = coalesce((SELECT number FROM audit_chain c WHERE c.kind = 'load' AND c.file_id = v.file_id), 0),
    to_change   = coalesce((SELECT number FROM audit_chain c WHERE c.kind = 'load' AND c.file_id = v.replaced_by_file), 0);

ALTER TABLE transaction_versions
    DROP CONSTRAINT transaction_versions_pkey,
    DROP COLUMN replaced_by_file,
    DROP COLUMN replaced_at,
    ALTER COLUMN from_change DROP DEFAULT,
    ALTER COLUMN to_change DROP DEFAULT,
    ADD PRIMARY KEY (transaction_id, to_change, file_id, line);

-- For a user's summary as of a former moment.
CREATE INDEX transaction_versions_user ON transaction_versions (user_id);

COMMENT ON TABLE transaction_versions IS 'Former states of transactions: rows that were replaced or taken out.';
COMMENT ON COLUMN transaction_versions.from_change IS 'The entry of audit_chain that brought this state.';
COMMENT ON COLUMN transaction_versions.to_change IS 'The entry of audit_chain that ended it.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON transaction_versions
    FOR EACH STATEMENT EXECUTE FUNCTION tally_append_only();

--bun:split

INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0016', 1, now());
