#!/bin/bash
# Runs systems that vouch for users against servers of our own: nanoidp and oidc-provider-mock of PyPI, in a virtual environment (made
# once, 150 MB), Debian's slapd, and stand-ins for a remote authenticator and for AWS.
# Arguments are parts of names of tests: Tests/Clients/run-identity.sh ldap
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
environment=$(cd "$here/../.." && pwd)/.venv-identity
. "$here/../environment.sh"
PATH=$PATH:/usr/sbin
command -v ldapadd >/dev/null || install_programs ldap-utils
install_programs slapd
make_environment "$environment" "$here/requirements-identity.txt"
exec timeout --foreground -k 10 600 "$environment/bin/python" "$here/identity.py" "$@"
