-- Creates the ledger of requested retirements.
--
-- Why: retiring months takes longer than a request, so a worker does it. What was requested,
-- by whom, and what became of it must outlive the job, which River deletes after a day.
--
-- Locks: only new tables.

CREATE TABLE etl_retirements (
    id           BIGINT      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    before       DATE        NOT NULL CHECK (extract(day FROM before) = 1),
    totals       TEXT        NOT NULL CHECK (totals IN ('keep', 'drop')),
    export       BOOLEAN     NOT NULL,
    keep_tables  BOOLEAN     NOT NULL,
    dry_run      BOOLEAN     NOT NULL,
    reason       TEXT        NOT NULL,
    requested_by TEXT        NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE etl_retirements IS 'Retirements of months that were requested of the workers.';
COMMENT ON COLUMN etl_retirements.before IS 'All months before this one.';
COMMENT ON COLUMN etl_retirements.dry_run IS 'It only counts what it would retire.';

CREATE TABLE etl_retirement_outcomes (
    retirement_id BIGINT      PRIMARY KEY REFERENCES etl_retirements,
    status        TEXT        NOT NULL CHECK (status IN ('succeeded', 'failed')),
    error         TEXT,
    result        JSONB,
    finished_at   TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    CHECK ((status = 'failed') = (error IS NOT NULL) AND (status = 'succeeded') = (result IS NOT NULL))
);

COMMENT ON TABLE etl_retirement_outcomes IS 'How a requested retirement ended, in the same commit as the months that it retired.';
COMMENT ON COLUMN etl_retirement_outcomes.result IS 'The months, with what they had.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON etl_retirements
    FOR EACH STATEMENT EXECUTE FUNCTION tally_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON etl_retirement_outcomes
    FOR EACH STATEMENT EXECUTE FUNCTION tally_append_only();

--bun:split

INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0023', 1, now());
