#!/bin/bash
# The Dockerfile, built and run unchanged on a machine without docker and without a registry: the base image is made from Debian packages
# and a Python of this machine. As root; needs buildah, podman, crun, mmdebstrap.   PYTHON_ROOT=: a Python 3.13 made for /usr/local
set -eu
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
[ "$(id -u)" = 0 ] || { echo "container.sh: needs root" >&2; exit 1; }
for program in buildah podman crun mmdebstrap; do
    command -v $program >/dev/null || { echo "container.sh: apt install buildah podman crun mmdebstrap" >&2; exit 1; }
done
python_root=${PYTHON_ROOT:-$(dirname "$(dirname "$(readlink -f "$(command -v python3.13 || true)")")")}
[ -x "$python_root/bin/python3.13" ] || { echo "container.sh: PYTHON_ROOT= names no Python 3.13" >&2; exit 1; }
place=$(mktemp -d /var/tmp/meterseal-container.XXXXXX)
store="--root $place/store --runroot $place/run --storage-driver vfs"
clear() { rm -rf "$place" 2>/dev/null || { umount -R "$place"/store/* 2>/dev/null; rm -rf "$place"; }; }
trap clear EXIT

# --- the base: what `FROM python:3.13-slim` names ------------------------------------------------------------------
mmdebstrap --quiet --variant=minbase --include=ca-certificates,libssl3,libsqlite3-0,libffi8,zlib1g,libbz2-1.0,liblzma5,libreadline8,libncursesw6,libuuid1,libexpat1,libgdbm6 \
    bookworm "$place/base.tar"
base=$(buildah $store from scratch)
buildah $store add -q "$base" "$place/base.tar" / >/dev/null
buildah $store copy -q "$base" "$python_root" /usr/local >/dev/null
buildah $store run --isolation chroot "$base" -- ldconfig
buildah $store run --isolation chroot "$base" -- sh -c 'ln -sf python3.13 /usr/local/bin/python; ln -sf python3.13 /usr/local/bin/python3; cp -f /etc/resolv.conf /tmp/x 2>/dev/null; true'
buildah $store config --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin "$base"
buildah $store commit -q "$base" docker.io/library/python:3.13-slim >/dev/null
buildah $store rm "$base" >/dev/null
rm "$place/base.tar"
echo "base: $(buildah $store images --format '{{.Name}}:{{.Tag}} {{.Size}}' | head -1)"

# --- built ---------------------------------------------------------------------------------------------------------
# A registry of packages that this machine is set up with is this machine's affair: it is passed in, not written anywhere.
buildah $store bud --quiet --format docker --isolation chroot --pull-never ${BUILD_OPTIONS:-} -t meterseal -f "$source/Dockerfile" "$source" >/dev/null 2>"$place/told" || { cat "$place/told"; exit 1; }
echo "built: $(buildah $store images --format '{{.Name}}:{{.Tag}} {{.Size}}' | grep meterseal)"

# --- run: nothing writable but the volume, no capability, an account of its own ------------------------------------
run() {
    unshare --mount --propagation private bash -c "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec podman $store --cgroup-manager cgroupfs \
        run --rm --no-healthcheck --cgroups=disabled --network=none --ulimit nofile=1024:2048 --ulimit nproc=4096:4096 --read-only --cap-drop=all \"\$@\"" _ "$@"
}
mkdir "$place/volume" && chown 10001 "$place/volume"
printf 'gateway: box/gw1\nevery: 1s\nlinks: {hall: {tcp: "127.0.0.1:5020"}}\nmeters: [{id: EM-1, link: hall, model: eastron-sdm120, address: 1}]\n' >"$place/site.yaml"
mounts="-v $place/site.yaml:/etc/meterseal/site.yaml:ro -v $place/volume:/var/lib/meterseal"
run meterseal --version
run --entrypoint id meterseal -u
run $mounts --tmpfs /tmp meterseal init --recovery /tmp/sheet.txt >/dev/null 2>&1
run --entrypoint sh meterseal -c 'touch /opt/meterseal/x 2>/dev/null && echo "the root is WRITABLE" && exit 1 || echo "the root is read-only"'
# In one container: the agent, and its health check as the image's HEALTHCHECK calls it.
run $mounts --tmpfs /tmp --entrypoint sh meterseal -c 'meterseal run 2>/dev/null & for turn in $(seq 60); do sleep 1; meterseal status --health >/tmp/told; grep -q ^line_down /tmp/told && break; done; cat /tmp/told; kill %1; wait'
run $mounts meterseal verify | tail -3
