-- Roles belong to the cluster, not to the database: they may be there already, made by the migration of another
-- database, now or long ago. What may not be done here, an administrator must do: docs/database-roles.md.
DO $$
DECLARE
    wanted record;
    found pg_roles;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('alerts_sink', ''), ('alerts_capture', ''), ('alerts_reader', ''), ('alerts_platform_reader', ''),
            -- takes the rights of a reader by SET ROLE only
            ('alerts_api', 'NOINHERIT')
        ) AS role (name, options)
    LOOP
        IF to_regrole(wanted.name) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN %s', wanted.name, wanted.options);
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN
                    NULL;  -- the migration of another database was faster
                WHEN insufficient_privilege THEN
                    RAISE EXCEPTION 'there is no role %, and % may not create it: '
                        'let an administrator run the statements of docs/database-roles.md, then migrate again',
                        wanted.name, current_user USING ERRCODE = 'insufficient_privilege';
            END;
        END IF;
        SELECT * INTO found FROM pg_roles WHERE rolname = wanted.name;
        IF found.rolsuper OR found.rolbypassrls THEN
            RAISE EXCEPTION 'role % is there already and sees the rows of all tenants: '
                'take SUPERUSER and BYPASSRLS from it, then migrate again', wanted.name
                USING ERRCODE = 'invalid_role_specification';
        END IF;
    END LOOP;
END $$;

DO $$
DECLARE
    -- since version 16 a member may lack the right to SET ROLE
    may_set text := CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END;
    missing record;
BEGIN
    -- the owner reads as a reader too, when the API runs under its login
    FOR missing IN
        SELECT reader, member
        FROM unnest('{alerts_reader, alerts_platform_reader}'::text[]) AS reader,
             unnest(ARRAY['alerts_api', current_user::text]) AS member
        WHERE NOT pg_has_role(member, reader, may_set)
    LOOP
        BEGIN
            EXECUTE format('GRANT %I TO %I', missing.reader, missing.member);
        EXCEPTION
            WHEN unique_violation THEN
                NULL;
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION '% may not grant role % to %: '
                    'let an administrator run the statements of docs/database-roles.md, then migrate again',
                    current_user, missing.reader, missing.member USING ERRCODE = 'insufficient_privilege';
        END;
    END LOOP;
    IF pg_has_role('alerts_api', 'alerts_reader', 'USAGE')
        OR pg_has_role('alerts_reader', 'alerts_platform_reader', 'USAGE') THEN
        RAISE EXCEPTION 'role alerts_api or alerts_reader is there already and inherits the rights of another: '
            'make it as in docs/database-roles.md, then migrate again'
            USING ERRCODE = 'invalid_role_specification';
    END IF;
END $$;

GRANT USAGE ON SCHEMA public TO alerts_sink, alerts_capture, alerts_reader, alerts_platform_reader, alerts_api;

-- Rights are on the parents only: whoever reads a partition by its own name would read past the policies.
-- Nothing is deleted: retention is the owner's. The audit is only added to.
GRANT SELECT, INSERT, UPDATE ON signals, signal_screenshots, user_usage TO alerts_sink;
GRANT SELECT, INSERT ON screenshots, audit_logs TO alerts_sink;
GRANT SELECT, INSERT, DELETE ON released_signals TO alerts_sink;
GRANT SELECT, UPDATE ON partition_settings TO alerts_sink;
GRANT EXECUTE ON FUNCTION ensure_partition(regclass, date) TO alerts_sink;
GRANT SELECT (
        id, plan, signals_quota, quota_mode, quota_reset_at, webhook_enabled, webhook_token_hash, previous_token_hash,
        previous_token_until, allowed_addresses, revision, published_revision, updated_at, deleted_at
    ), UPDATE (
        previous_token_hash, previous_token_until, revision, published_revision, updated_at
    ) ON users TO alerts_sink;
GRANT SELECT (
        user_id, default_chart_id, session_version, tv_cookies_valid, captures_consented_at, captures_allowed_at,
        captures_stopped
    ), UPDATE (tv_cookies_valid, captures_stopped, captures_stopped_reason, updated_at) ON user_config TO alerts_sink;

GRANT SELECT (id, plan, deleted_at) ON users TO alerts_capture;
GRANT SELECT (
        user_id, tv_sessionid, tv_sessionid_sign, session_version, tv_cookies_valid, captures_consented_at,
        captures_stopped
    ) ON user_config TO alerts_capture;
GRANT SELECT (id, user_id, screenshot_status, capture_request_no, capture_rank, capture_by) ON signals TO alerts_capture;

GRANT SELECT (key_hash, scope, user_id, revoked_at) ON api_keys TO alerts_api;

GRANT SELECT ON signals, screenshots, signal_screenshots, audit_logs, user_usage
    TO alerts_reader, alerts_platform_reader;
GRANT SELECT (
        id, name, plan, signals_quota, quota_mode, quota_reset_at, webhook_enabled, allowed_addresses, created_at,
        updated_at, deleted_at
    ) ON users TO alerts_reader, alerts_platform_reader;
GRANT SELECT (
        user_id, session_version, tv_cookies_valid, tv_cookies_updated_at, default_chart_id, notification_preferences,
        captures_consented_at, captures_stopped, captures_stopped_reason, updated_at
    ) ON user_config TO alerts_reader, alerts_platform_reader;

-- Forced, so that also the owner sees only what a policy shows. Which columns and commands is a matter of the grants.
DO $$
DECLARE
    protected text;
BEGIN
    FOREACH protected IN ARRAY
        '{users, user_config, user_usage, signals, screenshots, signal_screenshots, audit_logs}'::text[]
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', protected);
        EXECUTE format('CREATE POLICY every_row ON %I TO %I, alerts_sink, alerts_capture, alerts_platform_reader '
                       'USING (true)', protected, current_user);
    END LOOP;
END $$;

-- The tenant is asked for once a statement, not once a row. Without one nothing is equal to it.
CREATE POLICY own_rows ON users FOR SELECT TO alerts_reader
    USING (id = (SELECT nullif(current_setting('alerts.user_id', true), '')::uuid));
CREATE POLICY own_rows ON user_config FOR SELECT TO alerts_reader
    USING (user_id = (SELECT nullif(current_setting('alerts.user_id', true), '')::uuid));
CREATE POLICY own_rows ON user_usage FOR SELECT TO alerts_reader
    USING (user_id = (SELECT nullif(current_setting('alerts.user_id', true), '')::uuid));
CREATE POLICY own_rows ON screenshots FOR SELECT TO alerts_reader
    USING (user_id = (SELECT nullif(current_setting('alerts.user_id', true), '')::uuid));
-- BETWEEN, not =: with = the planner may take the primary key for a tenant with many rows, and walk past all rows of
-- others until it meets one of this tenant
CREATE POLICY own_rows ON signals FOR SELECT TO alerts_reader
    USING (user_id BETWEEN (SELECT nullif(current_setting('alerts.user_id', true), '')::uuid)
                   AND (SELECT nullif(current_setting('alerts.user_id', true), '')::uuid));
CREATE POLICY own_rows ON audit_logs FOR SELECT TO alerts_reader
    USING (user_id BETWEEN (SELECT nullif(current_setting('alerts.user_id', true), '')::uuid)
                   AND (SELECT nullif(current_setting('alerts.user_id', true), '')::uuid));
-- a value, not EXISTS, which the planner may turn into a hash of all pictures of the tenant
CREATE POLICY own_rows ON signal_screenshots FOR SELECT TO alerts_reader
    USING ((SELECT user_id FROM screenshots WHERE key = screenshot_key)
           = (SELECT nullif(current_setting('alerts.user_id', true), '')::uuid));

CREATE FUNCTION sees_every_tenant() RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT NOT row_security_active('signals') OR EXISTS (
        SELECT FROM pg_policy
        WHERE polrelid = 'signals'::regclass AND polname = 'every_row'
            AND EXISTS (SELECT FROM unnest(polroles) AS role WHERE pg_has_role(role, 'USAGE'))
    )
$$;
COMMENT ON FUNCTION sees_every_tenant IS 'whether what this role does not find in signals is not there';
