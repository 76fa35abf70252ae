#!/bin/bash
# Tests the web page in Debian's Chromium, in a virtual environment of its own (made once). Arguments go to the test:
#   Tests/Browser/run.sh [--failfast] [-k TEXT] [TestClass[.test_name] ...]
# Pictures of every page are in .browser-pages/ afterwards, for people to look at.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
environment=$(cd "$here/../.." && pwd)/.venv-browser
. "$here/../environment.sh"
install_programs chromium
make_environment "$environment" "$here/requirements.txt"
"$environment/bin/deno" check --quiet --config "$here/deno.json" "$here"/../../Sources/LakeLocalServer/WebUI/Assets/*.js
"$environment/bin/deno" lint --quiet --config "$here/deno.json" "$here"/../../Sources/LakeLocalServer/WebUI/Assets/*.js
exec timeout --foreground -k 10 900 "$environment/bin/python" "$here/browser.py" "$@"
