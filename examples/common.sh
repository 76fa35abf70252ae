# What the scripts of this folder share: the command `lake` of a lake that is configured (LAKECTL_… variables, ~/.lakectl.yaml, or
# `source .lakefuse/env` of a quickstart), and a repository of their own.
set -euo pipefail
lakefuse=${LAKEFUSE_BINARY:-$(command -v lakefuse || echo "$(dirname "${BASH_SOURCE[0]}")/../.build-release/release/lakefuse")}
lake() { "$lakefuse" "$@"; }
say() { printf '\n== %s\n' "$*"; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
