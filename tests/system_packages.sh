#!/bin/sh
# Installs the foreign programs that tests talk to, where that is possible without asking: as root or with a sudo that
# needs no password, on a system with apt. Elsewhere the tests that need them skip and say so.
set -u
packages="fuse3 libfuse3-3 mosquitto mosquitto-clients socat gcc libc6-dev pkg-config libmodbus-dev mbpoll jq openssl postgresql golang-go golang-golang-x-mod-dev chromium fonts-noto-cjk"
missing=""
for package in $packages; do
    dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
done
# The OPC UA server is a node program; Debian's npm is a package of its own, others bring it with nodejs.
for program in node npm; do
    package=$program
    [ "$program" = node ] && package=nodejs
    command -v "$program" >/dev/null 2>&1 || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
become=""
if [ "$(id -u)" != 0 ]; then
    if sudo -n true 2>/dev/null; then become="sudo -n"; else
        echo "not root: tests that need$missing will be skipped" >&2
        exit 0
    fi
fi
command -v apt-get >/dev/null 2>&1 || { echo "no apt: tests that need$missing will be skipped" >&2; exit 0; }
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
$become apt-get update -qq >/dev/null && $become apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 ||
    echo "apt could not install$missing: tests that need them will be skipped" >&2
exit 0
