#!/bin/bash
# The Debian package on a real systemd: installed, started, watched, reloaded, upgraded, killed, stopped, booted again.
#   tests/system/system.sh [PREVIOUS.deb NEW.deb]     as root; builds both where they are not given. A minute without building.
# The previous package is built from the newest change whose ledger was of an older form than today's, or from PREVIOUS=COMMIT.
set -u
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
# shellcheck source=tests/system/machine.sh
. "$here/machine.sh"

[ "$(id -u)" = 0 ] || { echo "system.sh: needs root" >&2; exit 1; }
command -v systemd-nspawn >/dev/null || { echo "system.sh: apt install systemd-container" >&2; exit 1; }
began=$(date +%s%N)
told() { printf '[%5.1f s] %s\n' "$(($(($(date +%s%N) - began)) / 100000000))e-1" "$*"; }
shows() { machine_run "$@" 2>/dev/null | sed 's/^/            /'; }
property() { machine_run systemctl show meterseal -p "$1" --value; }
verifies() {
    good "the chain verifies: $1" meterseal verify --state /var/lib/meterseal --site /etc/meterseal/site.yaml
    shows meterseal verify --state /var/lib/meterseal --site /etc/meterseal/site.yaml | grep -iE "records|finding" | head -2
}
look() { machine_run /usr/bin/python3 /root/look.py "$@"; }

# The form of ledger that a change of the source knew.
form_of() {
    local file
    for file in agent/ledger_tables.py agent/ledger_file.py; do git -C "$source" show "$1:$file" 2>/dev/null; done |
        sed -n 's/^FORMAT = \([0-9]*\).*/\1/p' | head -1
}
# The newest change before the ledger got the form it has; nothing where the history does not go back so far.
older_commit() {
    local commit form today=$1 first=""
    for commit in $(git -C "$source" log --format=%H -- agent/ledger_tables.py agent/ledger_file.py 2>/dev/null); do
        form=$(form_of "$commit")
        [ "${form:-$today}" = "$today" ] || { git -C "$source" rev-parse "$first^"; return; }
        first=$commit
    done
}
form=$(python3 "$source/deploy/ledger_format.py") || exit 1
if [ $# = 2 ]; then
    previous=$1 new=$2
else
    built=$(mktemp -d)
    trap 'rm -rf "$built"' EXIT
    commit=${PREVIOUS:-$(older_commit "$form")}
    if [ -n "$commit" ]; then
        mkdir "$built/source"
        git -C "$source" archive "$commit" | tar -x -C "$built/source" || exit 1
        told "the previous package is built from $(git -C "$source" log -1 --format='%h of %cs' "$commit"), ledger format $(form_of "$commit"); the new one knows $form"
        previous=$(PYTHON="$source/.venv/bin/python" SOURCE_DATE_EPOCH=$(git -C "$source" log -1 --format=%ct "$commit") \
            "$built/source/deploy/deb/build.sh" --version 0.0.9 --out "$built" 2>"$built/told") || { cat "$built/told" >&2; exit 1; }
    else
        told "the history here does not go back to an older ledger: the upgrade is between two packages of the same source"
        previous=$("$source/deploy/deb/build.sh" --compression none --version 0.0.9 --out "$built" 2>"$built/told") || { cat "$built/told" >&2; exit 1; }
    fi
    new=$("$source/deploy/deb/build.sh" --compression none --out "$built" 2>"$built/told") || { cat "$built/told" >&2; exit 1; }
    told "built $(du -h "$new" | cut -f1) packages"
fi
known_to() { dpkg-deb --ctrl-tarfile "$1" | tar -xO ./preinst | sed -n 's/^known=//p'; }
old_form=$(known_to "$previous")
[ "$(known_to "$new")" = "$form" ] || { echo "system.sh: the package does not know the ledger's format $form" >&2; exit 1; }

trap 'machine_down; [ -z "${built:-}" ] || rm -rf "$built"' EXIT
machine_up system || exit 1
told "booted: $(machine_run systemctl --version | head -1), state $(machine_run systemctl is-system-running)"
cp "$previous" "$MACHINE/root/previous.deb"
cp "$new" "$MACHINE/root/new.deb"
cp "$here/hold_thread.py" "$here/look.py" "$MACHINE/root/"

# --- the plant: meters on a TCP address of the plant's network and on a serial line, a broker with a name and a password ---------
machine_run ip address add 10.77.0.2/32 dev lo
machine_run ip address add 203.0.113.7/32 dev lo
echo "10.77.0.3 broker.plant" >>"$MACHINE/etc/hosts"
machine_run ip address add 10.77.0.3/32 dev lo
mkdir -p "$MACHINE/root/broker"
printf 'listener 1883 10.77.0.3\nuser root\npassword_file /root/broker/users\nlog_dest stdout\n' >"$MACHINE/root/broker/broker.conf"
: >"$MACHINE/root/broker/users"
machine_run mosquitto_passwd -b /root/broker/users gateway-1 let-me-in 2>/dev/null
machine_run systemd-run --quiet --unit=broker mosquitto -c /root/broker/broker.conf
cat >"$MACHINE/root/plant.yaml" <<'PLANT'
listen: {hall: {tcp: "10.77.0.2:5020"}}
meters:
  - {id: EM-014, on: hall, model: eastron-sdm120, address: "1", serial: "70000001"}
  - {id: EM-015, on: hall, model: eastron-sdm120, address: "2", serial: "70000002"}
PLANT
cat >"$MACHINE/root/line.yaml" <<'LINE'
listen: {line1: {pty: line1}}
meters:
  - {id: EM-020, on: line1, model: eastron-sdm120, address: "5", serial: "70000005"}
LINE
cat >"$MACHINE/root/site.yaml" <<'SITE'
gateway: system/gw1
every: 1s
page: 127.0.0.1:8480
links:
  hall: {tcp: "10.77.0.2:5020"}
  line1: {serial: /run/line/line1, baud: 9600, format: 8N1}
mqtt: [{host: broker.plant, username: gateway-1}]
meters:
  - {id: EM-020, link: line1, model: eastron-sdm120, address: 5}
  - {id: EM-014, link: hall, model: eastron-sdm120, address: 1}
SITE
simulated() {
    machine_run systemd-run --quiet --unit="$1" -p RuntimeDirectory="$2" -p User=meterseal /opt/meterseal/bin/meterseal simulate "$3" --directory "/run/$2"
}

# --- installed, and upgraded while it runs -----------------------------------------------------------------------
good "the previous build is installed" dpkg -i /root/previous.deb
[ "$failed" = 0 ] || exit 1
good "without a site file nothing runs, and that is no failure" sh -c '! systemctl is-active -q meterseal && ! systemctl is-failed -q meterseal'
machine_run cp /root/plant.yaml /root/line.yaml /tmp/
simulated plant plant /tmp/plant.yaml
simulated line line /tmp/line.yaml
cp "$MACHINE/root/site.yaml" "$MACHINE/etc/meterseal/site.yaml"
good "root makes the gateway's key, and the agent's account owns it" sh -c 'meterseal init --recovery /tmp/recovery.txt >/dev/null && [ "$(stat -c %U:%a /var/lib/meterseal/key.pem)" = meterseal:600 ]'
good "the key is bound to this machine as an encrypted credential" sh -c 'mkdir -p -m 700 /etc/credstore.encrypted && systemd-creds setup >/dev/null 2>&1; systemd-creds encrypt --name=meterseal_key /var/lib/meterseal/key.pem /etc/credstore.encrypted/meterseal_key && rm /var/lib/meterseal/key.pem'
# So that the proof takes seconds: what waits a minute waits for ten seconds here, and no time server is waited for. The broker's
# password is a plain credential (LoadCredential=), the key an encrypted one.
mkdir -p "$MACHINE/etc/systemd/system/meterseal.service.d"
printf '[Service]\nWatchdogSec=10\nTimeoutAbortSec=2\nRestartSec=1\nExecStartPre=\nEnvironment=METERSEAL_LOG_LEVEL=debug\nLoadCredential=mqtt_password:/root/broker/password\n' >"$MACHINE/etc/systemd/system/meterseal.service.d/proof.conf"
(umask 077 && printf 'let-me-in' >"$MACHINE/root/broker/password")
machine_run systemctl daemon-reload
good "the previous build runs" systemctl start meterseal
[ "$failed" = 0 ] || { machine_run journalctl -u meterseal --no-pager -n 30; exit 1; }
until_good "it has sealed readings over TCP and over the serial line" /usr/bin/python3 /root/look.py reading EM-014 EM-020
before=$(look form)
records=$(look count reading)
sealed=$(look digest 20)
good "the new build is installed over the running one" dpkg -i /root/new.deb
until_good "the upgraded agent runs" systemctl is-active -q meterseal
until_good "and reads on" sh -c "[ \$(/usr/bin/python3 /root/look.py count reading) -gt $records ] && /usr/bin/python3 /root/look.py reading EM-014 EM-020"
told "      $(machine_run dpkg-query -W meterseal | tr '\t' ' '); ledger format $before, now $(look form); readings $records, now $(look count reading)"
[ "$(look form)" = "$form" ] || { told "FAIL  the ledger is not of format $form"; failed=1; }
[ "$(look digest 20)" = "$sealed" ] && told "ok    the first 20 records are as they were" || { told "FAIL  the first records changed"; failed=1; }
verifies "after the upgrade"

# --- a downgrade -------------------------------------------------------------------------------------------------
machine_run systemctl stop meterseal
stamped() { machine_run /usr/bin/python3 -c "
import sqlite3
database = sqlite3.connect('/var/lib/meterseal/ledger.sqlite', isolation_level=None)
database.execute('PRAGMA user_version = $1'); database.execute('PRAGMA wal_checkpoint(TRUNCATE)')"; }
[ "$old_form" != "$form" ] || stamped 99
good "a package that does not know the ledger's format refuses to go in" sh -c '! dpkg -i /root/previous.deb >/tmp/refused 2>&1 && grep -q "newer meterseal" /tmp/refused && [ "$(dpkg-query -W -f "\${Version}" meterseal)" != 0.0.9 ]'
shows grep "^meterseal:" /tmp/refused
stamped 99
good "a program that does not know it leaves the ledger alone, with a word on what to do" sh -c '! meterseal run >/tmp/told 2>&1; grep -q "Install the newer version" /tmp/told && ! ls /var/lib/meterseal | grep damaged'
shows cat /tmp/told
stamped "$form"

# --- started -----------------------------------------------------------------------------------------------------
good "systemd reads the units without complaint" sh -c 'cd /; ! systemd-analyze verify /usr/lib/systemd/system/meterseal*.service /usr/lib/systemd/system/system-meterseal.slice 2>&1 | grep meterseal'
good "systemctl start returns when the agent is READY" systemctl start meterseal
[ "$failed" = 0 ] || { machine_run journalctl -u meterseal --no-pager -n 30; exit 1; }
shows systemctl show meterseal -p Type -p ActiveState -p StatusText -p NRestarts -p WatchdogUSec -p User
until_good "STATUS tells in words how it is" sh -c 'systemctl show meterseal -p StatusText --value | grep -q "of 2 meters answer"'
good "the credentials are loaded, and the key is not on the disk" sh -c 'p=$(systemctl show meterseal -p MainPID --value); cd /proc/$p/root/run/credentials/meterseal.service && ls meterseal_key mqtt_password && [ ! -e /var/lib/meterseal/key.pem ]'
good "it runs under an account of its own, which belongs to dialout" sh -c 'p=$(systemctl show meterseal -p MainPID --value); [ "$(stat -c %U /proc/$p)" = meterseal ] && grep "^Groups:" /proc/$p/status | grep -qw "$(getent group dialout | cut -d: -f3)"'

# --- the sandbox: what is measured, what must go, what must not ------------------------------------------------------
for unit in meterseal meterseal-witness meterseal-collect; do
    score=$(machine_run systemd-analyze security --no-pager "$unit" | tail -1)
    if echo "$score" | grep -oE '[0-9]+\.[0-9]+' | awk '{ exit !($1 <= 1.5) }'; then told "ok    $unit: ${score#*for }"; else told "FAIL  $unit: $score"; failed=1; fi
done
until_good "in it the meters are read, over TCP by an address of the plant and over the serial line" /usr/bin/python3 /root/look.py reading EM-014 EM-020
good "every record states what the clock is worth: $(look clock)" /usr/bin/python3 /root/look.py clock
until_good "records reach the broker, found by its name, with a password" sh -c 'journalctl -q --no-pager -u meterseal METERSEAL_EVENT=forward.connected | grep -q broker.plant && runuser -u meterseal -- meterseal status | grep -q "broker  *up to record"'
good "the status page is served" sh -c '/usr/bin/python3 -c "import urllib.request; raise SystemExit(b\"EM-014\" not in urllib.request.urlopen(\"http://127.0.0.1:8480/\", timeout=30).read())"'
cat >"$MACHINE/root/inside.sh" <<'INSIDE'
# A command under the agent's own address lists, or among its own mounts.
case $1 in
net) echo $$ >"/sys/fs/cgroup$(systemctl show meterseal -p ControlGroup --value)/cgroup.procs"; shift; exec "$@" ;;
files) shift; exec nsenter -t "$(systemctl show meterseal -p MainPID --value)" -m --wd=/ "$@" ;;
esac
INSIDE
machine_run systemd-run --quiet --unit=internet /usr/bin/python3 -m http.server --bind 0.0.0.0 8099
reach='import socket, sys; socket.create_connection((sys.argv[1], 8099), 2)'
until_good "an address of the plant's network can be reached" bash /root/inside.sh net /usr/bin/python3 -c "$reach" 10.77.0.3
good "one of the Internet cannot" sh -c "! bash /root/inside.sh net /usr/bin/python3 -c '$reach' 203.0.113.7"
mkdir -p "$MACHINE/etc/systemd/system/system-meterseal.slice.d"
printf '[Slice]\nIPAddressAllow=203.0.113.7\n' >"$MACHINE/etc/systemd/system/system-meterseal.slice.d/internet.conf"
machine_run systemctl daemon-reload
until_good "unless system-meterseal.slice names it" bash /root/inside.sh net /usr/bin/python3 -c "$reach" 203.0.113.7
good "what the agent could write it could not run" sh -c 'for folder in /var/lib/meterseal /tmp /var/tmp /dev/shm; do bash /root/inside.sh files sh -c "cp /usr/bin/true $folder/try; $folder/try; [ \$? = 126 ] && rm $folder/try" || exit 1; done'
good "and it can write nothing else" sh -c 'for folder in /etc /usr /opt/meterseal /var/log; do bash /root/inside.sh files sh -c "touch $folder/try" && exit 1; done; true'

# --- the journal ------------------------------------------------------------------------------------------------
machine_run systemctl stop plant
until_good "journalctl METER=EM-014 finds when it fell silent, with its code" sh -c 'journalctl -q --no-pager METER=EM-014 METERSEAL_CODE=MS-202 + METER=EM-014 METERSEAL_CODE=MS-204 | grep -q meter.silent'
shows journalctl -q --no-pager -n 1 -o verbose METER=EM-014 | grep -E "METER=|LINE=|METERSEAL_CODE|MESSAGE_ID|PRIORITY|METERSEAL_CAUSE"
until_good "status --health names it" sh -c 'runuser -u meterseal -- meterseal status --health | grep -qE "^line_(down|silent): "'
shows runuser -u meterseal -- meterseal status --health
simulated plant2 plant /tmp/plant.yaml
until_good "it is back" sh -c 'journalctl -q --no-pager METER=EM-014 METERSEAL_EVENT=meter.back | grep -q .'
good "each poll round is one line at debug" sh -c 'journalctl -q --no-pager LINE=hall METERSEAL_EVENT=poll.round | grep -q read=1'

# --- reload -----------------------------------------------------------------------------------------------------
before=$(property MainPID)
cat >>"$MACHINE/etc/meterseal/site.yaml" <<'SITE'
  - {id: EM-015, link: hall, model: eastron-sdm120, address: 2}
SITE
good "systemctl reload" systemctl reload meterseal
until_good "the new meter is read" sh -c '/usr/bin/python3 /root/look.py reading EM-014 EM-015 EM-020'
[ "$before" = "$(property MainPID)" ] && told "ok    the same process goes on" || { told "FAIL  another process after reload"; failed=1; }

# --- the watchdog -----------------------------------------------------------------------------------------------
machine_run systemd-run --quiet --unit=hold /usr/bin/python3 /root/hold_thread.py "$(property MainPID)"
until_good "a writer that stands still is told" sh -c 'journalctl -q --no-pager METERSEAL_CODE=MS-907 | grep -q writer_stalled'
until_good "systemd ends the agent whose writer stands still, and starts it anew" sh -c '[ "$(systemctl show meterseal -p NRestarts --value)" -ge 1 ] && [ "$(systemctl show meterseal -p ActiveState --value)" = active ]'
shows journalctl -q --no-pager -o cat _SYSTEMD_UNIT=init.scope UNIT=meterseal.service | grep -iE "watchdog" | head -3
verifies "after the watchdog"

# --- kill -9, stop, reboot -----------------------------------------------------------------------------
before=$(property NRestarts)
machine_run systemctl kill -s KILL meterseal
until_good "after kill -9 it is started again" sh -c "[ \"\$(systemctl show meterseal -p NRestarts --value)\" -gt $before ] && systemctl is-active -q meterseal"
verifies "after kill -9"
ended=$(date +%s%N)
good "systemctl stop" systemctl stop meterseal
ended=$((($(date +%s%N) - ended) / 1000000))
[ "$ended" -lt 10000 ] && told "ok    stopped in $ended ms, with $(look count stop) stop record(s)" || { told "FAIL  the stop took $ended ms"; failed=1; }
[ "$(look count stop)" -ge 1 ] || { told "FAIL  no stop record"; failed=1; }
verifies "after the stop"
machine_run systemctl start meterseal
machine_off && told "ok    powered off"
machine_boot || exit 1
until_good "after a reboot it starts by itself" sh -c 'systemctl is-active -q meterseal'
verifies "after the reboot"
machine_cut
machine_boot || exit 1
until_good "after the power was cut it starts by itself" sh -c 'systemctl is-active -q meterseal'
verifies "after the power was cut"

# --- removed ----------------------------------------------------------------------------------------------------
good "removed, ledger and key stay" sh -c 'dpkg -r meterseal >/dev/null && [ -s /var/lib/meterseal/ledger.sqlite ] && [ -e /etc/meterseal/site.yaml ] && [ ! -e /opt/meterseal/bin/meterseal ]'
good "purged, nothing stays" sh -c 'dpkg -P meterseal >/dev/null && [ ! -e /var/lib/meterseal ] && [ ! -e /etc/meterseal ] && ! getent passwd meterseal'
[ "$failed" = 0 ] && told "all proven" || told "NOT all proven"
exit "$failed"
