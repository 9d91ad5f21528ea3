-- name: ensure_partitions
SELECT ensure_partition('signals', month), ensure_partition('audit_logs', month)
FROM unnest($1::date[]) AS month

-- name: insert_signals
INSERT INTO signals (
    id, user_id, plan, "timestamp", indicator, signal_type, direction, ticker, exchange, symbol, delayed, price,
    "interval", bar_time, triggered_at, chart_id, fields, message, parse_status, warnings, source_format,
    source_indicator_file, parse_revision, lane, replay_id, screenshot_status, screenshot_reason, capture_by
)
SELECT
    r.signal_id, r.user_id, r.plan, r.received_at, r.indicator, r.signal_type, r.direction, r.ticker, r.exchange,
    r.symbol, r.delayed, r.price, r."interval", r.bar_time, r.triggered_at, r.chart_id, r.fields, r.message,
    r.parse_status, r.warnings, r.source ->> 'format', r.source ->> 'indicator_file',
    (r.source ->> 'parse_revision')::bigint, r.lane, r.replay_id,
    CASE WHEN skip.reason IS NULL THEN 'pending' ELSE 'skipped' END, skip.reason, r.capture_by
FROM jsonb_to_recordset($1::text::jsonb) AS r (
    signal_id uuid, user_id uuid, plan text, received_at timestamptz, indicator text, signal_type text,
    direction text, ticker text, exchange text, symbol text, delayed boolean, price numeric, "interval" text,
    bar_time timestamptz, triggered_at timestamptz, chart_id text, fields jsonb, message text, parse_status text,
    warnings text[], source jsonb, lane text, replay_id uuid, capture_by timestamptz
)
LEFT JOIN user_config AS config ON config.user_id = r.user_id
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN config.captures_consented_at IS NULL THEN 'not_consented'
        WHEN config.captures_stopped THEN 'captures_stopped'
        WHEN r.ticker IS NULL THEN 'no_ticker'
        WHEN r.chart_id IS NULL THEN 'no_chart'
    END AS reason
) AS skip
ORDER BY r.signal_id
ON CONFLICT (id) DO NOTHING

-- name: insert_audit_logs
INSERT INTO audit_logs (
    id, user_id, received_at, client_address, user_agent, content_type, body_bytes, lane, outcome
)
SELECT
    r.signal_id, r.user_id, r.received_at, r.client_address, r.user_agent, r.content_type, r.body_bytes, r.lane,
    'accepted'
FROM jsonb_to_recordset($1::text::jsonb) AS r (
    signal_id uuid, user_id uuid, received_at timestamptz, client_address text, user_agent text,
    content_type text, body_bytes integer, lane text
)
ORDER BY r.signal_id
ON CONFLICT (id) DO NOTHING

-- name: stored_signals
SELECT id, user_id, disposition, sequence, plan, "timestamp", screenshot_status, capture_request_no, capture_by,
       chart_id, ticker, "interval"
FROM signals
WHERE id = ANY($1::uuid[])
ORDER BY id

-- name: mark_captures_requested
UPDATE signals SET capture_requested_at = now(), updated_at = now() WHERE id = ANY($1::uuid[])

-- name: insert_screenshot
INSERT INTO screenshots (key, user_id, size_bytes, width_px, height_px, outcome, tries, timings_ms, captured_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (key) DO NOTHING

-- name: apply_capture_event
WITH applied AS (
    UPDATE signals
    SET screenshot_status = $2,
        screenshot_reason = $3,
        screenshot_warning = $4,
        capture_request_no = $5,
        capture_rank = $6,
        updated_at = now()
    WHERE id = ANY($1::uuid[]) AND (capture_request_no, capture_rank) < ($5, $6)
    RETURNING id
)
INSERT INTO signal_screenshots (signal_id, screenshot_key)
SELECT id, $7::text FROM applied WHERE $7::text IS NOT NULL
ON CONFLICT (signal_id) DO UPDATE SET screenshot_key = excluded.screenshot_key

-- name: expire_session
UPDATE user_config SET tv_cookies_valid = false, updated_at = now()
WHERE user_id = $1 AND session_version = $2

-- name: stop_captures
WITH stopped AS (
    UPDATE user_config
    SET captures_stopped = true, captures_stopped_reason = $2, updated_at = now()
    WHERE user_id = $1 AND NOT captures_stopped
    RETURNING user_id
)
UPDATE users SET revision = revision + 1, updated_at = now()
WHERE id IN (SELECT user_id FROM stopped)

-- name: try_relay_lock
SELECT pg_try_advisory_xact_lock($1)

-- name: unpublished_tenants
SELECT users.id, users.revision, users.plan, users.webhook_enabled, users.deleted_at IS NOT NULL AS deleted,
       encode(users.webhook_token_hash, 'hex') AS token_hash,
       CASE WHEN users.previous_token_until > now() THEN encode(users.previous_token_hash, 'hex') END
           AS previous_token_hash,
       coalesce(config.captures_consented_at IS NOT NULL AND NOT config.captures_stopped, false)
           AS captures_enabled,
       config.default_chart_id, users.allowed_addresses
FROM users
LEFT JOIN user_config AS config ON config.user_id = users.id
WHERE users.published_revision < users.revision
ORDER BY users.id
LIMIT $1

-- name: mark_tenants_published
UPDATE users SET published_revision = done.revision
FROM unnest($1::uuid[], $2::bigint[]) AS done (id, revision)
WHERE users.id = done.id AND users.published_revision < done.revision

-- name: published_revisions
SELECT id, published_revision FROM users WHERE published_revision > 0

-- name: forget_published
UPDATE users SET published_revision = 0
FROM unnest($1::uuid[], $2::bigint[]) AS topic (id, revision)
WHERE users.id = topic.id AND users.revision >= topic.revision AND published_revision > 0

-- name: retire_previous_tokens
UPDATE users
SET previous_token_hash = NULL, previous_token_until = NULL, revision = revision + 1, updated_at = now()
WHERE previous_token_until <= now()
