#!/bin/bash
# The demo as a new user meets it: starts, shows its sample data, keeps what was written over a stop, and stops.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d "$root/.lakefuse-demo-XXXXXX")
export LAKEFUSE_DEMO_DATA=$work/data LAKEFUSE_DEMO_MOUNT=$work/lake LAKEFUSE_DEMO_LISTEN=127.0.0.1:0
finish() {
    "$root/examples/demo.sh" stop >/dev/null 2>&1 || true
    umount -l "$work/lake" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
"$root/examples/demo.sh" start >"$work/first"
grep -q 'LakeFUSE is running at http://127.0.0.1:' "$work/first"
[ "$(ls "$work/lake/temperatures" | wc -l)" = 3 ]
link=$(grep -o 'http://127.0.0.1:[0-9]*/login/once?secret=[^ ]*' "$work/first")
curl -fsS -o /dev/null -D "$work/headers" "$link"
grep -qi '^set-cookie: internal_auth_session=' "$work/headers"
echo "mine" >"$work/lake/mine.txt"
"$root/examples/demo.sh" stop
[ ! -e "$work/lake/README.md" ]
"$root/examples/demo.sh" start >"$work/second"
[ "$(cat "$work/lake/mine.txt")" = mine ]
# The process dies; the next start mounts over the dead mount and nothing is lost.
kill -9 "$(cat "$work/data/server.pid")"
"$root/examples/demo.sh" start >/dev/null
[ "$(cat "$work/lake/mine.txt")" = mine ]
# Every line that it prints to be typed works as printed, behind the first.
programs=$(ls -d "$root"/.venv-clients/bin 2>/dev/null || true)
sed -n 's/^  \(source .*\)/\1/p; /^then try/,/^Stop/s/^  //p' "$work/second" >"$work/lines"
grep -q '^source ' "$work/lines"
[ "$(wc -l <"$work/lines")" -ge 8 ]
if ! PATH="$PATH:$programs" command -v aws >/dev/null; then sed -i '/^aws /d' "$work/lines"; fi
(cd "$root" && PATH="$PATH:$programs" bash -euo pipefail "$work/lines" >"$work/said")
grep -q 'created branch .try.' "$work/said"
echo "demo: ok"
