-- name: try_check_lock
SELECT pg_try_advisory_xact_lock($1)

-- name: claim_check
-- The one who has waited longest, if nobody of the group has asked lately. Who had a picture needs no check.
INSERT INTO session_checks (user_id, checked_at)
SELECT config.user_id, now()
FROM user_config AS config
JOIN users ON users.id = config.user_id
LEFT JOIN session_checks AS last ON last.user_id = config.user_id
WHERE users.deleted_at IS NULL
    AND config.captures_consented_at IS NOT NULL
    AND NOT config.captures_stopped
    AND config.tv_sessionid IS NOT NULL
    AND config.tv_cookies_valid
    AND NOT EXISTS (SELECT FROM capture_settings WHERE stopped)
    AND NOT EXISTS (SELECT FROM session_checks WHERE checked_at > now() - make_interval(secs => $1))
    AND coalesce(greatest(last.checked_at, config.tv_cookies_updated_at), '-infinity')
        < now() - make_interval(secs => $2)
    AND NOT EXISTS (
        SELECT FROM signals
        WHERE signals.user_id = config.user_id
            AND disposition = 'stored'
            AND signals.id >= $3
            AND screenshot_status = 'completed'
    )
ORDER BY greatest(last.checked_at, config.tv_cookies_updated_at) NULLS FIRST, config.user_id
LIMIT 1
ON CONFLICT (user_id) DO UPDATE SET checked_at = excluded.checked_at
RETURNING user_id, (SELECT plan FROM users WHERE users.id = session_checks.user_id) AS plan
