-- Counts every commit that changes data in summary_epoch, not only those that change
-- summaries.
--
-- Why: an answer of the API names the last commit that it includes, so that a client can
-- ask any server for one that is at least as new, and a replica can show how far it is. A
-- rejected row, or a reject that was closed, is a change that an answer can lack, too.
--
-- A commit that has an entry in audit_chain, and has not announced a change of summaries,
-- announces one of no users. What depends on summaries only has the column summaries.
--
-- Locks: audit_chain and summary_epoch, briefly.

ALTER TABLE summary_epoch ADD COLUMN summaries BIGINT NOT NULL DEFAULT 1;

SET LOCAL tally.writer = 'tally';

UPDATE summary_epoch SET summaries = epoch;

COMMENT ON TABLE summary_epoch IS 'One row: counts the commits that changed data, in their order.';
COMMENT ON COLUMN summary_epoch.summaries IS 'The last of them that changed user_summary.';

--bun:split

-- The payload is the epoch, the file (0: none), and the users, * for all or - for none.
CREATE OR REPLACE FUNCTION tally_announce(file_id BIGINT, users INT[]) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    now_at BIGINT;
BEGIN
    PERFORM set_config('tally.announced', 'yes', true), set_config('tally.counted', 'yes', true);
    UPDATE summary_epoch SET epoch = epoch + 1, summaries = CASE WHEN users = '{}' THEN summaries ELSE epoch + 1 END
    RETURNING epoch INTO STRICT now_at;
    PERFORM pg_notify('tally_summaries', format('%s %s %s', now_at, file_id,
        CASE WHEN users IS NULL THEN '*' WHEN users = '{}' THEN '-' ELSE array_to_string(users, ',') END));
END $$;

COMMENT ON FUNCTION tally_announce(BIGINT, INT[]) IS 'Announces that the transaction changes data, with the users whose summaries change, NULL for all; at most 600 of them, since a notification holds 8000 bytes.';

--bun:split

-- Comes after the transaction's own announcement, since an entry is a transaction's last change.
-- It sets tally.writer itself, since only a superuser may give a function a setting that PostgreSQL does not know.
CREATE FUNCTION tally_announce_entry() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    writer TEXT := coalesce(current_setting('tally.writer', true), '');
BEGIN
    IF current_setting('tally.counted', true) IS DISTINCT FROM 'yes' THEN
        PERFORM set_config('tally.writer', 'tally', true);
        PERFORM tally_announce(0, '{}');
        PERFORM set_config('tally.writer', writer, true);
    END IF;
    RETURN NULL;
END $$;

COMMENT ON FUNCTION tally_announce_entry() IS 'Counts a commit with an entry in audit_chain that changes no summaries.';

CREATE TRIGGER announce AFTER INSERT ON audit_chain
    FOR EACH STATEMENT EXECUTE FUNCTION tally_announce_entry();

--bun:split

INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0020', 1, now());
