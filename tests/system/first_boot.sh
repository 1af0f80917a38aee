#!/bin/bash
# A gateway that nobody logs in to, on a real systemd: a stick with the label METERSEAL and a site file, and what comes of it.
#   tests/system/first_boot.sh [NEW.deb]     as root; builds it where it is not given. Half a minute without building.
# The stick is an image on a loop device: FAT where kernel and mkfs.vfat (dosfstools) have it, else ext4. udev does not run in the
# machine, so that the name under /dev/disk/by-label is made by hand.
set -u
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
# shellcheck source=tests/system/machine.sh
. "$here/machine.sh"

[ "$(id -u)" = 0 ] || { echo "first_boot.sh: needs root" >&2; exit 1; }
command -v systemd-nspawn >/dev/null || { echo "first_boot.sh: apt install systemd-container" >&2; exit 1; }
shows() { machine_run "$@" 2>/dev/null | sed 's/^/            /'; }

place=$(mktemp -d)
loop=""
end() {
    machine_down
    [ -z "$loop" ] || losetup -d "$loop"
    umount "$place/stick" 2>/dev/null
    rm -rf "$place"
}
trap end EXIT
new=${1:-$("$source/deploy/deb/build.sh" --compression none --out "$place" 2>/dev/null)}
[ -f "$new" ] || { echo "first_boot.sh: the package was not built" >&2; exit 1; }

mkdir "$place/stick"
truncate -s 16M "$place/image"
if grep -qw vfat /proc/filesystems && command -v mkfs.vfat >/dev/null; then
    mkfs.vfat -n METERSEAL "$place/image" >/dev/null
else
    mkfs.ext4 -q -L METERSEAL "$place/image"
fi
loop=$(losetup --find --show "$place/image")
echo "      the stick: $(blkid -o export "$loop" | grep -E "^(TYPE|LABEL)" | tr '\n' ' ')"
# Puts the stick into this machine, has a command work on it in its folder, takes it out.
on_stick() { mount "$loop" "$place/stick" && (cd "$place/stick" && sh -c "$1"); local code=$?; umount "$place/stick"; return "$code"; }
on_stick 'mkdir -p meterseal && cat >meterseal/site.yaml' <<'SITE'
gateway: plant-7/gw1
every: 1s
links: {hall: {tcp: "127.0.0.1:5020"}}
meters:
  - {id: EM-014, link: hall, model: no-such-meter, address: 1}
SITE

# --- installed from the image of a card: the key is not on it, a site file neither ----------------------------------------------
machine_up first || exit 1
cp "$new" "$MACHINE/root/new.deb"
good "the package is installed" dpkg -i /root/new.deb
[ "$failed" = 0 ] || exit 1
cat >"$MACHINE/root/plant.yaml" <<'PLANT'
listen: {hall: {tcp: "127.0.0.1:5020"}}
meters: [{id: EM-014, on: hall, model: eastron-sdm120, address: "1", serial: "70000001"}]
PLANT
# What udev does where it runs; on each boot, before anything else.
cat >"$MACHINE/etc/systemd/system/stick.service" <<UNIT
[Unit]
DefaultDependencies=no
Before=local-fs.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'mkdir -p /dev/disk/by-label; mknod /dev/stick b $((0x$(stat -c %t "$loop"))) $((0x$(stat -c %T "$loop"))); ln -sf /dev/stick /dev/disk/by-label/METERSEAL'
[Install]
WantedBy=sysinit.target
UNIT
mkdir -p "$MACHINE/etc/systemd/system/meterseal.service.d"
printf '[Service]\nExecStartPre=\n' >"$MACHINE/etc/systemd/system/meterseal.service.d/proof.conf" # no time server is waited for here
machine_run systemctl enable --quiet stick
boot() { machine_off; machine_boot || exit 1; }

# --- a site file with a mistake ---------------------------------------------------------------------------------
boot
until_good "a site file with a mistake is refused" sh -c 'systemctl is-failed -q meterseal-first-boot'
shows journalctl -b -u meterseal-first-boot -o cat --no-pager _TRANSPORT=stdout
good "nothing was taken over: no site file, no key, no agent" sh -c '[ ! -e /etc/meterseal/site.yaml ] && [ ! -e /var/lib/meterseal/key.pem ] && ! systemctl is-active -q meterseal'
if on_stick 'grep no-such-meter meterseal/mistakes.txt && ! ls meterseal | grep -vE "^(site.yaml|mistakes.txt)$"'; then
    echo "ok    mistakes.txt on the stick says which"
else
    echo "FAIL  mistakes.txt"; failed=1
fi

# --- put right -------------------------------------------------------------------------------------------------------
on_stick 'sed -i s/no-such-meter/eastron-sdm120/ meterseal/site.yaml; mkdir meterseal/models; echo "for the broker" >meterseal/ca.crt'
boot
machine_run systemd-run --quiet --unit=plant -p RuntimeDirectory=plant /opt/meterseal/bin/meterseal simulate /root/plant.yaml --directory /run/plant
until_good "with the mistake put right the agent comes up at the next boot, nobody logged in" systemctl is-active -q meterseal
shows journalctl -b -u meterseal-first-boot -o cat --no-pager _TRANSPORT=stdout
good "with the stick's configuration and what lay beside it" sh -c 'grep -q plant-7/gw1 /etc/meterseal/site.yaml && [ -s /etc/meterseal/ca.crt ] && [ "$(stat -c %U:%G:%a /etc/meterseal/site.yaml)" = root:meterseal:640 ] && [ ! -e /etc/meterseal/mistakes.txt ]'
good "and a key of its own" sh -c '[ "$(stat -c %U:%a /var/lib/meterseal/key.pem)" = meterseal:600 ] && [ ! -e /var/lib/meterseal/first_boot.unfinished ]'
cp "$here/look.py" "$MACHINE/root/"
until_good "a reading is sealed" /usr/bin/python3 /root/look.py reading EM-014
good "the chain verifies" meterseal verify --state /var/lib/meterseal --site /etc/meterseal/site.yaml
on_stick 'ls meterseal' | sed 's/^/            /'
if on_stick '[ -s meterseal/recovery.txt ] && [ -s meterseal/enrolment.html ] && grep -q plant-7/gw1 meterseal/enrolment.txt && [ ! -e meterseal/mistakes.txt ]'; then
    echo "ok    enrolment form and recovery sheet lie on the stick"
else
    echo "FAIL  forms on the stick"; failed=1
fi
good "and nowhere on the gateway does the recovery code" sh -c '! ls /run/meterseal-sheet* /run/meterseal-first* /run/meterseal-stick* 2>/dev/null'

# --- once ------------------------------------------------------------------------------------------------------------
seen() { machine_run sh -c 'sha256sum /var/lib/meterseal/key.pem /etc/meterseal/site.yaml'; }
before=$(seen)
on_stick 'sed -i s/plant-7/plant-8/ meterseal/site.yaml; rm meterseal/recovery.txt meterseal/enrolment.*'
boot
until_good "at the next boot the agent comes up again" systemctl is-active -q meterseal
[ "$(seen)" = "$before" ] && echo "ok    key and site file are as they were, whatever the stick has now" || { echo "FAIL  changed"; failed=1; }
on_stick '[ "$(ls meterseal | grep -c -E "recovery|enrolment")" = 0 ]' && echo "ok    and nothing new is on the stick" || { echo "FAIL  the stick was written"; failed=1; }

# --- the site file is taken away: the next one finds the key that is there -----------------------------------------------------
machine_run systemctl stop meterseal
machine_run rm /etc/meterseal/site.yaml
on_stick 'sed -i s/plant-8/plant-7/ meterseal/site.yaml; echo secret >meterseal/recovery.txt'
boot
until_good "with the site file gone the stick's is taken, and the agent goes on with its old key" systemctl is-active -q meterseal
[ "$(seen)" = "$before" ] && echo "ok    key and site file are as before" || { echo "FAIL  another key"; failed=1; }

good "the recovery sheet that lay on the stick did not come along" sh -c '[ -s /etc/meterseal/ca.crt ] && ! ls /etc/meterseal | grep -E "recovery|enrolment"'

# --- the power goes in the middle of it ----------------------------------------------------------------------------------------
machine_run sh -c 'systemctl stop meterseal; rm -rf /etc/meterseal/* /var/lib/meterseal/*; touch /var/lib/meterseal/first_boot.unfinished; rm -f /var/lib/meterseal/.[!.]*; runuser -u meterseal -- touch /var/lib/meterseal/key.pem'
boot
until_good "a first boot that was cut off begins anew: with a key whose sheet lies on the stick" systemctl is-active -q meterseal
good "the half-made key is gone" sh -c '[ -s /var/lib/meterseal/key.pem ] && [ ! -e /var/lib/meterseal/first_boot.unfinished ]'
on_stick 'grep -qv "^secret$" meterseal/recovery.txt' && echo "ok    the sheet is there" || { echo "FAIL  no sheet"; failed=1; }
[ "$failed" = 0 ] && echo "all proven" || echo "NOT all proven"
exit "$failed"
