-- name: put_switch
INSERT INTO capture_settings AS settings (stopped, reason, changed_at)
VALUES ($1, $2, $3)
ON CONFLICT (only_row) DO UPDATE
SET stopped = excluded.stopped, reason = excluded.reason, changed_at = excluded.changed_at
WHERE (settings.stopped, settings.reason) IS DISTINCT FROM (excluded.stopped, excluded.reason)

-- name: read_switch
SELECT coalesce(stopped, false) AS stopped, reason, changed_at
FROM (VALUES (true)) AS one LEFT JOIN capture_settings ON true

-- name: count_users
SELECT count(*) FILTER (WHERE config.captures_consented_at IS NOT NULL) AS consented,
       count(*) FILTER (WHERE config.captures_consented_at IS NOT NULL AND config.captures_stopped) AS stopped,
       count(*) FILTER (
           WHERE config.captures_consented_at IS NOT NULL AND config.tv_sessionid IS NULL
       ) AS without_session,
       count(*) FILTER (
           WHERE config.captures_consented_at IS NOT NULL
               AND config.tv_sessionid IS NOT NULL AND NOT config.tv_cookies_valid
       ) AS expired
FROM users JOIN user_config AS config ON config.user_id = users.id
WHERE users.deleted_at IS NULL
