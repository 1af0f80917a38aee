#!/bin/sh
# Installs meterseal from a checkout on any Linux with systemd and Python 3.11 to 3.13. As root. What it does:
#   /opt/meterseal       the program in an environment of its own, every package pinned by its hash
#   account meterseal    in the group dialout; /var/lib/meterseal is its own
#   units, udev rule     as in the Debian package
# Run again it upgrades. `--remove` takes the program away and keeps ledger, keys and site file; `--purge` deletes them too.
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
[ "$(id -u)" = 0 ] || { echo "install.sh: run it as root" >&2; exit 1; }
root=${DESTDIR:-}
units="meterseal meterseal-witness meterseal-collect meterseal-first-boot"

if [ "${1:-}" = --remove ] || [ "${1:-}" = --purge ]; then
    for unit in $units; do
        [ -n "$root" ] || systemctl disable --quiet --now "$unit.service" 2>/dev/null || true
        rm -f "$root/etc/systemd/system/$unit.service"
    done
    rm -rf "$root/opt/meterseal"
    rm -f "$root/usr/local/bin/meterseal" "$root/etc/systemd/system/system-meterseal.slice" "$root/etc/modules-load.d/meterseal.conf" \
        "$root/etc/udev/rules.d/60-meterseal.rules" "$root/etc/udev/rules.d/70-meterseal-stick.rules"
    [ -n "$root" ] || systemctl daemon-reload
    if [ "$1" = --purge ]; then
        for folder in var/lib/meterseal var/lib/meterseal-witness var/lib/meterseal-collect etc/meterseal; do rm -rf "$root/${folder:?}"; done
        [ -n "$root" ] || userdel meterseal 2>/dev/null || true
        echo "Removed, with ledger, keys and site file."
    else
        echo "Removed. Ledger and keys stay in /var/lib/meterseal, site.yaml in /etc/meterseal; --purge deletes them for ever."
    fi
    exit 0
fi
[ $# = 0 ] || { echo "install.sh: $1 is not known; there are --remove and --purge" >&2; exit 1; }

python=""
for name in "${PYTHON:-python3}" /usr/bin/python3 python3.13 python3.12 python3.11; do
    # The service does not see home directories: an interpreter that lies there is of no use to it.
    if command -v "$name" >/dev/null 2>&1 && "$name" -c '
import os, sys
at_home = os.path.realpath(sys.executable).startswith(("/root/", "/home/"))
sys.exit(at_home or not (3, 11) <= sys.version_info[:2] < (3, 14))'; then
        python=$(command -v "$name")
        break
    fi
done
[ -n "$python" ] || { echo "install.sh: needs Python 3.11, 3.12 or 3.13 outside of home directories; none was found" >&2; exit 1; }
"$python" -c 'import ensurepip, venv' 2>/dev/null || { echo "install.sh: $python cannot make environments. On Debian: apt install python3-venv" >&2; exit 1; }

# A ledger of a newer meterseal is not touched: the same look as in the package (bytes 60 to 63 hold its format).
known=$("$python" "$source/deploy/ledger_format.py")
ledger=$root/var/lib/meterseal/ledger.sqlite
if [ -s "$ledger" ]; then
    written=$(od -An -tu1 -j60 -N4 "$ledger" | awk '{ print (($1 * 256 + $2) * 256 + $3) * 256 + $4 }')
    if [ "$written" -gt "$known" ]; then
        echo "install.sh: the ledger was written by a newer meterseal (format $written; this one knows $known). Nothing was changed." >&2
        exit 1
    fi
fi

new=$root/opt/meterseal.new
rm -rf "$new"
mkdir -p "$root/opt"
"$python" -m venv "$new"
for requirements in requirements-all requirements-build; do
    "$new/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$source/deploy/$requirements.txt"
done
"$new/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation "$source"
mkdir -p "$new/share"
cp "$source/deploy/first_boot.sh" "$new/share/"
# Programs of an environment name its folder in their first line.
grep -lrI "^#!$new/" "$new/bin" | while read -r program; do sed -i "1s|$new|/opt/meterseal|" "$program"; done

if [ -z "$root" ]; then
    getent passwd meterseal >/dev/null ||
        useradd --system --user-group --home-dir /var/lib/meterseal --shell /usr/sbin/nologin meterseal
    getent group dialout >/dev/null || groupadd --system dialout
    usermod --append --groups dialout meterseal
    install -d -m 700 -o meterseal -g meterseal /var/lib/meterseal
    systemctl stop meterseal.service 2>/dev/null || true
fi
rm -rf "$root/opt/meterseal"
mv "$new" "$root/opt/meterseal"
install -d -m 755 "$root/etc/meterseal"
install -D -m 755 "$source/deploy/program.sh" "$root/usr/local/bin/meterseal"
for unit in $units; do install -D -m 644 "$source/deploy/systemd/$unit.service" "$root/etc/systemd/system/$unit.service"; done
install -D -m 644 "$source/deploy/systemd/system-meterseal.slice" "$root/etc/systemd/system/system-meterseal.slice"
for rules in 60-meterseal 70-meterseal-stick; do
    install -D -m 644 "$source/deploy/systemd/$rules.rules" "$root/etc/udev/rules.d/$rules.rules"
done
install -D -m 644 "$source/deploy/systemd/modules-load.conf" "$root/etc/modules-load.d/meterseal.conf"
if [ -z "$root" ]; then
    systemctl daemon-reload
    udevadm control --reload 2>/dev/null || true
    systemctl enable --quiet meterseal.service meterseal-first-boot.service
    systemctl try-restart meterseal-witness.service meterseal-collect.service
    [ ! -e /etc/meterseal/site.yaml ] || systemctl start meterseal.service
fi
[ -e "$root/etc/meterseal/site.yaml" ] || echo "Installed. Now write /etc/meterseal/site.yaml (docs/install.md), then: systemctl start meterseal"
