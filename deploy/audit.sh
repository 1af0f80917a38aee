#!/bin/sh
# Asks for known weaknesses of the locked packages. Where no database can be reached it says so and ends well: the gate must not
# depend on somebody else's server. Ends with 1 only when a weakness was found and AUDIT=strict.
#   AUDIT_OPTIONS=: more words for pip-audit, such as another database:  -s osv --osv-url URL
set -u
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-$here/../.venv/bin/python}
if ! "$python" -m pip_audit --version >/dev/null 2>&1; then
    echo "audit: $python has no pip-audit (it stands in tests/requirements.txt): NOT audited"
    exit 0
fi
# shellcheck disable=SC2086
told=$(timeout 180 "$python" -m pip_audit --disable-pip --require-hashes --no-deps --progress-spinner off ${AUDIT_OPTIONS:-} \
    -r "$here/requirements-all.txt" 2>&1)
skipped=$(printf '%s\n' "$told" | grep -c 'could not be audited')
# What is for another Python is left out: so many packages are asked for.
locked=$("$python" - "$here/requirements-all.txt" <<'COUNT'
import sys

from packaging.requirements import Requirement

lines = [line.split(" \\")[0] for line in open(sys.argv[1], encoding="utf-8") if "==" in line]
print(sum(not each.marker or each.marker.evaluate() for each in map(Requirement, lines)))
COUNT
)
case $told in
*"Found "*" known vulnerabilit"*)
    echo "$told"
    echo "audit: known weaknesses, see above; $skipped of $locked packages are not in the database"
    [ "${AUDIT:-}" = strict ] && exit 1
    ;;
*"No known vulnerabilities"*)
    if [ "$skipped" = "$locked" ]; then
        echo "audit: the database that can be reached here knows none of the $locked packages: NOT audited"
    else
        echo "audit: no known weakness; $skipped of $locked packages are not in the database"
    fi
    ;;
*)
    echo "audit: no database of weaknesses can be reached here: NOT audited"
    printf '%s\n' "$told" | grep . | tail -1
    ;;
esac
exit 0
