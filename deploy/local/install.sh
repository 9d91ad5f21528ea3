#!/bin/sh
# Installs what the clone needs: system packages by apt when that is allowed, the rest inside the clone
# (.venv and .local). Called by make with "run" or "test"; quiet and quick when everything is there.
# Each part gets its stamp, or its name, only when it is complete: an interrupted run heals on the next.
set -eu

kind=${1:-run}
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
cd "$root"
# Somebody's settings for other Python projects must not send our packages elsewhere.
unset PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV VIRTUAL_ENV || true

# Java reads folder names in the locale's encoding and gives up on what is not in it.
export LC_ALL=C.UTF-8

say() { printf '%s\n' "$*"; }
fail() { printf '%s\n' "$@" >&2; exit 1; }

# Runs a command quietly; when it fails, shows the end of what it said.
quietly() {
    # 9, the lock, is not for services that a package may start
    if ! "$@" >>"$log" 2>&1 </dev/null 9>&-; then
        tail -n 30 "$log" >&2
        fail "install: '$1' failed; the whole log is $log"
    fi
}

hash_of() { { printf '%s\n' "$root"; cat "$@"; } | sha256sum | cut -c1-32; }
holds() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

# --- system packages: what is missing is found by trying, so that any provider of it counts

find_python() {
    for name in python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
}

has_java() {
    command -v java >/dev/null 2>&1 || return 1
    version=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${version:-0}" -ge 17 ]
}

has_postgres() {
    for server in /usr/lib/postgresql/*/bin/postgres "$(command -v postgres || true)"; do
        [ -x "$server" ] && [ -x "$(dirname -- "$server")/initdb" ] || continue
        version=$("$server" --version | sed -n 's/^[^0-9]*\([0-9]*\).*/\1/p')
        [ "${version:-0}" -ge 15 ] && return 0
    done
    return 1
}

has_package() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

missing_packages() {
    [ -n "$(find_python)" ] || say python3 python3-venv
    has_java || say default-jre-headless
    command -v mvn >/dev/null 2>&1 || say maven
    has_postgres || say postgresql
    [ -x /usr/lib/chromium/chromium-headless-shell ] || say chromium-headless-shell
    for package in fonts-dejavu-core fonts-noto-color-emoji fonts-noto-cjk ca-certificates; do
        has_package "$package" || say "$package"
    done
}

apt() { quietly $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@"; }

install_packages() {
    packages=$(missing_packages | tr '\n' ' ')
    # a program may be there although apt was interrupted before it had set it up
    unfinished=.local/apt-unfinished
    [ -n "$packages" ] || [ -e "$unfinished" ] || return 0
    command -v apt-get >/dev/null 2>&1 || fail "These packages are missing: $packages" \
        "This machine has no apt-get; install them by its own means, then run make again."
    if [ "$(id -u)" = 0 ]; then
        as_root=''
    elif sudo -n true 2>/dev/null; then
        as_root='sudo -n'
    else
        fail "These packages are missing: $packages" "Install them, then run make again:" \
            "    sudo apt-get install --no-install-recommends $packages"
    fi
    say "installing system packages: $packages"
    touch "$unfinished"
    quietly $as_root dpkg --configure -a
    apt update
    apt install --fix-broken
    case " $packages" in *' postgresql '*) without_cluster ;; *) apt install --no-install-recommends $packages ;; esac
    packages=$(missing_packages | tr '\n' ' ')
    [ -z "$packages" ] || fail "Installed, but still too old or missing: $packages"
    rm -f "$unfinished"
}

# Debian makes and starts a database cluster of its own with the server; nobody asked for one here.
without_cluster() {
    switch=/etc/postgresql-common/createcluster.d/alerts-install.conf
    apt install --no-install-recommends postgresql-common
    quietly $as_root mkdir -p "$(dirname -- "$switch")"
    quietly $as_root sh -c "echo 'create_main_cluster = false' >'$switch'"
    trap '$as_root rm -f "$switch"' EXIT
    trap 'exit 130' INT TERM
    apt install --no-install-recommends $packages
    quietly $as_root rm -f "$switch"
    trap - EXIT INT TERM
}

# --- Python: .venv, with a stamp for what was installed into it

install_python() {
    python=$(find_python)
    run_key=$(hash_of requirements.lock pyproject.toml)
    test_key=$(hash_of requirements-dev.lock pyproject.toml)
    if .venv/bin/python -c '' 2>/dev/null; then
        holds .venv/stamp-test "$test_key" && return 0
        [ "$kind" = run ] && holds .venv/stamp-run "$run_key" && return 0
    fi
    case $kind in run) lock=requirements.lock key=$run_key ;; *) lock=requirements-dev.lock key=$test_key ;; esac
    say "installing Python packages from $lock"
    # a half-installed package looks installed to pip: what was interrupted starts anew
    if [ ! -e .venv/stamp-run ] && [ ! -e .venv/stamp-test ] || ! .venv/bin/python -c '' 2>/dev/null; then
        quietly "$python" -m venv --clear .venv
    fi
    rm -f .venv/stamp-run .venv/stamp-test
    quietly .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock"
    quietly .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
    say "$key" >".venv/stamp-$kind"
}

# --- the jars of the broker and of the tests' S3 server, and the chart library: named only when complete

# Java takes the home folder from the user database; where that cannot be written, the cache stays here.
has_maven_home() {
    home=$(getent passwd "$(id -u)" | cut -d: -f6)
    if [ -e "$home/.m2" ]; then [ -w "$home/.m2" ]; else [ -w "$home" ]; fi
}

# install_jars NAME FOLDER POM
install_jars() {
    folder=.local/opt/$2
    key=$(hash_of "$3")
    holds "$folder/stamp" "$key" && return 0
    say "fetching $1"
    rm -rf "$folder" "$folder.new"
    cache=''
    has_maven_home || cache=-Dmaven.repo.local=$root/.local/m2
    quietly mvn -q -B -Dstyle.color=never ${cache:+"$cache"} -f "$3" dependency:copy-dependencies \
        -DincludeScope=runtime "-DoutputDirectory=$root/$folder.new/libs"
    say "$key" >"$folder.new/stamp"
    mv "$folder.new" "$folder"
}

# Half of a broker's start is loading its classes; an archive of them is for one Java.
archive_classes() {
    key=$(java -version 2>&1 | sha256sum | cut -c1-32)
    holds .local/opt/kafka/stamp-classes "$key" && return 0
    say "preparing Kafka"
    rm -f .local/opt/kafka/classes.jsa
    quietly .venv/bin/python -m deploy.local.class_archive .local/opt/kafka
    say "$key" >.local/opt/kafka/stamp-classes
}

install_charts() {
    lock=deploy/local/chart/requirements.lock
    key=$(hash_of "$lock")
    holds .local/opt/lightweight-charts/stamp "$key" && return 0
    say "fetching Lightweight Charts"
    rm -rf .local/opt/lightweight-charts .local/opt/lightweight-charts.new
    quietly .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
        --target .local/opt/lightweight-charts.new -r "$lock"
    say "$key" >.local/opt/lightweight-charts.new/stamp
    mv .local/opt/lightweight-charts.new .local/opt/lightweight-charts
}

mkdir -p .local/logs .local/opt 2>/dev/null || true
[ -w .local ] && [ -w .local/opt ] && [ -w .local/logs ] ||
    fail "$root/.local belongs to $(stat -c %U .local): run make as that user, or remove it first (make clean)."
log=.local/logs/install.log
# make run and make test may start together; the second waits here until the first has installed all
exec 9>.local/install.lock
flock 9
: >"$log"
install_packages
install_python
install_jars Kafka kafka deploy/local/pom.xml
archive_classes
[ "$kind" = run ] || install_jars S3Proxy s3proxy tests/support/s3proxy.xml
install_charts
