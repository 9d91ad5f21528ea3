-- name: sees_every_tenant
SELECT sees_every_tenant()

-- name: dispositions
SELECT id, disposition FROM signals WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3

-- name: users
SELECT id, plan, deleted_at IS NOT NULL AS deleted FROM users WHERE id = ANY($1::uuid[])
