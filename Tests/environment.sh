# Sourced by run.sh of the tests that bring clients along.

# Installs Debian's packages whose programs are not there; PACKAGE:PROGRAM where the two have other names.
install_programs() {
    local missing=() program
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    for program in "$@"; do command -v "${program#*:}" >/dev/null || missing+=("${program%%:*}"); done
    [ ${#missing[@]} -gt 0 ] || return 0
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# make_environment FOLDER REQUIREMENTS: a virtual environment with these packages of PyPI, made anew when they change.
make_environment() {
    local wanted stamp=$1/requirements.sha256
    wanted=$(sha256sum <"$2")
    [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || return 0
    rm -rf "$1"
    python3 -m venv "$1"
    "$1/bin/pip" install --quiet --disable-pip-version-check -r "$2"
    echo "$wanted" >"$stamp"  # last, so that an install that was cut off is done again
}
