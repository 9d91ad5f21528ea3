-- name: try_relay_lock
SELECT pg_try_advisory_xact_lock($1)

-- name: unpublished_tenants
SELECT users.id, users.revision, users.plan, users.webhook_enabled, users.deleted_at IS NOT NULL AS deleted,
       encode(users.webhook_token_hash, 'hex') AS token_hash,
       CASE WHEN users.previous_token_until > now() THEN encode(users.previous_token_hash, 'hex') END
           AS previous_token_hash,
       coalesce(config.captures_consented_at IS NOT NULL AND NOT config.captures_stopped, false)
           AS captures_enabled,
       config.default_chart_id, users.allowed_addresses
FROM users
LEFT JOIN user_config AS config ON config.user_id = users.id
WHERE users.published_revision < users.revision
ORDER BY users.id
LIMIT $1

-- name: mark_tenants_published
UPDATE users SET published_revision = done.revision
FROM unnest($1::uuid[], $2::bigint[]) AS done (id, revision)
WHERE users.id = done.id AND users.published_revision < done.revision

-- name: published_revisions
SELECT id, published_revision FROM users WHERE published_revision > 0

-- name: forget_published
UPDATE users SET published_revision = 0
FROM unnest($1::uuid[], $2::bigint[]) AS topic (id, revision)
WHERE users.id = topic.id AND users.revision >= topic.revision AND published_revision > 0

-- name: retire_previous_tokens
UPDATE users
SET previous_token_hash = NULL, previous_token_until = NULL, revision = revision + 1, updated_at = now()
WHERE previous_token_until <= now()
