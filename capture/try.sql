-- name: read_plan
SELECT plan FROM users WHERE id = $1 AND deleted_at IS NULL

-- name: read_default_chart
SELECT default_chart_id FROM user_config WHERE user_id = $1
