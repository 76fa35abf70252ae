#!/bin/bash
# Runs the tests of the ports on engines: real servers of PyPI, and doubles of those that cannot be had, which the clients of
# their own makers check first. Arguments go to `swift test`, such as --filter S3EngineTests.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
. "$here/../environment.sh"
install_programs
make_environment "$root/.venv-engines" "$here/requirements.txt"
make_environment "$root/.venv-ministack" "$here/requirements-ministack.txt"
cd "$here"
for double in test_blob_double test_cosmos_double; do
    timeout --foreground -k 10 120 "$root/.venv-engines/bin/python" -W ignore::ResourceWarning -m unittest -q "$double"
done
cd "$root"
[ $# -gt 0 ] || set -- --filter EngineTests
exec timeout --foreground -k 10 900 python3 "$here/engines.py" -- \
    env ASAN_OPTIONS=detect_leaks=0 swift test ${TEST_OPTIONS---sanitize address --scratch-path .build-asan --skip-build} "$@"
