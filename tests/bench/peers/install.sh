#!/bin/sh
# Puts the peers of the benches into .local/bench. Does nothing for what is there and unchanged.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
root=$(CDPATH='' cd -- "$here/../../.." && pwd -P)
bin=$root/.local/bench/bin

say() { printf '%s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }
hash_of() { cat "$@" | sha256sum | cut -c1-32; }
holds() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

install_bento() {
    cd "$here/bento"
    key=$(hash_of go.mod go.sum main.go)
    [ -x "$bin/bento" ] && holds "$bin/bento.stamp" "$key" && return 0
    command -v go >/dev/null 2>&1 || fail "bento: needs Go 1.21 or newer on the PATH"
    say "building bento; this takes some minutes"
    # somebody's workspace or vendor flags are not for this module; the build must not change go.sum
    GOWORK=off GOFLAGS=-mod=readonly CGO_ENABLED=0 nice -n 15 \
        go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$bin/bento.new" .
    mv "$bin/bento.new" "$bin/bento"
    say "$key" >"$bin/bento.stamp"
}

install_playwright() {
    folder=$root/.local/bench/playwright
    key=$(hash_of "$here/playwright/requirements.lock")
    [ -x "$folder/bin/python" ] && holds "$folder/stamp" "$key" && return 0
    [ -x "$root/.venv/bin/python" ] || fail "playwright: run \`make check\` first, which makes .venv"
    say "installing playwright"
    rm -rf "$folder"
    "$root/.venv/bin/python" -m venv "$folder"
    nice -n 15 "$folder/bin/python" -m pip install --quiet --no-deps --require-hashes --only-binary :all: \
        -r "$here/playwright/requirements.lock"
    say "$key" >"$folder/stamp"
}

mkdir -p "$bin"
install_playwright
install_bento
say "the peers are in .local/bench"
