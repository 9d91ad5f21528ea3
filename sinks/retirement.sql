-- name: limit_lock_waits
SELECT set_config('lock_timeout', $1, false)

-- name: due_partitions
SELECT parent::text AS parent, child::text AS name, upper_id, reltuples::bigint AS about_rows,
       format('ALTER TABLE %s DETACH PARTITION %s %s', parent, child,
              CASE WHEN detaching THEN 'FINALIZE' ELSE 'CONCURRENTLY' END) AS detach
FROM unnest('{signals, audit_logs}'::regclass[]) AS parent
CROSS JOIN partition_ranges(parent)
JOIN pg_class ON pg_class.oid = child
WHERE upper_id <= $1
ORDER BY parent, detaching DESC, upper_id

-- name: retire_partition
INSERT INTO retired_partitions (name) VALUES ($1) ON CONFLICT DO NOTHING

-- name: forget_unbegun
DELETE FROM retired_partitions
USING pg_inherits
WHERE inhrelid = to_regclass(name) AND NOT inhdetachpending

-- name: detached_partitions
SELECT name, format('DROP TABLE IF EXISTS %s', coalesce(to_regclass(name)::text, quote_ident(name))) AS drop
FROM retired_partitions
LEFT JOIN pg_class ON pg_class.oid = to_regclass(name)
WHERE NOT coalesce(relispartition, false)
ORDER BY name

-- name: forget_retired
DELETE FROM retired_partitions WHERE name = $1
