-- name: try_retention_lock
SELECT pg_try_advisory_lock($1)

-- name: retention_state
SELECT now() AS now, bool_and(pg_has_role(relowner, 'USAGE')) AS is_owner
FROM pg_class
WHERE oid IN ('signals'::regclass, 'audit_logs'::regclass)

-- name: users_with_due_signals
SELECT users.id
FROM users
JOIN unnest($1::text[], $2::uuid[]) AS terms (plan, due_before) ON terms.plan = users.plan
CROSS JOIN LATERAL (
    -- BETWEEN and this order, not = and any: or else the planner may walk the primary key, past the rows of all
    -- others, to meet one of this user
    (SELECT FROM signals
     WHERE user_id BETWEEN users.id AND users.id AND disposition = 'stored' AND id < due_before
     ORDER BY user_id DESC, id LIMIT 1)
    UNION ALL
    (SELECT FROM signals
     WHERE user_id BETWEEN users.id AND users.id AND disposition = 'parked' AND id < due_before
     ORDER BY user_id, id LIMIT 1)
    LIMIT 1
) AS due
ORDER BY users.id

-- name: users_with_due_audit_logs
SELECT users.id
FROM users
JOIN unnest($1::text[], $2::uuid[]) AS terms (plan, due_before) ON terms.plan = users.plan
CROSS JOIN LATERAL (
    SELECT FROM audit_logs
    WHERE user_id BETWEEN users.id AND users.id AND id < due_before
    ORDER BY user_id DESC, id LIMIT 1
) AS due
ORDER BY users.id

-- name: delete_due_signals
WITH due AS MATERIALIZED (
    SELECT oldest.id
    FROM users
    JOIN unnest($1::text[], $2::uuid[]) AS terms (plan, due_before) ON terms.plan = users.plan
    CROSS JOIN LATERAL (
        -- each disposition has an index of its own
        (SELECT id FROM signals
         WHERE user_id BETWEEN users.id AND users.id AND disposition = 'stored' AND id < due_before
         ORDER BY user_id DESC, id LIMIT $4)
        UNION ALL
        (SELECT id FROM signals
         WHERE user_id BETWEEN users.id AND users.id AND disposition = 'parked' AND id < due_before
         ORDER BY user_id, id LIMIT $4)
        ORDER BY id LIMIT $4
    ) AS oldest
    WHERE users.id = $3
), unlinked AS (
    DELETE FROM signal_screenshots WHERE signal_id = ANY(ARRAY(SELECT id FROM due))
)
-- an array, so that only the partitions of these ids are opened
DELETE FROM signals WHERE id = ANY(ARRAY(SELECT id FROM due))

-- name: delete_due_audit_logs
WITH due AS MATERIALIZED (
    SELECT oldest.id
    FROM users
    JOIN unnest($1::text[], $2::uuid[]) AS terms (plan, due_before) ON terms.plan = users.plan
    CROSS JOIN LATERAL (
        SELECT id FROM audit_logs
        WHERE user_id BETWEEN users.id AND users.id AND id < due_before
        ORDER BY user_id DESC, id LIMIT $4
    ) AS oldest
    WHERE users.id = $3
)
DELETE FROM audit_logs WHERE id = ANY(ARRAY(SELECT id FROM due))

-- name: delete_old_links
DELETE FROM signal_screenshots
WHERE signal_id = ANY(ARRAY(
    SELECT signal_id FROM signal_screenshots WHERE signal_id < $1 ORDER BY signal_id LIMIT $2
))

-- name: count_due_signals
SELECT users.plan, count(*) AS rows
FROM users
JOIN unnest($1::text[], $2::uuid[]) AS terms (plan, due_before) ON terms.plan = users.plan
CROSS JOIN LATERAL (
    SELECT FROM signals WHERE user_id = users.id AND disposition = 'stored' AND id >= $3 AND id < due_before
    UNION ALL
    SELECT FROM signals WHERE user_id = users.id AND disposition = 'parked' AND id >= $3 AND id < due_before
) AS due
GROUP BY users.plan
ORDER BY users.plan

-- name: count_due_audit_logs
SELECT users.plan, count(*) AS rows
FROM users
JOIN unnest($1::text[], $2::uuid[]) AS terms (plan, due_before) ON terms.plan = users.plan
JOIN audit_logs ON audit_logs.user_id = users.id AND audit_logs.id >= $3 AND audit_logs.id < due_before
GROUP BY users.plan
ORDER BY users.plan
