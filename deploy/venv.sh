#!/bin/sh
# Makes the virtual environment .venv beside the code and installs the packages of the requirement files given,
# each pinned by its hash, and then meterseal itself (editable). Needs Python 3.11 to 3.13; no root.
set -eu
cd "$(dirname "$0")/.."

find_python() {
    for name in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    echo "meterseal needs Python 3.11, 3.12 or 3.13; none was found. On Debian 12: apt install python3 python3-venv" >&2
    exit 1
}

make_venv() {
    python=$(find_python)
    "$python" -m venv .venv >/dev/null 2>&1 && return
    rm -rf .venv
    # Debian splits venv's pip off into python3-venv; where it is missing, pip itself can fill the environment.
    if "$python" -m pip --version >/dev/null 2>&1 && "$python" -m venv --without-pip .venv; then
        "$python" -m pip --python .venv/bin/python install -q pip && return
    fi
    rm -rf .venv
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null && "$python" -m venv .venv && return
    fi
    echo "cannot make a virtual environment. On Debian 12 run as root: apt install python3-venv" >&2
    exit 1
}

[ -x .venv/bin/python ] || make_venv
for requirements in "$@" deploy/requirements-build.txt; do
    .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r "$requirements"
done
.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
