#!/bin/bash
# Runs the tests of the ports on engines: real servers of PyPI, and doubles of those that cannot be had, which the clients of
# their own makers check first. Arguments go to `swift test`, such as --filter S3EngineTests.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
. "$here/../environment.sh"
install_programs postgresql-15:/usr/lib/postgresql/15/bin/postgres faketime nginx-light:/usr/sbin/nginx
make_environment "$root/.venv-engines" "$here/requirements.txt"
make_environment "$root/.venv-ministack" "$here/requirements-ministack.txt"
cd "$here"
for double in test_blob_double test_cosmos_double; do
    timeout --foreground -k 10 120 "$root/.venv-engines/bin/python" -W ignore::ResourceWarning -m unittest -q "$double"
done
cd "$root"
if [ $# -eq 0 ]; then
    set -- --filter EngineTests
    for test in moving scale; do
        timeout --foreground -k 10 600 "$root/.venv-engines/bin/python" -W ignore::ResourceWarning "$here/engines.py" -- \
            "$root/.venv-engines/bin/python" -W ignore::ResourceWarning "$here/$test.py"
    done
fi
exec timeout --foreground -k 10 900 python3 "$here/engines.py" -- \
    env ASAN_OPTIONS=detect_leaks=0 swift test ${TEST_OPTIONS---sanitize address --scratch-path .build-asan --skip-build} "$@"
