#!/bin/bash
# Runs S3 clients of many families against a server of its own: Debian's programs, and PyPI's in a virtual environment (made once).
# Arguments are parts of names of tests: Tests/Clients/run.sh rclone delta
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
environment=$(cd "$here/../.." && pwd)/.venv-clients
wanted=$(sha256sum <"$here/requirements.txt")
stamp=$environment/requirements.sha256

missing=()
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
for program in s3cmd rclone restic s3fs; do command -v $program >/dev/null || missing+=($program); done
if [ ${#missing[@]} -gt 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$environment"
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    echo "$wanted" >"$stamp"  # last, so that an install that was cut off is done again
fi
exec timeout --foreground -k 10 600 "$environment/bin/python" "$here/s3_clients.py" "$@"
