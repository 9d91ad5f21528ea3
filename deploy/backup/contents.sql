-- What a database holds beside extensions, as one line of at most five names; nothing when it is empty.
SELECT string_agg(name, ', ')
FROM (
    SELECT pg_class.oid::regclass::text AS name
    FROM pg_class
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      AND nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema'
      AND NOT EXISTS (
          SELECT FROM pg_depend
          WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e'
      )
    ORDER BY name
    LIMIT 5
) AS found;
