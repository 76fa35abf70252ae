#!/bin/bash
# Runs Apache Airflow with PyPI's airflow-provider-lakefs against a server of its own, in a virtual environment (made once, 300 MB).
# Arguments are parts of names of tests: Tests/Clients/run-airflow.sh hook
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
environment=$(cd "$here/../.." && pwd)/.venv-airflow
. "$here/../environment.sh"
install_programs
make_environment "$environment" "$here/requirements-airflow.txt"
exec timeout --foreground -k 10 600 "$environment/bin/python" "$here/lakefs_airflow.py" "$@"
