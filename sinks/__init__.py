"""From topics to Postgres: signals, capture events and tenant changes. Owns the tables' migrations."""
