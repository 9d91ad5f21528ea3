-- name: count_parked
SELECT count(signals.id)
FROM users
LEFT JOIN signals ON signals.user_id = users.id AND signals.disposition = 'parked'
WHERE users.id = $1 AND users.deleted_at IS NULL
GROUP BY users.id

-- name: lock_usage
-- The sink locks the same row before it counts. Returns how many more may be stored; null: as many as there are.
INSERT INTO user_usage AS usage (user_id, period)
SELECT id, quota_period(quota_reset_at, $2) FROM users WHERE id = $1 AND deleted_at IS NULL
ON CONFLICT (user_id, period) DO UPDATE SET signals_used = usage.signals_used
RETURNING period, (
    SELECT greatest(signals_quota - usage.signals_used, 0)
    FROM users
    WHERE id = $1 AND quota_mode = 'strict' AND signals_quota IS NOT NULL
) AS remaining

-- name: release_oldest
WITH oldest AS MATERIALIZED (
    SELECT id FROM signals WHERE user_id = $1 AND disposition = 'parked' ORDER BY id LIMIT $3
), released AS (
    UPDATE signals
    -- at the end of the sequence: whoever follows it has passed the row's old place
    SET disposition = 'stored', sequence = DEFAULT, updated_at = now()
    FROM oldest
    WHERE signals.id = oldest.id AND disposition = 'parked'
    RETURNING signals.id
), announced AS (
    INSERT INTO released_signals (signal_id) SELECT id FROM released ON CONFLICT DO NOTHING
), counted AS (
    UPDATE user_usage SET signals_used = signals_used + (SELECT count(*) FROM released)
    WHERE user_id = $1 AND period = $2
)
SELECT count(*) FROM released
