-- name: insert_screenshots
INSERT INTO screenshots (key, user_id, size_bytes, width_px, height_px, outcome, tries, timings_ms, captured_at)
SELECT * FROM jsonb_to_recordset($1::text::jsonb) AS r (
    key text, user_id uuid, size_bytes bigint, width_px integer, height_px integer, outcome text, tries integer,
    timings_ms jsonb, captured_at timestamptz
)
ON CONFLICT (key) DO NOTHING

-- name: apply_capture_events
WITH event AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset($1::text::jsonb) AS r (
        signal_id uuid, user_id uuid, status text, reason text, warning text, request_no integer, rank smallint,
        screenshot_key text
    )
), locked AS MATERIALIZED (
    SELECT id FROM signals WHERE id = ANY(ARRAY(SELECT signal_id FROM event)) ORDER BY id FOR NO KEY UPDATE
), applied AS (
    UPDATE signals
    SET screenshot_status = event.status,
        screenshot_reason = event.reason,
        screenshot_warning = event.warning,
        capture_request_no = event.request_no,
        capture_rank = event.rank,
        updated_at = now()
    FROM event JOIN locked ON locked.id = event.signal_id
    WHERE signals.id = locked.id
        AND signals.user_id = event.user_id
        AND (signals.capture_request_no, signals.capture_rank) < (event.request_no, event.rank)
    RETURNING signals.id, event.screenshot_key
)
INSERT INTO signal_screenshots (signal_id, screenshot_key)
SELECT id, screenshot_key FROM applied WHERE screenshot_key IS NOT NULL
ORDER BY id
ON CONFLICT (signal_id) DO UPDATE SET screenshot_key = excluded.screenshot_key

-- name: expire_session
UPDATE user_config SET tv_cookies_valid = false, updated_at = now()
WHERE user_id = $1 AND session_version = $2

-- name: stop_captures
WITH stopped AS (
    UPDATE user_config
    SET captures_stopped = true, captures_stopped_reason = $2, updated_at = now()
    WHERE user_id = $1 AND NOT captures_stopped AND coalesce(captures_allowed_at < $3, true)
    RETURNING user_id
)
UPDATE users SET revision = revision + 1, updated_at = now()
WHERE id IN (SELECT user_id FROM stopped)

-- name: try_sweep_lock
SELECT pg_try_advisory_xact_lock($1)

-- name: skip_stale
-- A late picture would show the wrong moment. The lock asks again about a row whose picture came meanwhile.
UPDATE signals
SET screenshot_status = 'skipped', screenshot_reason = 'stale', capture_rank = $3, updated_at = now()
WHERE id IN (
    SELECT id FROM signals
    WHERE disposition = 'stored' AND screenshot_status IN ('pending', 'processing') AND capture_by < $1
    ORDER BY id
    LIMIT $2
    FOR NO KEY UPDATE
)

-- name: silent_captures
SELECT id, user_id, disposition, sequence, plan, "timestamp", screenshot_status, capture_request_no, capture_by,
       chart_id, ticker, "interval"
FROM signals
WHERE disposition = 'stored'
    AND screenshot_status IN ('pending', 'processing')
    AND capture_by >= $1
    -- a replay may have taken them away
    AND ticker IS NOT NULL AND chart_id IS NOT NULL
    AND coalesce(greatest(capture_requested_at, updated_at), created_at) < $2
ORDER BY id
LIMIT $3

-- name: released_signals
-- Those whose rows are gone as well, without a sequence.
SELECT released.signal_id AS id, user_id, disposition, sequence, plan, "timestamp", screenshot_status,
       capture_request_no, capture_by, chart_id, ticker, "interval"
FROM released_signals AS released
LEFT JOIN signals ON signals.id = released.signal_id
ORDER BY sequence
LIMIT $1

-- name: forget_released
DELETE FROM released_signals WHERE signal_id = ANY($1::uuid[])
