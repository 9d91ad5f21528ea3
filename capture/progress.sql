-- name: progress
WITH row AS MATERIALIZED (
    SELECT id, capture_request_no, capture_rank FROM signals WHERE id = ANY($1::uuid[])
)
SELECT
    coalesce((row.capture_request_no, row.capture_rank) >= (asked.request_no, $3::integer), false) AS is_final,
    coalesce(capture_tries.tries, 0) AS tries,
    coalesce(capture_tries.reruns, 0) AS reruns
FROM unnest($1::uuid[], $2::integer[]) WITH ORDINALITY AS asked (signal_id, request_no, place)
LEFT JOIN row ON row.id = asked.signal_id
LEFT JOIN capture_tries
    ON capture_tries.signal_id = asked.signal_id AND capture_tries.request_no = asked.request_no
ORDER BY asked.place
