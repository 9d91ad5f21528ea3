-- name: ensure_audit_partitions
SELECT ensure_partition('audit_logs', day) FROM unnest($1::date[]) AS day

-- name: insert_refused_calls
INSERT INTO audit_logs (id, user_id, received_at, client_address, outcome, status, count, first_at)
SELECT r.id, r.user_id, r.last_at, r.client_address, r.reason, r.status, r.count, r.first_at
FROM jsonb_to_recordset($1::text::jsonb) AS r (
    id uuid, user_id uuid, last_at timestamptz, client_address text, reason text, status smallint, count bigint,
    first_at timestamptz
)
ORDER BY r.id
ON CONFLICT (id) DO NOTHING
