#!/bin/bash
# Replays the recorded lakeFS answers of ../shared/conformance against a fresh server. Fails if a scenario of
# conformance-passing.txt stops passing (steps of conformance-better.txt aside, where we mean to differ), and names those
# that pass without being listed. --all prints everything.
set -euo pipefail
export PYTHONDONTWRITEBYTECODE=1
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
binary=${LAKEFUSE_BINARY:-$root/.build-release/release/lakefuse}
conformance=$root/../shared/conformance
if [ ! -d "$conformance" ]; then
    echo "skipped: ../shared/conformance is not here"
    exit 0
fi

work=$(mktemp -d "$root/.lakefuse-conformance-XXXXXX")
server= fresh=
finish() {
    for process in $server $fresh; do
        kill "$process" 2>/dev/null || true
        for _ in $(seq 100); do kill -0 "$process" 2>/dev/null || break; sleep 0.1; done
        kill -9 "$process" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

mkdir "$work/imports"
export LAKE_IMPORT=$work/imports
export LAKE_ACCESS_KEY_ID=AKIAJCONFORMANCE000Q LAKE_SECRET_ACCESS_KEY=conformance/secret+0123456789ABCDEFGHIJK
env -u LAKE_ACCESS_KEY_ID -u LAKE_SECRET_ACCESS_KEY HOME="$work" LAKEFSACTION_VAR=this_is_actions_var \
    LAKEFUSE_INSTALLATION_ACCESS_KEY_ID="$LAKE_ACCESS_KEY_ID" \
    LAKEFUSE_INSTALLATION_SECRET_ACCESS_KEY="$LAKE_SECRET_ACCESS_KEY" \
    LAKEFUSE_BLOCKSTORE_LOCAL_IMPORT_ENABLED=true LAKEFUSE_BLOCKSTORE_LOCAL_ALLOWED_EXTERNAL_PREFIXES="$LAKE_IMPORT" \
    "$binary" run --data "$work/data" --listen 127.0.0.1:0 >"$work/ready" 2>"$work/log" &
server=$!
# One that nobody has set up, for the scenario that does.
env -u LAKE_ACCESS_KEY_ID -u LAKE_SECRET_ACCESS_KEY HOME="$work" LAKEFUSE_INSTALLATION_MAKE_FIRST_USER=false \
    "$binary" run --data "$work/fresh" --listen 127.0.0.1:0 >"$work/fresh-ready" 2>>"$work/log" &
fresh=$!
address() { sed -n 's/^lakefuse is ready at //p' "$1"; }
for _ in $(seq 300); do
    LAKE_ENDPOINT=$(address "$work/ready") LAKE_FRESH_ENDPOINT=$(address "$work/fresh-ready")
    if { [ -n "$LAKE_ENDPOINT" ] && [ -n "$LAKE_FRESH_ENDPOINT" ]; } || ! kill -0 "$server" "$fresh" 2>/dev/null; then break; fi
    sleep 0.1
done
if [ -z "$LAKE_ENDPOINT" ]; then
    echo "the server did not get ready:"
    tail "$work/log"
    exit 1
fi
export LAKE_ENDPOINT LAKE_FRESH_ENDPOINT

# Its own exit status says that some scenario fails, listed or not: not what is asked here.
timeout 900 python3 "$conformance/conformance.py" run >"$work/result" 2>&1 || [ $? -ne 124 ] || echo "ended after 900 s"
if [ "${1-}" = --all ]; then
    cat "$work/result"
else
    # Only what is wrong with the run itself.
    grep -v -e '^ok ' -e '^FAIL ' -e '^skip ' -e '^  ' -e ' passed, ' "$work/result" || true
fi
gone=0
if ! kill -0 "$server" 2>/dev/null; then
    echo "the server is gone; its log ends:"
    tail "$work/log"
    gone=1
fi

python3 "$here/conformance_check.py" "$work/result" "$here/conformance-passing.txt" "$here/conformance-better.txt"
exit "$gone"
