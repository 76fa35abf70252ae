#!/bin/bash
# Runs S3 clients of many families, and lakeFS's for Python, against a server of its own: Debian's programs, and PyPI's in a virtual
# environment (made once).
# Arguments are parts of names of tests: Tests/Clients/run.sh rclone delta
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
environment=$(cd "$here/../.." && pwd)/.venv-clients
. "$here/../environment.sh"
install_programs s3cmd rclone restic s3fs
make_environment "$environment" "$here/requirements.txt"
exec timeout --foreground -k 10 600 "$environment/bin/python" "$here/all_clients.py" "$@"
