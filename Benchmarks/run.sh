#!/bin/bash
# Installs what the benchmarks need (Debian's wrk, nginx-light, gcc) and runs them. README.md tells what they are.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
missing=()
command -v wrk >/dev/null || missing+=(wrk)
command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing+=(nginx-light)
command -v cc >/dev/null || missing+=(gcc libc6-dev)
if [ ${#missing[@]} -gt 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
fi
program=bench.py
case " $* " in *" --only versioning "* | *" --only=versioning "*) program=versioning.py ;; esac
case " $* " in *" --only scale "* | *" --only=scale "*) program=scale.py ;; esac
exec python3 "$here/$program" "$@"
