-- name: signals_of_user
SELECT id, user_id, plan, "timestamp", indicator, signal_type, direction, ticker, exchange, symbol, delayed, price,
       "interval", bar_time, triggered_at, chart_id, fields, message, parse_status, warnings, source_format,
       source_indicator_file, parse_revision, lane, replay_id, disposition, result, profit_loss, notes,
       screenshot_status, screenshot_reason, screenshot_warning, created_at,
       (SELECT screenshot_key FROM signal_screenshots WHERE signal_id = signals.id) AS screenshot_key
FROM signals
-- BETWEEN, not =: with = the planner may take the primary key for a user with many rows, and walk past all rows of
-- others until it meets one of this user
WHERE user_id BETWEEN $1 AND $1 AND id < $2 AND disposition = 'stored'
ORDER BY user_id, id DESC
LIMIT $3

-- name: signal_by_id
SELECT id, user_id, plan, "timestamp", indicator, signal_type, direction, ticker, exchange, symbol, delayed, price,
       "interval", bar_time, triggered_at, chart_id, fields, message, parse_status, warnings, source_format,
       source_indicator_file, parse_revision, lane, replay_id, disposition, result, profit_loss, notes,
       screenshot_status, screenshot_reason, screenshot_warning, created_at,
       (SELECT screenshot_key FROM signal_screenshots WHERE signal_id = signals.id) AS screenshot_key
FROM signals
WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2)

-- name: known_user
SELECT 1 FROM users WHERE id = $1
