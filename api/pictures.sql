-- name: count_pictures
SELECT count(screenshots.key), coalesce(sum(size_bytes), 0)::bigint AS size_bytes
FROM users
LEFT JOIN screenshots ON screenshots.user_id = users.id
WHERE users.id = $1
GROUP BY users.id

-- name: pictures_of_user
SELECT key FROM screenshots WHERE user_id = $1 ORDER BY key LIMIT $2

-- name: forget_pictures
-- Signals keep their status: a picture that was there and is no longer shows as expired.
WITH unlinked AS (
    DELETE FROM signal_screenshots WHERE screenshot_key = ANY($1::text[])
)
DELETE FROM screenshots WHERE key = ANY($1::text[])
