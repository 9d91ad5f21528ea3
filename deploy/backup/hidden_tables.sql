-- Tables of which a policy may hide rows from the current role, as one line; nothing when there are none.
SELECT string_agg(hidden.oid::regclass::text, ', ')
FROM pg_class AS hidden, pg_roles AS me
WHERE me.rolname = current_user AND NOT (me.rolsuper OR me.rolbypassrls) AND hidden.relrowsecurity
  AND (hidden.relforcerowsecurity OR NOT pg_has_role(hidden.relowner, 'USAGE'))
  AND (
    EXISTS (
        SELECT FROM pg_policy
        WHERE polrelid = hidden.oid AND NOT polpermissive AND polcmd IN ('*', 'r')
    )
    OR NOT EXISTS (
        SELECT FROM pg_policy, unnest(polroles) AS allowed
        WHERE polrelid = hidden.oid AND polpermissive AND polcmd IN ('*', 'r')
          AND pg_get_expr(polqual, polrelid) = 'true'
          AND CASE WHEN allowed = 0 THEN true ELSE pg_has_role(allowed, 'USAGE') END
    )
  );
