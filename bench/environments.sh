#!/usr/bin/env bash
# Makes one environment per contender under .bench/, so that none can change what another (or Penstock) runs on.
# What is up to date already is left alone. What this machine has no Python for is left out, and said.
#
#     bench/environments.sh            all of them
#     bench/environments.sh dlt        one
set -euo pipefail
cd "$(dirname "$0")/.."

# The first of these commands that is a working Python in the wanted range, or nothing.
python_between() {
    local lowest="$1" highest="$2" candidate
    for candidate in .venv/bin/python python3.12 python3.11 python3; do
        if "$candidate" -c "import sys, venv, ensurepip; sys.exit(not $lowest <= sys.version_info[:2] <= $highest)" 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

make_environment() {
    local name="$1" lowest="$2" highest="$3"
    local folder=".bench/$name" lock="bench/requirements/$name.txt" python
    if [ "$folder/installed" -nt "$lock" ]; then
        return
    fi
    python="$(python_between "$lowest" "$highest")"
    if [ -z "$python" ]; then
        echo "bench: no Python from $lowest to $highest here, leaving $name out" >&2
        return
    fi
    echo "bench: making $folder"
    "$python" -m venv --clear "$folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock"
    touch "$folder/installed"
}

[ "$#" -gt 0 ] || set -- dlt bytewax
for name in "$@"; do
    case "$name" in
        dlt) make_environment dlt '(3, 11)' '(3, 13)' ;;
        bytewax) make_environment bytewax '(3, 11)' '(3, 12)' ;;
        *) echo "bench: there is no contender called $name" >&2; exit 2 ;;
    esac
done
