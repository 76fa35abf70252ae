#!/bin/bash
# demo.sh start|stop: a lake of one's own under .lakefuse/, with sample data and its main branch mounted on lake/.
# LAKEFUSE_DEMO_DATA, LAKEFUSE_DEMO_MOUNT and LAKEFUSE_DEMO_LISTEN choose other places. Without a checkout: lakefuse quickstart.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
binary=${LAKEFUSE_BINARY:-$root/.build-release/release/lakefuse}
cd "$root"
stop=()
[ "${1-}" = stop ] && stop=(--stop)
exec "$binary" quickstart --data "${LAKEFUSE_DEMO_DATA:-.lakefuse}" --mount "${LAKEFUSE_DEMO_MOUNT:-lake}" \
    --listen "${LAKEFUSE_DEMO_LISTEN:-127.0.0.1:8000}" "${stop[@]}"
