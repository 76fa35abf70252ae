#!/bin/bash
# Runs hooks whose scripts call clouds: S3 and Glue of PyPI's moto, Delta tables, and doubles of Azure, Google and Databricks whose
# signatures their own libraries check. In a virtual environment (made once).
# Arguments are parts of names of tests: Tests/Clients/run-hooks.sh glue
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
environment=$(cd "$here/../.." && pwd)/.venv-hooks
. "$here/../environment.sh"
install_programs
make_environment "$environment" "$here/requirements-hooks.txt"
exec timeout --foreground -k 10 300 "$environment/bin/python" "$here/hook_clouds.py" "$@"
