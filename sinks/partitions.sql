-- name: configure_partitions
UPDATE partition_settings SET width = $1, kept_days = $2 WHERE (width, kept_days) <> ($1, $2)

-- name: ensure_days
SELECT made
FROM unnest('{signals, audit_logs}'::text[]) AS parent
CROSS JOIN unnest($1::date[]) AS day
CROSS JOIN unnest(ensure_partition(parent::regclass, day)) AS made
