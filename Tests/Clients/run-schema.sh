#!/bin/bash
# Runs schemathesis of PyPI, in a virtual environment (made once, 100 MB), at all of REST on a server of its own, for a minute at most.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
environment=$(cd "$here/../.." && pwd)/.venv-schema
. "$here/../environment.sh"
install_programs
make_environment "$environment" "$here/requirements-schema.txt"
exec timeout --foreground -k 10 300 "$environment/bin/python" "$here/schema_fuzz.py" "$@"
