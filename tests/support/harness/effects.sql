-- name: create_tables
CREATE TABLE effects (
    id text PRIMARY KEY,
    first_by text NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE deliveries (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL,
    worker text NOT NULL,
    step text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE gate (opened boolean NOT NULL);

-- name: open_gate
INSERT INTO gate VALUES (true);

-- name: gate_is_open
SELECT EXISTS (SELECT FROM gate);

-- name: insert_effects
INSERT INTO effects (id, first_by)
SELECT unnest($1::text[]), $2
ON CONFLICT DO NOTHING;

-- name: insert_deliveries
INSERT INTO deliveries (id, worker, step)
SELECT unnest($1::text[]), $2, $3;

-- name: effects
SELECT id, first_by FROM effects ORDER BY at, id;

-- name: deliveries
SELECT id, worker, step FROM deliveries ORDER BY number;
