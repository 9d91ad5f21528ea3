-- name: statement
-- what makes login $1 with password $2 a member of role $3
SELECT format(
    CASE WHEN to_regrole($1::text) IS NULL
        THEN 'CREATE ROLE %1$I LOGIN PASSWORD %2$L IN ROLE %3$I'
        ELSE 'ALTER ROLE %1$I LOGIN PASSWORD %2$L; GRANT %3$I TO %1$I'
    END,
    $1::text, $2::text, $3::text
)
