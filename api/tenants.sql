-- name: lock_user
SELECT 1 FROM user_config WHERE user_id = $1 FOR UPDATE

-- name: read_user
SELECT id, webhook_token, deleted_at FROM users WHERE id = $1

-- name: read_session
SELECT tv_sessionid, tv_sessionid_sign, tv_cookies_valid FROM user_config WHERE user_id = $1

-- name: put_user
INSERT INTO users (id, name, plan, signals_quota, quota_mode, quota_reset_at, webhook_token_hash, webhook_token)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (id) DO UPDATE
SET name = excluded.name,
    plan = excluded.plan,
    signals_quota = excluded.signals_quota,
    quota_mode = excluded.quota_mode,
    webhook_token_hash = excluded.webhook_token_hash,
    webhook_token = excluded.webhook_token,
    webhook_enabled = true,
    deleted_at = NULL,
    revision = users.revision + 1,
    updated_at = now()
WHERE (users.name, users.plan, users.signals_quota, users.quota_mode, users.webhook_token_hash,
       users.webhook_enabled, users.deleted_at)
    IS DISTINCT FROM
      (excluded.name, excluded.plan, excluded.signals_quota, excluded.quota_mode, excluded.webhook_token_hash,
       true, NULL::timestamptz)

-- name: put_config
INSERT INTO user_config (user_id) VALUES ($1) ON CONFLICT (user_id) DO NOTHING

-- name: raise_revision
UPDATE users SET revision = revision + 1, updated_at = now() WHERE id = $1

-- name: set_default_chart
UPDATE user_config SET default_chart_id = $2, updated_at = now()
WHERE user_id = $1 AND default_chart_id IS DISTINCT FROM $2

-- name: set_plan
UPDATE users SET plan = $2, signals_quota = $3, quota_mode = $4
WHERE id = $1 AND (plan, signals_quota, quota_mode) IS DISTINCT FROM ($2, $3, $4)

-- name: set_webhook_enabled
UPDATE users SET webhook_enabled = $2 WHERE id = $1 AND webhook_enabled <> $2

-- name: set_allowed_addresses
UPDATE users SET allowed_addresses = $2 WHERE id = $1 AND allowed_addresses <> $2::text[]

-- name: rotate_token
UPDATE users
SET previous_token_hash = CASE WHEN $4::timestamptz IS NOT NULL THEN webhook_token_hash END,
    previous_token_until = $4,
    webhook_token_hash = $2,
    webhook_token = $3
WHERE id = $1 AND ($4::timestamptz IS NULL OR previous_token_until IS NULL OR previous_token_until <= $5)

-- name: set_session
UPDATE user_config
SET tv_sessionid = $2,
    tv_sessionid_sign = $3,
    session_version = session_version + 1,
    tv_cookies_valid = true,
    tv_cookies_updated_at = $4,
    updated_at = now()
WHERE user_id = $1

-- name: allow_captures
UPDATE user_config
SET captures_consented_at = coalesce(captures_consented_at, $2),
    captures_allowed_at = $2,
    captures_stopped = false,
    captures_stopped_reason = NULL,
    updated_at = now()
WHERE user_id = $1 AND (captures_consented_at IS NULL OR captures_stopped)

-- name: withdraw_captures
UPDATE user_config SET captures_consented_at = NULL, updated_at = now()
WHERE user_id = $1 AND captures_consented_at IS NOT NULL

-- name: stop_captures
UPDATE user_config SET captures_stopped = true, captures_stopped_reason = $2, updated_at = now()
WHERE user_id = $1 AND NOT captures_stopped

-- name: delete_user
UPDATE users
SET deleted_at = $2, webhook_enabled = false, previous_token_hash = NULL, previous_token_until = NULL
WHERE id = $1

-- name: forget_session
UPDATE user_config
SET tv_sessionid = NULL,
    tv_sessionid_sign = NULL,
    session_version = session_version + 1,
    tv_cookies_valid = false,
    captures_consented_at = NULL,
    updated_at = now()
WHERE user_id = $1

-- name: revoke_keys_of_user
UPDATE api_keys SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL

-- name: list_users
SELECT users.id AS user_id, users.name, users.plan, users.signals_quota, users.webhook_enabled, users.created_at,
       users.allowed_addresses, coalesce(usage.signals_used, 0) AS signals_used,
       config.default_chart_id, config.session_version, config.tv_cookies_valid AS session_valid,
       config.captures_consented_at IS NOT NULL AS captures_consented, config.captures_stopped
FROM users
JOIN user_config AS config ON config.user_id = users.id
LEFT JOIN user_usage AS usage
    ON usage.user_id = users.id AND usage.period = quota_period(users.quota_reset_at, now())
WHERE users.deleted_at IS NULL AND ($1::uuid IS NULL OR users.id = $1)
ORDER BY users.id
