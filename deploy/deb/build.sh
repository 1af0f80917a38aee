#!/bin/sh
# Builds the Debian package, for this Debian's Python and any of the two architectures; the same input gives the same bytes.
#   deploy/deb/build.sh [--architecture amd64|arm64] [--python 3.11] [--version 0.1.0] [--out dist] [--compression xz]
# Needs: dpkg-deb, and a Python with pip and hatchling (PYTHON=; else .venv/bin/python). Debian 12 has Python 3.11, Debian 13 3.13.
set -eu
umask 022
source=$(cd "$(dirname "$0")/../.." && pwd)
architecture=$(dpkg --print-architecture)
python_version=3.11
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$source/pyproject.toml")
out=$source/dist
compression=xz # none is three times as large and made at once
while [ $# -gt 0 ]; do
    case $1 in
    --architecture) architecture=$2 ;;
    --python) python_version=$2 ;;
    --version) version=$2 ;;
    --out) out=$2 ;;
    --compression) compression=$2 ;;
    *) echo "build.sh: $1 is not known" >&2; exit 1 ;;
    esac
    shift 2
done
PYTHON=${PYTHON:-$source/.venv/bin/python}
# The day of the newest change, so that two builds of the same source are the same.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$source" log -1 --format=%ct)}
export PYTHON SOURCE_DATE_EPOCH

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
"$source/deploy/opt.sh" "$root/opt/meterseal" "$architecture" "$python_version"

install -D -m 755 "$source/deploy/program.sh" "$root/usr/bin/meterseal"
for unit in meterseal meterseal-witness meterseal-collect meterseal-first-boot; do
    install -D -m 644 "$source/deploy/systemd/$unit.service" "$root/usr/lib/systemd/system/$unit.service"
done
install -D -m 644 "$source/deploy/systemd/system-meterseal.slice" "$root/usr/lib/systemd/system/system-meterseal.slice"
install -D -m 644 "$source/deploy/systemd/sysusers.conf" "$root/usr/lib/sysusers.d/meterseal.conf"
install -D -m 644 "$source/deploy/systemd/modules-load.conf" "$root/usr/lib/modules-load.d/meterseal.conf"
for rules in 60-meterseal 70-meterseal-stick; do
    install -D -m 644 "$source/deploy/systemd/$rules.rules" "$root/usr/lib/udev/rules.d/$rules.rules"
done
install -D -m 644 "$source/LICENSE" "$root/usr/share/doc/meterseal/copyright"
for page in "$source"/docs/*.md; do install -D -m 644 "$page" "$root/usr/share/doc/meterseal/$(basename "$page")"; done
install -D -m 644 "$source/config/site.example.yaml" "$root/usr/share/doc/meterseal/site.example.yaml"

mkdir -p "$root/DEBIAN"
ledger=$("$PYTHON" "$source/deploy/ledger_format.py")
for script in preinst postinst prerm postrm; do
    sed "s/@LEDGER_FORMAT@/$ledger/; s/@PYTHON@/$python_version/" "$source/deploy/deb/$script" >"$root/DEBIAN/$script"
    chmod 755 "$root/DEBIAN/$script"
done
next_minor=${python_version%.*}.$((${python_version#*.} + 1))
cat >"$root/DEBIAN/control" <<CONTROL
Package: meterseal
Version: $version
Architecture: $architecture
Maintainer: meterseal maintainers <maintainers@meterseal.example>
Depends: python3 (>= $python_version), python3 (<< $next_minor), libc6 (>= 2.34), util-linux, systemd
Recommends: chrony | systemd-timesyncd | time-daemon
Section: net
Priority: optional
Installed-Size: $(du -sk --apparent-size --exclude=DEBIAN "$root" | cut -f1)
Homepage: file:///usr/share/doc/meterseal/install.md
Description: Reads energy and water meters and seals every reading
 Reads meters, seals every reading with the bytes it came from, keeps it on
 the gateway, and delivers it over MQTT. It only reads meters.
CONTROL
(cd "$root" && find opt usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum >DEBIAN/md5sums)
find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
mkdir -p "$out"
package=$out/meterseal_${version}_$architecture.deb
dpkg-deb --root-owner-group -Z"$compression" --build "$root" "$package" >/dev/null
echo "$package"
