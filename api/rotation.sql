-- name: outdated
-- What is encrypted, but not with the key whose blobs begin with $1; what comes behind a place in the order.
SELECT user_id, secret, blob
FROM (
    SELECT id AS user_id, 'webhook_token' AS secret, webhook_token AS blob FROM users
    UNION ALL
    SELECT user_id, 'tv_sessionid', tv_sessionid FROM user_config
    UNION ALL
    SELECT user_id, 'tv_sessionid_sign', tv_sessionid_sign FROM user_config
) AS encrypted
WHERE substring(blob FROM 1 FOR length($1::bytea)) <> $1 AND (user_id, secret) > ($2::uuid, $3::text COLLATE "C")
ORDER BY user_id, secret COLLATE "C"
LIMIT $4

-- name: count_by_key
-- Null: not the form of anything encrypted.
SELECT CASE
        WHEN substring(blob FROM 1 FOR 1) = '\x01'::bytea AND length(blob) > 2
        THEN substring(blob FROM 3 FOR get_byte(blob, 1))
    END AS key_id, count(*) AS secrets
FROM (
    SELECT webhook_token AS blob FROM users
    UNION ALL
    SELECT tv_sessionid FROM user_config
    UNION ALL
    SELECT tv_sessionid_sign FROM user_config
) AS encrypted
WHERE blob IS NOT NULL
GROUP BY key_id
ORDER BY key_id

-- name: replace_webhook_token
-- Whoever has changed the value meanwhile wins, here and below.
UPDATE users SET webhook_token = $3 WHERE id = $1 AND webhook_token = $2

-- name: replace_tv_sessionid
UPDATE user_config SET tv_sessionid = $3 WHERE user_id = $1 AND tv_sessionid = $2

-- name: replace_tv_sessionid_sign
UPDATE user_config SET tv_sessionid_sign = $3 WHERE user_id = $1 AND tv_sessionid_sign = $2
