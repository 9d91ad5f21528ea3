-- name: find_key
SELECT scope, user_id FROM api_keys WHERE key_hash = $1 AND revoked_at IS NULL

-- name: put_key
INSERT INTO api_keys (id, key_hash, scope, user_id, label)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (key_hash) DO UPDATE
SET scope = excluded.scope, user_id = excluded.user_id, label = excluded.label, revoked_at = NULL

-- name: known_user
SELECT 1 FROM users WHERE id = $1 AND deleted_at IS NULL FOR SHARE

-- name: revoke_key
UPDATE api_keys SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1

-- name: list_keys
SELECT id, scope, user_id, label, created_at, revoked_at FROM api_keys ORDER BY id

-- name: open_for_platform
BEGIN READ ONLY; SET LOCAL ROLE alerts_platform_reader

-- name: open_for_user
BEGIN READ ONLY; SET LOCAL ROLE alerts_reader; SET LOCAL alerts.user_id = '{user_id}'
