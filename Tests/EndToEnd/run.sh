#!/bin/bash
# Runs the end-to-end test in a virtual environment of its own (made once). Arguments go to the test:
#   Tests/EndToEnd/run.sh [--failfast] [-k TEXT] [TestClass[.test_name] ...]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
environment=$(cd "$here/../.." && pwd)/.venv-e2e
. "$here/../environment.sh"
install_programs curl git strace
command -v promtool >/dev/null || install_programs prometheus  # whose program of that name is not needed
make_environment "$environment" "$here/requirements.txt"
# A test that hangs in a dead mount can't be reasoned with: after 900 s SIGTERM, then SIGKILL, which takes the server along.
exec timeout --foreground -k 10 900 "$environment/bin/python" "$here/end_to_end.py" "$@"
