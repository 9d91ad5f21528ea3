-- name: configure
pragma locking_mode = exclusive;
pragma journal_mode = wal;
pragma synchronous = full;
pragma journal_size_limit = 4194304;

-- name: create
create table records (
    number integer primary key autoincrement,
    put_at_ms integer not null,
    crc32 integer not null,
    record blob not null
) strict;
create table totals (records integer not null, bytes integer not null) strict;
insert into totals values (0, 0);
pragma user_version = 1;

-- name: version
pragma user_version;

-- name: totals
select records, bytes from totals;

-- name: count
update totals set records = records + ?, bytes = bytes + ?;

-- name: insert
insert into records (put_at_ms, crc32, record) values (?, ?, ?);

-- name: read
select number, put_at_ms, crc32, record from records order by number limit ?;

-- name: oldest
select number, put_at_ms from records order by number limit ?;

-- name: delete
delete from records where number = ? returning length(record);
