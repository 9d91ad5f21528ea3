#!/bin/sh
# Backs up the store with Postgres's own tools, and the place in the topics from which to complete it.
#
#   backup.sh dump FOLDER                     writes FOLDER/alerts-TIME
#   backup.sh restore BACKUP [--accept-loss]  into the empty database of DATABASE_URL
#
# DATABASE_URL and KAFKA_* as for every `alerts` command. See docs/backup.md.
set -eu
umask 077

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
root=$(dirname -- "$(dirname -- "$here")")
files='database.dump offsets.json roles.sql'

say() { printf '%s\n' "$*"; }
fail() { printf 'backup: %s\n' "$@" >&2; exit 1; }

if [ -x "$root/.venv/bin/alerts" ]; then alerts=$root/.venv/bin/alerts; else alerts=$(command -v alerts) ||
    fail "there is no alerts command: install the project, or put it on the PATH"; fi

# Runs a program of Postgres; the password goes by the environment, never by an argument that ps shows.
with_database() { "$(dirname -- "$alerts")/python" -P -m deploy.postgres_client "$@"; }
query() { with_database psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 "$@"; }

dump() {
    [ -d "$1" ] || fail "there is no folder $1"
    folder=$(CDPATH='' cd -- "$1" && pwd -P)
    name=alerts-$(date -u +%Y%m%dT%H%M%SZ)
    [ ! -e "$folder/$name" ] || fail "$folder/$name is there already"
    partial=$(mktemp -d "$folder/.partial-XXXXXX")
    trap 'rm -rf "$partial"' EXIT
    trap 'exit 130' INT TERM HUP
    check_policies
    # The offsets first: whatever the snapshot lacks then lies behind them, and is read again after a restore.
    "$alerts" offsets save "$partial/offsets.json"
    with_database pg_dumpall --roles-only --no-role-passwords --file="$partial/roles.sql"
    say 'dumping the database'
    with_database pg_dump --format=custom --enable-row-security --lock-wait-timeout=60s \
        --file="$partial/database.dump"
    manifest
    sync "$partial"/* "$partial"
    mv "$partial" "$folder/$name"
    trap - EXIT
    sync "$folder"
    say "$folder/$name"
}

# With row security enabled pg_dump takes what the policies show its role, so they must show it every row.
check_policies() {
    hidden=$(query --file="$here/hidden_tables.sql")
    [ -z "$hidden" ] || fail "policies hide rows from this role in: $hidden" \
        'let DATABASE_URL be that of the tables'"'"' owner, a superuser or a role with BYPASSRLS'
}

manifest() {
    server=$(query --command='SHOW server_version')
    schema=$(query --command='SELECT version_num FROM alembic_version')
    {
        say '# alerts backup 1'
        say "# created $(date -u +%Y-%m-%dT%H:%M:%SZ)"
        say "# server $server"
        say "# schema $schema"
        # shellcheck disable=SC2086 # three words
        (cd "$partial" && sha256sum $files)
    } >"$partial/MANIFEST"
}

check() {
    [ -f "$1/MANIFEST" ] || fail "$1 is no complete backup: it has no MANIFEST"
    for file in $files; do
        grep -q "^[0-9a-f]\{64\}  $file\$" "$1/MANIFEST" || fail "$1/MANIFEST does not name $file"
    done
    (cd "$1" && sha256sum --check --strict --quiet MANIFEST) || fail "$1 is damaged: take another backup"
}

restore() {
    accept=${2:-}
    check "$1"
    sed -n 's/^# //p' "$1/MANIFEST"
    found=$(query --file="$here/contents.sql")
    [ -z "$found" ] || fail "the database is not empty; it holds $found" \
        'create a new one (CREATE DATABASE …) and set DATABASE_URL to it'
    # what would stop the last step must stop here, before anything is changed
    "$alerts" offsets restore "$1/offsets.json" --dry-run ${accept:+"$accept"}
    say 'creating the roles that are missing'
    missing_roles "$1/roles.sql" | query --single-transaction --output=/dev/null
    say 'restoring the database'
    with_database pg_restore --exit-on-error --single-transaction \
        --dbname=application_name=alerts-restore "$1/database.dump"
    query --single-transaction --output=/dev/null --file="$here/after_restore.sql"
    "$alerts" migrate
    "$alerts" offsets restore "$1/offsets.json" ${accept:+"$accept"}
}

# Of the file what is about roles that this cluster lacks: those it has keep their options, and so their rights.
missing_roles() {
    query --file="$here/existing_roles.sql" | awk '
        FILENAME == "-" { known[$0]; next }
        { statement = $0; sub(/;$/, "", statement) }
        statement in known { next }
        { for (role in known) if (index($0, "ALTER" substr(role, 7) " ") == 1) next }
        { print }' - "$1"
}

case ${1:-} in
dump) [ $# = 2 ] || fail 'usage: backup.sh dump FOLDER' && dump "$2" ;;
restore)
    [ $# = 2 ] || { [ $# = 3 ] && [ "$3" = --accept-loss ]; } || fail 'usage: backup.sh restore BACKUP [--accept-loss]'
    restore "${2%/}" "${3:-}"
    ;;
-h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0" ;;
*) fail 'usage: backup.sh dump FOLDER | restore BACKUP [--accept-loss]' ;;
esac
