#!/bin/bash
# deploy/install.sh on a real systemd: installed, run, upgraded over a running agent, removed with the data kept, purged.
#   tests/system/script.sh [ROOT.tar]     as root; without a tar file in a copy of this machine, with one on what it holds, such as
#   mmdebstrap --variant=minbase --include=systemd,systemd-sysv,dbus,udev,python3,python3-venv trixie trixie.tar
# The packages come from WHEELS, a folder that `pip download` filled for that Python; the machine has no network of its own.
set -u
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
# shellcheck source=tests/system/machine.sh
. "$here/machine.sh"

[ "$(id -u)" = 0 ] || { echo "script.sh: needs root" >&2; exit 1; }
command -v systemd-nspawn >/dev/null || { echo "script.sh: apt install systemd-container" >&2; exit 1; }
[ -d "${WHEELS:-}" ] || { echo "script.sh: WHEELS=FOLDER is needed; fill it by: pip download --no-deps --require-hashes -d FOLDER -r deploy/requirements-all.txt, and the same with requirements-build.txt" >&2; exit 1; }
shows() { machine_run "$@" 2>&1 | sed 's/^/            /'; }
trap machine_down EXIT
machine_up script "${1:-}" || exit 1
echo "      $(machine_run sh -c '. /etc/os-release; echo "$PRETTY_NAME"'), $(machine_run systemctl --version | head -1), $(machine_run /usr/bin/python3 --version)"
mkdir -p "$MACHINE/root/source"
git -C "$source" ls-files -z --cached --others --exclude-standard | (cd "$source" && xargs -0 tar -c) | tar -x -C "$MACHINE/root/source"
cp -r "$WHEELS" "$MACHINE/root/wheels"
cp "$here/look.py" "$MACHINE/root/"
install_it() { machine_run env -u PIP_FIND_LINKS PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PIP_NO_INDEX=1 PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS=/root/wheels /root/source/deploy/install.sh "$@"; }
tried() {
    local what=$1 out
    shift
    if out=$(install_it "$@" 2>&1); then echo "ok    $what"; else echo "FAIL  $what: $out"; failed=1; fi
    echo "$out" | sed 's/^/            /'
}

tried "install.sh"
[ "$failed" = 0 ] || exit 1
good "without a site file nothing runs, and that is no failure" sh -c '! systemctl is-active -q meterseal && ! systemctl is-failed -q meterseal'
cat >"$MACHINE/root/plant.yaml" <<'PLANT'
listen: {hall: {tcp: "127.0.0.1:5020"}}
meters: [{id: EM-014, on: hall, model: eastron-sdm120, address: "1", serial: "70000001"}]
PLANT
cat >"$MACHINE/etc/meterseal/site.yaml" <<'SITE'
gateway: script/gw1
every: 1s
links: {hall: {tcp: "127.0.0.1:5020"}}
meters:
  - {id: EM-014, link: hall, model: eastron-sdm120, address: 1}
SITE
machine_run systemd-run --quiet --unit=plant -p RuntimeDirectory=plant /opt/meterseal/bin/meterseal simulate /root/plant.yaml --directory /run/plant
good "the key is made, and the agent's account owns it" sh -c '/usr/local/bin/meterseal init --recovery /tmp/recovery.txt >/dev/null && [ "$(stat -c %U:%a /var/lib/meterseal/key.pem)" = meterseal:600 ]'
mkdir -p "$MACHINE/etc/systemd/system/meterseal.service.d"
printf '[Service]\nExecStartPre=\n' >"$MACHINE/etc/systemd/system/meterseal.service.d/proof.conf" # no time server is waited for here
machine_run systemctl daemon-reload
good "systemctl start returns when the agent is READY" systemctl start meterseal
shows systemctl show meterseal -p ActiveState -p StatusText
until_good "a reading is sealed" env PATH=/usr/local/bin:/usr/bin:/usr/sbin /usr/bin/python3 /root/look.py reading EM-014
good "every record states what the clock is worth: $(machine_run /usr/bin/python3 /root/look.py clock)" /usr/bin/python3 /root/look.py clock
for unit in meterseal meterseal-witness meterseal-collect; do shows systemd-analyze security --no-pager "$unit" 2>&1 | tail -1; done
records=$(machine_run /usr/bin/python3 /root/look.py count reading)
sealed=$(machine_run /usr/bin/python3 /root/look.py digest 5)
tried "run again it upgrades"
until_good "the agent runs again and reads on" sh -c "systemctl is-active -q meterseal && [ \$(/usr/bin/python3 /root/look.py count reading) -gt $records ]"
[ "$(machine_run /usr/bin/python3 /root/look.py digest 5)" = "$sealed" ] && echo "ok    the first records are as they were" || { echo "FAIL  records changed"; failed=1; }
good "the chain verifies" /usr/local/bin/meterseal verify --state /var/lib/meterseal --site /etc/meterseal/site.yaml
tried "removed" --remove
good "ledger, key and site file stay; program, units and rules are gone" sh -c '[ -s /var/lib/meterseal/ledger.sqlite ] && [ -e /var/lib/meterseal/key.pem ] && [ -e /etc/meterseal/site.yaml ] && [ ! -e /opt/meterseal ] && ! ls /etc/systemd/system /etc/udev/rules.d /etc/modules-load.d | grep -E "meterseal.*(service|slice|rules|conf)$" && ! systemctl is-active -q meterseal'
tried "installed again, it goes on with ledger and key"
until_good "the agent runs" systemctl is-active -q meterseal
tried "purged" --purge
good "nothing stays" sh -c '[ ! -e /var/lib/meterseal ] && [ ! -e /etc/meterseal ] && ! getent passwd meterseal'
[ "$failed" = 0 ] && echo "all proven" || echo "NOT all proven"
exit "$failed"
