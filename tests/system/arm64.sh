#!/bin/bash
# The arm64 package's contents, imported and at work under emulation: a reading is sealed and verified by an arm64 Python.
#   tests/system/arm64.sh [PACKAGE.deb]       needs qemu-user-static and mmdebstrap; no root rights, nothing is registered or mounted
set -eu
here=$(cd "$(dirname "$0")" && pwd)
for program in qemu-aarch64-static mmdebstrap dpkg-deb; do
    command -v "$program" >/dev/null || { echo "arm64.sh: apt install qemu-user-static mmdebstrap" >&2; exit 1; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
package=${1:-$("$here/../../deploy/deb/build.sh" --architecture arm64 --out "$work" 2>/dev/null)}
mmdebstrap --quiet --variant=extract --architectures=arm64 --mode=unshare --include=python3,libpython3.11-stdlib,ca-certificates,tzdata \
    bookworm "$work/root.tar" 2>/dev/null || mmdebstrap --quiet --variant=extract --architectures=arm64 \
    --include=python3,libpython3.11-stdlib,tzdata bookworm "$work/root.tar"
mkdir "$work/root"
tar -C "$work/root" -xf "$work/root.tar" --exclude='./dev/*' 2>/dev/null || true
dpkg-deb --extract "$package" "$work/package"
echo "$(basename "$package"): $(du -h "$package" | cut -f1)"
# Compiled by this machine's Python of the same version: emulated it takes minutes.
if [ -x /usr/bin/python3.11 ]; then
    /usr/bin/python3.11 -m compileall -q "$work/package/opt/meterseal/lib" "$work/root/usr/lib/python3.11" >/dev/null || true
fi
emulated() {
    qemu-aarch64-static -L "$work/root" -E PYTHONHOME="$work/root/usr" -E PYTHONPATH="$work/package/opt/meterseal/lib/python3.11/site-packages" \
        "$work/root/usr/bin/python3.11" "$@"
}
emulated "$here/smoke.py" --all
