-- Never used twice, also when the row of an account has been deleted meanwhile.
CREATE SEQUENCE capture_fences;

CREATE TABLE capture_leases (
    account_key  bytea PRIMARY KEY CHECK (octet_length(account_key) = 32),
    holder       uuid NOT NULL,
    fence        bigint NOT NULL DEFAULT nextval('capture_fences'),
    expires_at   timestamptz NOT NULL,
    wanted_at    timestamptz,
    next_page_at timestamptz NOT NULL DEFAULT 'epoch',
    pages        timestamptz[] NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE capture_leases IS 'who may open pages of a TradingView account; all times by the clock of this server';
COMMENT ON COLUMN capture_leases.account_key IS 'HMAC of the session id: users who share an account share the row';
COMMENT ON COLUMN capture_leases.wanted_at IS 'when another worker last asked in vain';
COMMENT ON COLUMN capture_leases.pages IS 'when pages were opened, as far as the hourly limit needs it';

CREATE FUNCTION pages_of_last_hour(pages timestamptz[]) RETURNS timestamptz[]
LANGUAGE sql VOLATILE AS $$
    SELECT ARRAY(SELECT page FROM unnest(pages) AS page WHERE page > clock_timestamp() - interval '1 hour' ORDER BY page)
$$;

-- Small, since rows live for hours: what is old is found without an index, and updates stay cheap.
CREATE TABLE capture_tries (
    signal_id  uuid NOT NULL,
    request_no integer NOT NULL CHECK (request_no > 0),
    tries      integer NOT NULL CHECK (tries > 0),
    reruns     integer NOT NULL CHECK (reruns >= 0),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (signal_id, request_no)
);
COMMENT ON TABLE capture_tries IS 'tries that were begun, each stored before its page is opened';
COMMENT ON COLUMN capture_tries.reruns IS 'faults of ours, which cost no try';

CREATE TABLE capture_settings (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    stopped    boolean NOT NULL DEFAULT false,
    reason     text,
    changed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN capture_settings.stopped IS 'kill switch of all captures';
INSERT INTO capture_settings DEFAULT VALUES;

GRANT USAGE ON SEQUENCE capture_fences TO alerts_capture;
GRANT SELECT, INSERT, UPDATE, DELETE ON capture_leases, capture_tries TO alerts_capture;
GRANT SELECT (stopped) ON capture_settings TO alerts_capture;
GRANT SELECT ON capture_settings TO alerts_platform_reader;
