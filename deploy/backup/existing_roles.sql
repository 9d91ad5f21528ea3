-- As pg_dumpall writes the statement that makes each role.
SELECT format('CREATE ROLE %I', rolname) FROM pg_roles;
