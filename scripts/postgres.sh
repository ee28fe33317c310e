#!/usr/bin/env bash
# Has PostgreSQL here for the tests: Debian's `postgresql` package, installed where no server is found. The tests start
# servers of their own from it (tests/servers/postgres.py); nothing needs to be running, and nothing is left running.
#
#   scripts/postgres.sh          install what is missing, then print the folder of the newest server's programs
#   scripts/postgres.sh --find   only print that folder; exit 1 where there is none
#
# Elsewhere than on Debian: install PostgreSQL 15 or newer with `initdb` on the PATH, or point
# PENSTOCK_TEST_POSTGRES_URL at a server of your own (superuser, wal_level=logical).
set -euo pipefail

find_server() {
    local newest
    newest=$(ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null | sort --version-sort | tail -n 1)
    if [ -z "$newest" ] && command -v initdb >/dev/null; then
        newest=$(command -v initdb)
    fi
    [ -n "$newest" ] && dirname "$(readlink -f "$newest")"
}

if find_server; then
    exit 0
fi
if [ "${1:-}" = "--find" ]; then
    exit 1
fi

root=()
[ "$(id -u)" -eq 0 ] || root=(sudo)
{
    "${root[@]}" apt-get update --quiet --quiet
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends postgresql
} >&2
find_server
