-- name: unnest_source
unnest(
    $1::uuid[], $2::uuid[], $7::text[], $8::timestamptz[], $9::text[], $10::text[], $11::text[], $12::text[],
    $13::text[], $14::text[], $15::boolean[], $16::numeric[], $17::text[], $18::timestamptz[], $19::timestamptz[],
    $20::text[], $21::text[], $22::text[], $23::text[], $24::text[], $25::text[], $26::text[], $27::bigint[],
    $28::text[], $29::uuid[], $30::text[], $31::text[], $32::text[], $33::integer[], $34::boolean[]
) AS t (
    signal_id, user_id, plan, received_at, indicator, signal_type, direction, ticker,
    exchange, symbol, delayed, price, "interval", bar_time, triggered_at,
    chart_id, fields_text, message, parse_status, warnings_text, source_format, source_indicator_file, parse_revision,
    lane, replay_id, client_address, user_agent, content_type, body_bytes, captures_wanted
)

-- name: copy_source
(SELECT * FROM staged WHERE $1::uuid[] IS NULL AND $2::uuid[] IS NULL) AS t

-- name: typed_rows
(SELECT t.*, t.fields_text::jsonb AS fields, t.warnings_text::text[] AS warnings FROM SOURCE) AS r

-- name: make_staging
CREATE TEMPORARY TABLE IF NOT EXISTS staged (
    signal_id uuid, user_id uuid, plan text, received_at timestamptz, indicator text, signal_type text,
    direction text, ticker text, exchange text, symbol text, delayed boolean, price numeric,
    "interval" text, bar_time timestamptz, triggered_at timestamptz, chart_id text, fields_text text,
    message text, parse_status text, warnings_text text, source_format text, source_indicator_file text,
    parse_revision bigint, lane text, replay_id uuid, client_address text, user_agent text, content_type text,
    body_bytes integer, captures_wanted boolean
) ON COMMIT DELETE ROWS

-- name: plain_unnest
-- What a plain loop would write: the signals alone, no quota, no audit, no ledger.
INSERT INTO signals (
    id, user_id, plan, "timestamp", indicator, signal_type, direction, ticker, exchange, symbol, delayed, price,
    "interval", bar_time, triggered_at, chart_id, fields, message, parse_status, warnings, source_format,
    source_indicator_file, parse_revision, lane, replay_id, screenshot_status, screenshot_reason, capture_by
)
SELECT
    signal_id, user_id, plan, received_at, indicator, signal_type, direction, ticker, exchange, symbol, delayed, price,
    "interval", bar_time, triggered_at, chart_id, fields_text::jsonb, message, parse_status, warnings_text::text[],
    source_format, source_indicator_file, parse_revision, lane, replay_id, 'skipped', 'not_consented', received_at
FROM unnest(
    $1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::text[], $11::boolean[], $12::numeric[], $13::text[], $14::timestamptz[], $15::timestamptz[],
    $16::text[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[], $22::text[], $23::bigint[],
    $24::text[], $25::uuid[]
) AS t (
    signal_id, user_id, plan, received_at, indicator, signal_type, direction, ticker,
    exchange, symbol, delayed, price, "interval", bar_time, triggered_at,
    chart_id, fields_text, message, parse_status, warnings_text, source_format, source_indicator_file, parse_revision,
    lane, replay_id
)
ON CONFLICT (id) DO NOTHING

-- name: plain_json
INSERT INTO signals (
    id, user_id, plan, "timestamp", indicator, signal_type, direction, ticker, exchange, symbol, delayed, price,
    "interval", bar_time, triggered_at, chart_id, fields, message, parse_status, warnings, source_format,
    source_indicator_file, parse_revision, lane, replay_id, screenshot_status, screenshot_reason, capture_by
)
SELECT
    signal_id, user_id, plan, received_at, indicator, signal_type, direction, ticker, exchange, symbol, delayed, price,
    "interval", bar_time, triggered_at, chart_id, fields, message, parse_status, warnings, source ->> 'format',
    source ->> 'indicator_file', (source ->> 'parse_revision')::bigint, coalesce(lane, 'main'), replay_id,
    'skipped', 'not_consented', received_at
FROM json_to_recordset($1::text::json) AS r (
    signal_id uuid, user_id uuid, plan text, received_at timestamptz, indicator text, signal_type text,
    direction text, ticker text, exchange text, symbol text, delayed boolean, price numeric,
    "interval" text, bar_time timestamptz, triggered_at timestamptz, chart_id text, fields jsonb,
    message text, parse_status text, warnings text[], source jsonb, lane text, replay_id uuid
)
ON CONFLICT (id) DO NOTHING
