CREATE TABLE users (
    id                  uuid PRIMARY KEY,
    name                text NOT NULL,
    webhook_token_hash  bytea NOT NULL UNIQUE CHECK (octet_length(webhook_token_hash) = 32),
    webhook_token       bytea NOT NULL,
    previous_token_hash bytea UNIQUE CHECK (octet_length(previous_token_hash) = 32),
    previous_token_until timestamptz,
    plan                text NOT NULL CHECK (plan IN ('premium', 'pro', 'basic', 'free')),
    signals_quota       bigint CHECK (signals_quota >= 0),
    quota_mode          text NOT NULL CHECK (quota_mode IN ('strict', 'soft', 'off')),
    quota_reset_at      timestamptz NOT NULL,
    webhook_enabled     boolean NOT NULL DEFAULT true,
    revision            bigint NOT NULL DEFAULT 1,
    published_revision  bigint NOT NULL DEFAULT 0,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    deleted_at          timestamptz,
    CHECK ((previous_token_hash IS NULL) = (previous_token_until IS NULL)),
    CHECK (published_revision <= revision)
);
COMMENT ON COLUMN users.webhook_token IS 'encrypted, so that the owner can be shown it again';
COMMENT ON COLUMN users.revision IS 'raised by every change that ingress or processors must learn of';

CREATE INDEX users_unpublished ON users (id) WHERE published_revision < revision;

CREATE TABLE user_usage (
    user_id           uuid NOT NULL REFERENCES users (id),
    period            date NOT NULL,
    signals_used      bigint NOT NULL DEFAULT 0 CHECK (signals_used >= 0),
    webhook_last_used timestamptz,
    PRIMARY KEY (user_id, period)
);

CREATE TABLE user_config (
    user_id                  uuid PRIMARY KEY REFERENCES users (id),
    tv_sessionid             bytea,
    tv_sessionid_sign        bytea,
    session_version          bigint NOT NULL DEFAULT 0,
    tv_cookies_valid         boolean NOT NULL DEFAULT false,
    tv_cookies_updated_at    timestamptz,
    default_chart_id         text CHECK (default_chart_id ~ '^[A-Za-z0-9]{4,32}$'),
    notification_preferences jsonb NOT NULL DEFAULT '{}',
    captures_consented_at    timestamptz,
    captures_stopped         boolean NOT NULL DEFAULT false,
    captures_stopped_reason  text,
    updated_at               timestamptz NOT NULL DEFAULT now(),
    CHECK ((tv_sessionid IS NULL) = (tv_sessionid_sign IS NULL))
);
COMMENT ON COLUMN user_config.tv_sessionid IS 'encrypted with the user as associated data';
COMMENT ON COLUMN user_config.captures_stopped IS 'kill switch of this user';

CREATE TABLE api_keys (
    id          uuid PRIMARY KEY,
    key_hash    bytea NOT NULL UNIQUE CHECK (octet_length(key_hash) = 32),
    scope       text NOT NULL CHECK (scope IN ('platform', 'user')),
    user_id     uuid REFERENCES users (id),
    label       text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    revoked_at  timestamptz,
    CHECK ((scope = 'user') = (user_id IS NOT NULL))
);

CREATE TABLE signals (
    id                   uuid PRIMARY KEY,
    user_id              uuid NOT NULL,
    plan                 text NOT NULL,
    "timestamp"          timestamptz NOT NULL,
    indicator            text,
    signal_type          text,
    direction            text CHECK (direction IN ('long', 'short', 'flat')),
    ticker               text,
    exchange             text,
    symbol               text,
    delayed              boolean NOT NULL,
    price                numeric,
    "interval"           text,
    bar_time             timestamptz,
    triggered_at         timestamptz,
    chart_id             text,
    fields               jsonb NOT NULL,
    message              text NOT NULL,
    parse_status         text NOT NULL CHECK (parse_status IN ('parsed', 'partial', 'unparsed')),
    warnings             text[] NOT NULL,
    source_format        text NOT NULL,
    source_indicator_file text,
    parse_revision       bigint NOT NULL,
    lane                 text NOT NULL,
    replay_id            uuid,
    disposition          text NOT NULL DEFAULT 'stored' CHECK (disposition IN ('stored', 'parked')),
    result               text NOT NULL DEFAULT 'pending'
                         CHECK (result IN ('pending', 'win', 'loss', 'breakeven', 'skip')),
    profit_loss          numeric,
    notes                text,
    screenshot_status    text NOT NULL
                         CHECK (screenshot_status IN ('pending', 'processing', 'completed', 'failed', 'skipped')),
    screenshot_reason    text,
    screenshot_warning   text,
    capture_request_no   integer NOT NULL DEFAULT 1,
    capture_rank         smallint NOT NULL DEFAULT 0,
    capture_requested_at timestamptz,
    capture_by           timestamptz NOT NULL,
    sequence             bigint GENERATED ALWAYS AS IDENTITY,
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now()
) PARTITION BY RANGE (id);
COMMENT ON COLUMN signals."timestamp" IS 'received_at: exactly the milliseconds of the id';

CREATE INDEX signals_of_user ON signals (user_id, id DESC);

CREATE TABLE screenshots (
    key         text PRIMARY KEY,
    user_id     uuid NOT NULL REFERENCES users (id),
    size_bytes  bigint NOT NULL CHECK (size_bytes > 0),
    width_px    integer NOT NULL CHECK (width_px > 0),
    height_px   integer NOT NULL CHECK (height_px > 0),
    outcome     text NOT NULL,
    tries       integer NOT NULL CHECK (tries > 0),
    timings_ms  jsonb NOT NULL,
    captured_at timestamptz NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX screenshots_of_user ON screenshots (user_id);

CREATE TABLE signal_screenshots (
    signal_id      uuid PRIMARY KEY,
    screenshot_key text NOT NULL REFERENCES screenshots (key)
);
COMMENT ON TABLE signal_screenshots IS
    'no foreign key to signals: it would block detaching its partitions';
CREATE INDEX signal_screenshots_of_key ON signal_screenshots (screenshot_key);

CREATE TABLE audit_logs (
    id             uuid PRIMARY KEY,
    user_id        uuid NOT NULL,
    received_at    timestamptz NOT NULL,
    client_address text NOT NULL,
    user_agent     text NOT NULL,
    content_type   text NOT NULL,
    body_bytes     integer NOT NULL CHECK (body_bytes >= 0),
    lane           text NOT NULL,
    outcome        text NOT NULL
) PARTITION BY RANGE (id);
COMMENT ON TABLE audit_logs IS 'one row per accepted call; its id is the signal id';

CREATE INDEX audit_logs_of_user ON audit_logs (user_id, id DESC);

-- The partition of a UUIDv7 table that covers one month. Idempotent, safe to run from several sessions.
CREATE FUNCTION ensure_partition(parent regclass, month date) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    lower_bound uuid := uuid_at(date_trunc('month', month::timestamp) AT TIME ZONE 'UTC');
    upper_bound uuid := uuid_at((date_trunc('month', month::timestamp) + interval '1 month') AT TIME ZONE 'UTC');
    child text := format('%s_%s', parent::text, to_char(month, 'YYYY_MM'));
BEGIN
    -- One lock for all months: ATTACH locks the parent to the end of the transaction, and sessions that
    -- took a lock for each month would wait for each other.
    PERFORM pg_advisory_xact_lock(hashtextextended(parent::text, 0));
    IF to_regclass(child) IS NULL THEN
        -- LIKE and ATTACH take a weaker lock on the parent than PARTITION OF does
        EXECUTE format('CREATE TABLE %I (LIKE %s INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', child, parent);
        EXECUTE format('ALTER TABLE %s ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                       parent, child, lower_bound, upper_bound);
    END IF;
END $$;

CREATE FUNCTION uuid_at(moment timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT (lpad(to_hex(floor(extract(epoch FROM moment) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid
$$;
COMMENT ON FUNCTION uuid_at IS 'the smallest UUIDv7 of a moment';
