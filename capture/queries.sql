-- name: read_session
SELECT
    config.tv_sessionid,
    config.tv_sessionid_sign,
    config.session_version,
    config.tv_cookies_valid,
    config.captures_consented_at,
    config.captures_stopped,
    EXISTS (SELECT FROM capture_settings WHERE stopped) AS all_stopped
FROM user_config AS config
JOIN users ON users.id = config.user_id
WHERE config.user_id = $1 AND users.deleted_at IS NULL
