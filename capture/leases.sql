-- name: take_lease
INSERT INTO capture_leases AS lease (account_key, holder, expires_at)
VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (account_key) DO UPDATE
SET holder = excluded.holder, fence = excluded.fence, expires_at = excluded.expires_at, wanted_at = NULL
-- what it has itself and knows no more of is no obstacle to the holder
WHERE lease.expires_at <= clock_timestamp() OR lease.holder = excluded.holder
RETURNING fence

-- name: want_lease
UPDATE capture_leases SET wanted_at = clock_timestamp() WHERE account_key = $1
RETURNING extract(epoch FROM expires_at - clock_timestamp())::float8 AS wait_s

-- name: begin_page
-- The try is stored together with the page: whoever has lost the account begins neither.
WITH page AS (
    UPDATE capture_leases
    SET expires_at = clock_timestamp() + make_interval(secs => $4),
        next_page_at = clock_timestamp() + make_interval(secs => $5),
        pages = CASE WHEN $6::integer = 0 THEN '{}' ELSE pages_of_last_hour(pages) || clock_timestamp() END
    WHERE account_key = $1 AND holder = $2 AND fence = $3
        AND expires_at > clock_timestamp()
        AND next_page_at <= clock_timestamp()
        AND ($6 = 0 OR cardinality(pages_of_last_hour(pages)) < $6)
    RETURNING fence
), stored AS (
    INSERT INTO capture_tries (signal_id, request_no, tries, reruns)
    SELECT DISTINCT signal_id, $8::integer, $9::integer, $10::integer
    FROM page, unnest($7::uuid[]) AS signal_id
    ORDER BY signal_id
    ON CONFLICT (signal_id, request_no) DO UPDATE
    SET tries = greatest(capture_tries.tries, excluded.tries),
        reruns = greatest(capture_tries.reruns, excluded.reruns),
        updated_at = now()
)
SELECT fence FROM page

-- name: lease_state
SELECT
    holder = $2 AND fence = $3 AND expires_at > clock_timestamp() AS is_held,
    greatest(extract(epoch FROM next_page_at - clock_timestamp()), 0)::float8 AS rest_s,
    cardinality(pages_of_last_hour(pages)) AS pages
FROM capture_leases
WHERE account_key = $1

-- name: end_page
-- A lease that has expired counts as long as nobody else has taken it: then no other page was opened.
UPDATE capture_leases
SET next_page_at = clock_timestamp() + make_interval(secs => $4),
    expires_at = CASE
        WHEN $6::boolean AND NOT ($7::boolean AND coalesce(wanted_at > clock_timestamp() - interval '5 seconds', false))
        THEN clock_timestamp() + make_interval(secs => $5)
        ELSE clock_timestamp()
    END
WHERE account_key = $1 AND holder = $2 AND fence = $3
RETURNING expires_at > clock_timestamp() AS is_kept

-- name: renew_leases
WITH mine AS (
    SELECT account_key
    FROM capture_leases JOIN unnest($2::bytea[], $3::bigint[]) AS held (account_key, fence) USING (account_key, fence)
    -- one that was let go of meanwhile stays so
    WHERE holder = $1 AND expires_at > clock_timestamp()
    ORDER BY account_key
    FOR NO KEY UPDATE OF capture_leases
)
UPDATE capture_leases SET expires_at = clock_timestamp() + make_interval(secs => $4)
WHERE account_key IN (SELECT account_key FROM mine)
RETURNING account_key, coalesce(wanted_at > clock_timestamp() - interval '5 seconds', false) AS is_wanted

-- name: release_leases
WITH mine AS (
    SELECT account_key
    FROM capture_leases JOIN unnest($2::bytea[], $3::bigint[]) AS held (account_key, fence) USING (account_key, fence)
    WHERE holder = $1
    ORDER BY account_key
    FOR NO KEY UPDATE OF capture_leases
)
UPDATE capture_leases SET expires_at = clock_timestamp()
WHERE account_key IN (SELECT account_key FROM mine)

-- name: forget_leases
DELETE FROM capture_leases WHERE account_key IN (
    SELECT account_key FROM capture_leases WHERE expires_at < clock_timestamp() - interval '1 day'
    FOR UPDATE SKIP LOCKED
)

-- name: forget_tries
DELETE FROM capture_tries WHERE (signal_id, request_no) IN (
    SELECT signal_id, request_no FROM capture_tries WHERE updated_at < now() - make_interval(secs => $1)
    FOR UPDATE SKIP LOCKED
)
