CREATE TABLE partition_settings (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    width     text NOT NULL DEFAULT 'month' CHECK (width IN ('month', 'week', 'day')),
    kept_days integer NOT NULL DEFAULT 730 CHECK (kept_days > 0)
);
COMMENT ON COLUMN partition_settings.width IS 'of partitions made from now on';
COMMENT ON COLUMN partition_settings.kept_days IS 'of the plan that keeps signals longest';
INSERT INTO partition_settings DEFAULT VALUES;

CREATE TABLE retired_partitions (
    name       text PRIMARY KEY,
    retired_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE retired_partitions IS
    'partitions that are being detached to be dropped: whoever finds one here finishes it';

-- Ids from lower_id up to but without upper_id. One that is being detached takes no rows any more.
CREATE FUNCTION partition_ranges(parent regclass)
RETURNS TABLE (child regclass, lower_id uuid, upper_id uuid, detaching boolean)
LANGUAGE sql STABLE AS $$
    SELECT inhrelid::regclass,
           coalesce(substring(bound FROM $re$FROM \('([^']+)'\)$re$)::uuid, '00000000-0000-0000-0000-000000000000'),
           coalesce(substring(bound FROM $re$TO \('([^']+)'\)$re$)::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'),
           inhdetachpending
    FROM pg_inherits
    JOIN pg_class ON pg_class.oid = inhrelid
    CROSS JOIN pg_get_expr(relpartbound, pg_class.oid) AS bound
    WHERE inhparent = parent AND bound <> 'DEFAULT'
$$;

CREATE FUNCTION moment_of_id(id uuid) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT to_timestamp((
        (get_byte(uuid_send(id), 0)::bigint << 40) | (get_byte(uuid_send(id), 1)::bigint << 32)
        | (get_byte(uuid_send(id), 2)::bigint << 24) | (get_byte(uuid_send(id), 3)::bigint << 16)
        | (get_byte(uuid_send(id), 4)::bigint << 8) | get_byte(uuid_send(id), 5)::bigint
    ) / 1000::float8)
$$;
COMMENT ON FUNCTION moment_of_id IS 'the inverse of uuid_at';

-- The first id of the day (in UTC) that no partition takes; null when the whole day is covered.
CREATE FUNCTION partition_gap(parent regclass, day date) RETURNS uuid
LANGUAGE plpgsql STABLE AS $$
DECLARE
    gap     uuid := uuid_at(day::timestamp AT TIME ZONE 'UTC');
    day_end uuid := uuid_at((day + 1)::timestamp AT TIME ZONE 'UTC');
    covering record;
BEGIN
    WHILE gap < day_end LOOP
        SELECT * INTO covering FROM partition_ranges(parent) WHERE lower_id <= gap AND gap < upper_id;
        IF NOT FOUND THEN
            RETURN gap;
        END IF;
        IF covering.detaching THEN
            RAISE EXCEPTION '% is being detached', covering.child USING ERRCODE = 'lock_not_available';
        END IF;
        gap := covering.upper_id;
    END LOOP;
    RETURN NULL;
END $$;

-- A name that is free. An empty table of that name was made and never attached: it gives way. One with rows was
-- detached by somebody, and its rows must not come back.
CREATE FUNCTION free_partition_name(wanted text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    name   text := wanted;
    taken  regclass;
    filled boolean;
BEGIN
    FOR try_no IN 2..1000 LOOP
        taken := to_regclass(format('public.%I', name));
        EXIT WHEN taken IS NULL;
        IF EXISTS (
            SELECT FROM pg_class
            WHERE oid = taken AND relkind = 'r' AND NOT relispartition AND pg_has_role(relowner, 'USAGE')
                AND NOT EXISTS (SELECT FROM retired_partitions AS retired WHERE to_regclass(retired.name) = taken)
        ) THEN
            EXECUTE format('SELECT EXISTS (SELECT FROM %s)', taken) INTO filled;
            IF NOT filled THEN
                EXECUTE format('DROP TABLE %s', taken);
                EXIT;
            END IF;
        END IF;
        name := format('%s_%s', wanted, try_no);
    END LOOP;
    RETURN name;
END $$;

-- Makes the partition of the configured width that takes `gap`, cut to fit between those already there.
CREATE FUNCTION fill_partition_gap(parent regclass, gap uuid, width text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    starts_at timestamp := date_trunc(width, moment_of_id(gap) AT TIME ZONE 'UTC');
    ends_at   timestamp := starts_at + ('1 ' || width)::interval;
    whole_lower uuid := uuid_at(starts_at AT TIME ZONE 'UTC');
    whole_upper uuid := uuid_at(ends_at AT TIME ZONE 'UTC');
    lower_bound uuid := greatest(whole_lower, (
        SELECT upper_id FROM partition_ranges(parent) WHERE upper_id <= gap ORDER BY upper_id DESC LIMIT 1));
    upper_bound uuid := least(whole_upper, (
        SELECT lower_id FROM partition_ranges(parent) WHERE lower_id > gap ORDER BY lower_id LIMIT 1));
    whole_month boolean := width = 'month' AND (lower_bound, upper_bound) = (whole_lower, whole_upper);
    child text := free_partition_name(format('%s_%s',
        (SELECT relname FROM pg_class WHERE oid = parent),
        to_char(moment_of_id(lower_bound) AT TIME ZONE 'UTC',
                CASE WHEN whole_month THEN 'YYYY_MM' ELSE 'YYYY_MM_DD' END)));
BEGIN
    -- LIKE and ATTACH take a weaker lock on the parent than PARTITION OF does: nobody who reads or writes waits
    EXECUTE format('CREATE TABLE public.%I (LIKE %s INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED)',
                   child, parent);
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
                   parent, child, lower_bound, upper_bound);
    RETURN child;
END $$;

DROP FUNCTION ensure_partition(regclass, date);

-- Makes what is missing for rows of this day, in UTC, and returns the names of what it made. Idempotent, safe to run
-- from several sessions. A day that no row can rightly have is an error of the data (22008).
CREATE FUNCTION ensure_partition(parent regclass, day date) RETURNS text[]
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '2s'
AS $$
DECLARE
    settings partition_settings;
    today    date := (now() AT TIME ZONE 'UTC')::date;
    made     text[] := '{}';
    gap      uuid := partition_gap(parent, day);
BEGIN
    IF gap IS NULL THEN
        RETURN made;
    END IF;
    IF parent NOT IN ('public.signals'::regclass, 'public.audit_logs'::regclass) THEN
        RAISE EXCEPTION '% has no partitions', parent USING ERRCODE = 'wrong_object_type';
    END IF;
    SELECT * INTO STRICT settings FROM partition_settings;
    IF day < today - settings.kept_days - 1
        OR day > (today + 2 * ('1 ' || settings.width)::interval)::date + 2 THEN
        RAISE EXCEPTION 'no partition for %', day
            USING ERRCODE = 'datetime_field_overflow', DETAIL = 'too old to be kept, or too far ahead';
    END IF;
    -- One lock for all: ATTACH locks the parent to the end of the transaction, and sessions that took a lock
    -- for each table or range would wait for each other.
    PERFORM pg_advisory_xact_lock(7281445021);
    LOOP
        gap := partition_gap(parent, day);
        EXIT WHEN gap IS NULL;
        made := made || fill_partition_gap(parent, gap, settings.width);
    END LOOP;
    RETURN made;
END $$;
REVOKE ALL ON FUNCTION ensure_partition(regclass, date) FROM PUBLIC;
