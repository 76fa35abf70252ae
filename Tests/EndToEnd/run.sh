#!/bin/bash
# Runs the end-to-end test in a virtual environment of its own (made once). Arguments go to the test:
#   Tests/EndToEnd/run.sh [--failfast] [-k TEXT] [TestClass[.test_name] ...]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
environment=$(cd "$here/../.." && pwd)/.venv-e2e
wanted=$(sha256sum <"$here/requirements.txt")
stamp=$environment/requirements.sha256

missing=()
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
for program in curl git strace; do command -v $program >/dev/null || missing+=($program); done
if [ ${#missing[@]} -gt 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$environment"
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    echo "$wanted" >"$stamp"  # last, so that an install that was cut off is done again
fi
# A test that hangs in a dead mount can't be reasoned with: after 900 s SIGTERM, then SIGKILL, which takes the server along.
exec timeout --foreground -k 10 900 "$environment/bin/python" "$here/end_to_end.py" "$@"
