#!/bin/sh
# Asks for known weaknesses of the locked packages. Where no database can be reached it says so and ends well: the gate must not
# depend on somebody else's server. Ends with 1 only when a weakness was found and AUDIT=strict.
set -u
here=$(cd "$(dirname "$0")" && pwd)
audit="${PYTHON:-$here/../.venv/bin/python} -m pip_audit"
if ! $audit --version >/dev/null 2>&1; then
    tools=$(mktemp -d)
    trap 'rm -rf "$tools"' EXIT
    "${PYTHON:-$here/../.venv/bin/python}" -m venv "$tools" && timeout 30 "$tools/bin/pip" install --quiet --disable-pip-version-check pip-audit 2>/dev/null || {
        echo "audit: pip-audit cannot be installed here: NOT audited"
        exit 0
    }
    audit="$tools/bin/pip-audit"
fi
told=$(timeout 30 $audit --disable-pip --require-hashes --no-deps --progress-spinner off -r "$here/requirements-all.txt" 2>&1)
code=$?
skipped=$(printf '%s\n' "$told" | grep -c 'could not be audited')
locked=$(grep -c '==' "$here/requirements-all.txt")
if [ "$skipped" = "$locked" ]; then
    echo "audit: the database that can be reached here knows none of the $locked packages: NOT audited"
    exit 0
fi
case $told in
*"No known vulnerabilities"*) echo "audit: no known weakness; $skipped of $locked packages are not in the database" ;;
*"Found "*)
    echo "$told"
    [ "${AUDIT:-}" = strict ] && exit "$code"
    ;;
*) echo "audit: no database of weaknesses can be reached here: NOT audited" ;;
esac
exit 0
