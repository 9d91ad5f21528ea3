CREATE TABLE session_checks (
    user_id    uuid PRIMARY KEY REFERENCES users (id),
    checked_at timestamptz NOT NULL
);
COMMENT ON TABLE session_checks IS 'when a worker last asked the chart site whether the session of a user is valid';

CREATE INDEX session_checks_by_time ON session_checks (checked_at);

GRANT SELECT, INSERT, UPDATE ON session_checks TO alerts_capture;
GRANT SELECT (tv_cookies_updated_at) ON user_config TO alerts_capture;
GRANT SELECT (disposition) ON signals TO alerts_capture;
GRANT SELECT ON session_checks TO alerts_platform_reader;

ALTER TABLE session_checks ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
DO $$
BEGIN
    EXECUTE format('CREATE POLICY every_row ON session_checks TO %I, alerts_capture, alerts_platform_reader '
                   'USING (true)', current_user);
END $$;
