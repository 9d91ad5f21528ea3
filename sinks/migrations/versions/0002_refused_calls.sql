-- Of calls that were refused nothing is known but where they came from and why.
ALTER TABLE audit_logs
    ALTER COLUMN user_id DROP NOT NULL,
    ALTER COLUMN user_agent DROP NOT NULL,
    ALTER COLUMN content_type DROP NOT NULL,
    ALTER COLUMN body_bytes DROP NOT NULL,
    ALTER COLUMN lane DROP NOT NULL,
    ADD COLUMN status smallint CHECK (status BETWEEN 100 AND 599),
    ADD COLUMN count bigint NOT NULL DEFAULT 1 CHECK (count > 0),
    ADD COLUMN first_at timestamptz,
    ADD CONSTRAINT audit_logs_accepted_or_refused CHECK (
        CASE WHEN first_at IS NULL
            THEN count = 1 AND num_nulls(user_id, user_agent, content_type, body_bytes, lane) = 0
            ELSE status IS NOT NULL AND outcome <> 'accepted' AND first_at <= received_at
        END
    );
COMMENT ON TABLE audit_logs IS
    'one row per accepted call, its id the signal id; one row for refused calls that were alike, with a count';
COMMENT ON COLUMN audit_logs.outcome IS 'what became of an accepted call, or why calls were refused';
COMMENT ON COLUMN audit_logs.first_at IS 'of refused calls only: the first of them; received_at is the last';

CREATE INDEX audit_logs_refused ON audit_logs (id DESC) WHERE first_at IS NOT NULL;
