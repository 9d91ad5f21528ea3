-- name: make_users
INSERT INTO users (id, name, webhook_token_hash, webhook_token, plan, quota_mode, quota_reset_at)
SELECT gen_random_uuid(), 'bench', sha256(number::text::bytea), '\x00', 'premium', 'off', now()
FROM generate_series(1, $1::integer) AS number
RETURNING id

-- name: make_partitions
SELECT ensure_partition('signals', day::date)
FROM generate_series(now() - make_interval(months => $1::integer), now(), '1 day') AS day

-- name: secondary_indexes
-- The definition says ONLY of every partitioned index; these are to be made in all partitions.
SELECT indexrelid::regclass::text AS name, replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ') AS definition
FROM pg_index
WHERE indrelid = 'signals'::regclass AND NOT indisprimary

-- name: make_signals
-- In the order of the ids. The first user has every $4th row, the others share the rest.
INSERT INTO signals (
    id, user_id, plan, "timestamp", indicator, signal_type, direction, ticker, exchange, symbol, delayed, price,
    "interval", chart_id, fields, message, parse_status, warnings, source_format, parse_revision, lane,
    screenshot_status, screenshot_reason, capture_by
)
SELECT made.id, made.user_id, 'premium', moment_of_id(made.id), 'ADX DEF', 'Cruce', 'long', 'BINANCE:BTCUSDT',
       'BINANCE', 'BTCUSDT', false, 67890.5, '15', 'Ab3dE9xZ', '{"sesgo": "Largo", "fuerza": "27.4"}',
       repeat('alert ', 40), 'parsed', '{}', 'labelled_text', 1, 'main', 'skipped', 'not_consented', now()
FROM (
    SELECT (lpad(to_hex(since_ms + row_number * span_ms / $1::bigint), 12, '0') || '7' || substr(noise, 1, 3)
            || '8' || substr(noise, 4, 15))::uuid AS id,
           ($3::uuid[])[CASE WHEN row_number % $4::integer = 0 THEN 1
                        ELSE 2 + (row_number * 7919 % (cardinality($3::uuid[]) - 1))::integer END] AS user_id
    FROM generate_series(0::bigint, $1::bigint - 1) AS row_number
    CROSS JOIN LATERAL md5(row_number::text) AS noise
    CROSS JOIN (
        SELECT (1000 * extract(epoch FROM starts_at))::bigint AS since_ms,
               (1000 * extract(epoch FROM now() - starts_at))::bigint AS span_ms
        FROM (SELECT now() - make_interval(months => $2::integer) AS starts_at) AS start
    ) AS time
) AS made
