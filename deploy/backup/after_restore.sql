-- Readers of the topics may have seen newer numbers than the dump holds. What the database says from now on
-- must be newer still: each tenant's record is published again, and no live reader steps over a signal.
UPDATE users SET revision = revision + 1000000, updated_at = now();

SELECT setval(identity, nextval(identity) + 1000000000)
FROM (SELECT pg_get_serial_sequence('signals', 'sequence')::regclass AS identity) AS signals;
