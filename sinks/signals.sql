-- name: ensure_partitions
SELECT ensure_partition(parent::regclass, day)
FROM unnest('{signals, audit_logs}'::text[]) AS parent
CROSS JOIN unnest($1::date[]) AS day

-- name: make_usage
INSERT INTO user_usage (user_id, period)
SELECT DISTINCT users.id, quota_period(users.quota_reset_at, alert.received_at)
FROM unnest($1::uuid[], $2::timestamptz[]) AS alert (user_id, received_at)
JOIN users ON users.id = alert.user_id
ORDER BY 1, 2
ON CONFLICT DO NOTHING

-- name: insert_signals
-- One statement, and so one trip to the server. It takes the locks of the tenants' usage in the order of users, and
-- whether a row is new and its place in the quota are then nobody else's to change. Of a row that somebody else has
-- stored while it waited for a lock it may not know: that is a unique violation, and the next try sees it.
-- With `unknown` users, or usage rows `missing` that have to be made first, nothing is written.
--
-- The server may choose a plan once and keep it for long. What must go by an index whatever the tables held when it
-- chose is written so that it cannot join in another way: a LATERAL that locks, a subquery for a value.
WITH alerts AS MATERIALIZED (
    SELECT r.*, users.quota_mode, users.signals_quota, users.id AS owner_id,
           array_position($3::text[], users.plan) AS terms,
           quota_period(users.quota_reset_at, r.received_at) AS period
    FROM ROWS FROM (
        jsonb_to_recordset($1::text::jsonb) AS (
            signal_id uuid, user_id uuid, plan text, received_at timestamptz, indicator text, signal_type text,
            direction text, ticker text, exchange text, symbol text, delayed boolean, price numeric,
            "interval" text, bar_time timestamptz, triggered_at timestamptz, chart_id text, fields jsonb,
            message text, parse_status text, warnings text[], source jsonb, lane text, replay_id uuid
        ),
        jsonb_to_recordset($2::text::jsonb) AS (
            client_address text, user_agent text, content_type text, body_bytes integer, captures_wanted boolean
        )
    ) AS r
    LEFT JOIN users ON users.id = r.user_id
), wanted AS MATERIALIZED (
    SELECT DISTINCT owner_id AS user_id, period FROM alerts ORDER BY user_id, period
), locked AS MATERIALIZED (
    SELECT usage.*
    FROM wanted
    CROSS JOIN LATERAL (
        SELECT user_id, period, signals_used
        FROM user_usage
        WHERE (user_usage.user_id, user_usage.period) = (wanted.user_id, wanted.period)
        FOR UPDATE
    ) AS usage
), obstacles AS MATERIALIZED (
    SELECT count(*) FILTER (WHERE wanted.user_id IS NULL) AS unknown,
           count(*) FILTER (WHERE locked.user_id IS NULL) AS missing
    FROM wanted
    LEFT JOIN locked USING (user_id, period)
), fresh AS MATERIALIZED (
    SELECT alerts.*
    FROM alerts
    WHERE (SELECT missing = 0 FROM obstacles)
        AND received_at >= ($4::timestamptz[])[terms]
        AND (SELECT true FROM signals WHERE signals.id = alerts.signal_id) IS NULL
), counting AS (
    SELECT fresh.*,
           locked.signals_used + row_number() OVER (PARTITION BY user_id, period ORDER BY signal_id) AS place
    FROM fresh
    JOIN locked USING (user_id, period)
), placed AS (
    SELECT counting.*,
           CASE WHEN quota_mode = 'strict' AND place > signals_quota THEN 'parked' ELSE 'stored' END AS disposition,
           coalesce(quota_mode = 'soft' AND place > signals_quota, false) AS over_quota
    FROM counting
), inserted AS (
    INSERT INTO signals (
        id, user_id, plan, "timestamp", indicator, signal_type, direction, ticker, exchange, symbol, delayed, price,
        "interval", bar_time, triggered_at, chart_id, fields, message, parse_status, warnings, source_format,
        source_indicator_file, parse_revision, lane, replay_id, disposition, screenshot_status, screenshot_reason,
        capture_by
    )
    SELECT
        p.signal_id, p.user_id, p.plan, p.received_at, p.indicator, p.signal_type, p.direction, p.ticker,
        p.exchange, p.symbol, p.delayed, p.price, p."interval", p.bar_time, p.triggered_at, p.chart_id, p.fields,
        p.message, p.parse_status, p.warnings, p.source ->> 'format', p.source ->> 'indicator_file',
        (p.source ->> 'parse_revision')::bigint, coalesce(p.lane, 'main'), p.replay_id, p.disposition,
        CASE WHEN skip.reason IS NULL THEN 'pending' ELSE 'skipped' END, skip.reason,
        CASE WHEN p.captures_wanted THEN $6 ELSE p.received_at END + ($5::interval[])[p.terms]
    FROM placed AS p
    LEFT JOIN user_config AS config ON config.user_id = p.user_id
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN p.lane = 'replay' AND NOT p.captures_wanted THEN 'replayed'
            WHEN config.captures_consented_at IS NULL THEN 'not_consented'
            WHEN config.captures_stopped THEN 'captures_stopped'
            WHEN p.ticker IS NULL THEN 'no_ticker'
            WHEN p.chart_id IS NULL THEN 'no_chart'
        END AS reason
    ) AS skip
    ORDER BY p.signal_id
    RETURNING id, user_id, disposition, sequence, plan, "timestamp", screenshot_status, capture_request_no,
              capture_by, chart_id, ticker, "interval", lane
), counted AS (
    UPDATE user_usage AS usage
    SET signals_used = signals_used + news.stored,
        webhook_last_used = greatest(webhook_last_used, news.last_at)
    FROM (
        SELECT user_id, period, count(*) FILTER (WHERE disposition = 'stored') AS stored, max(received_at) AS last_at
        FROM placed
        GROUP BY user_id, period
    ) AS news
    WHERE (usage.user_id, usage.period) = (news.user_id, news.period)
), audited AS (
    INSERT INTO audit_logs (
        id, user_id, received_at, client_address, user_agent, content_type, body_bytes, lane, outcome
    )
    SELECT signal_id, user_id, received_at, client_address, user_agent, content_type, body_bytes,
           coalesce(lane, 'main'), 'accepted'
    FROM placed
    ORDER BY signal_id
    ON CONFLICT (id) DO NOTHING
)
SELECT obstacles.*, (SELECT count(*) FROM placed WHERE over_quota) AS over_quota, inserted.*
FROM obstacles
LEFT JOIN inserted ON true
ORDER BY inserted.id

-- name: reparse_signals
-- A replay tells better what a message says, and nothing else about a row.
UPDATE signals
SET indicator = r.indicator,
    signal_type = r.signal_type,
    direction = r.direction,
    ticker = r.ticker,
    exchange = r.exchange,
    symbol = r.symbol,
    delayed = r.delayed,
    price = r.price,
    "interval" = r."interval",
    bar_time = r.bar_time,
    triggered_at = r.triggered_at,
    chart_id = r.chart_id,
    fields = r.fields,
    message = r.message,
    parse_status = r.parse_status,
    warnings = r.warnings,
    source_format = r.source ->> 'format',
    source_indicator_file = r.source ->> 'indicator_file',
    parse_revision = (r.source ->> 'parse_revision')::bigint,
    replay_id = r.replay_id,
    updated_at = now()
FROM jsonb_to_recordset($1::text::jsonb) AS r (
    signal_id uuid, user_id uuid, indicator text, signal_type text, direction text, ticker text, exchange text,
    symbol text, delayed boolean, price numeric, "interval" text, bar_time timestamptz, triggered_at timestamptz,
    chart_id text, fields jsonb, message text, parse_status text, warnings text[], source jsonb, replay_id uuid
)
WHERE signals.id = r.signal_id
    AND signals.user_id = r.user_id
    AND signals.parse_revision < (r.source ->> 'parse_revision')::bigint

-- name: stored_signals
SELECT id, user_id, disposition, sequence, plan, "timestamp", screenshot_status, capture_request_no, capture_by,
       chart_id, ticker, "interval", lane
FROM signals
WHERE id = ANY($1::uuid[])
ORDER BY id

-- name: mark_captures_requested
-- All who change several rows lock them in the order of ids, or they would wait for each other.
UPDATE signals SET capture_requested_at = now(), updated_at = now()
WHERE id IN (SELECT id FROM signals WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE)
