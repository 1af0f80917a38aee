#!/bin/bash
# A docker of its own, on a machine without docker and without a registry of images: Debian's dockerd in namespaces that end with this
# script, and stand-ins for the images that Dockerfile and compose.yaml name, made from Debian packages. Runs the scripts named, in a
# copy of what git has of this source, with no network but containers' own.
#   docker.sh SCRIPT...     as root; needs mmdebstrap. The scripts themselves run on any machine with docker.
# What is not shown by a stand-in: the first start of the real postgres and mosquitto images, and Python as python:3.13-slim has it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
[ "$(id -u)" = 0 ] || { echo "docker.sh: needs root" >&2; exit 1; }
command -v mmdebstrap >/dev/null || { echo "docker.sh: apt install mmdebstrap" >&2; exit 1; }
python=${PYTHON:-$source/.venv/bin/python}

# --- inside: the second half of this file, in namespaces of its own, with the machine's root as / ----------------------------------
if [ "${1:-}" = --inside ]; then
    machine=$2
    shift 2
    mount --make-rprivate /
    ip link set lo up
    mount --bind "$machine" "$machine"
    mount -t proc proc "$machine/proc"
    mount -t sysfs -o ro sysfs "$machine/sys"
    mount -t cgroup2 cgroup2 "$machine/sys/fs/cgroup"
    for place in run tmp; do mount -t tmpfs tmpfs "$machine/$place"; done
    mount --rbind /dev "$machine/dev"
    cd "$machine"
    pivot_root . mnt
    exec chroot . /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root bash -euc '
        umount -l /mnt
        dockerd --exec-opt native.cgroupdriver=cgroupfs --ip6tables=false $(cat /dockerd.options) >/run/dockerd.log 2>&1 &
        for turn in $(seq 60); do sleep 0.5; docker info >/dev/null 2>&1 && break; done
        docker info --format "docker {{.ServerVersion}}, {{.Driver}}, cgroup {{.CgroupVersion}}" || { tail -20 /run/dockerd.log; exit 1; }
        for each in /images/*; do
            docker import "$each/root.tar" stand-in >/dev/null
            docker build --quiet -t "$(cat "$each/name")" "$each" >/dev/null
            docker rmi stand-in >/dev/null 2>&1 || true
            rm "$each/root.tar"
        done
        # What a cgroup was made for ends with the namespaces; the cgroup itself does not.
        trap "kill %1; wait; find /sys/fs/cgroup/docker -depth -type d -exec rmdir {} +" EXIT
        cd /source
        for script; do echo "--- $script"; "./$script" || exit 1; done' bash "$@"
fi

place=$(mktemp -d /var/tmp/meterseal-docker.XXXXXX)
trap 'rm -rf --one-file-system "$place"' EXIT
mkdir "$place/machine"

# image NAME PACKAGES: what a stand-in's Dockerfile (from standard input) begins with.
image() {
    local folder=$place/images/${1%:*}
    mkdir -p "$folder"
    cat >"$folder/Dockerfile"
    echo "$1" >"$folder/name"
    mmdebstrap --quiet --variant=minbase --include="$2" trixie "$folder/root.tar" 2>"$folder/told" || { cat "$folder/told"; return 1; }
}

# The Python of Debian 13, and beside it every package that the two lock files name: the build needs no network, and pip still
# compares each with its hash.
image python:3.13-slim python3,python3-venv,ca-certificates <<'DOCKERFILE'
FROM stand-in
RUN ln -s /usr/bin/python3 /usr/local/bin/python && printf '[global]\nno-index = true\nfind-links = /wheels\n' >/etc/pip.conf
COPY wheels /wheels
CMD ["python3"]
DOCKERFILE
platforms=""
for glibc in 17 28 34; do platforms="$platforms --platform manylinux_2_${glibc}_$(uname -m)"; done
# shellcheck disable=SC2086
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: --implementation cp \
    --python-version 3.13 --abi cp313 --abi abi3 --abi none --platform "manylinux2014_$(uname -m)" $platforms --platform any \
    -d "$place/images/python/wheels" -r "$source/deploy/requirements-all.txt" -r "$source/deploy/requirements-build.txt" 2>/dev/null

case "$*" in
*compose.sh*)
    image eclipse-mosquitto:2 mosquitto,mosquitto-clients <<'DOCKERFILE'
FROM stand-in
RUN usermod --uid 1883 mosquitto && groupmod --gid 1883 mosquitto && mkdir -p /mosquitto/config /mosquitto/data /mosquitto/log && \
    chown -R mosquitto:mosquitto /mosquitto
VOLUME ["/mosquitto/data", "/mosquitto/log"]
CMD ["/usr/sbin/mosquitto", "-c", "/mosquitto/config/mosquitto.conf"]
DOCKERFILE

# As the real image does: a first server for the setting up, on its socket only and for some seconds, then the one that stays.
    image postgres:17 postgresql-17 <<'DOCKERFILE'
FROM stand-in
RUN mkdir -p /var/lib/postgresql/data /run/postgresql && chown postgres /var/lib/postgresql/data /run/postgresql && printf '%s\n' '#!/bin/bash' 'set -e' \
    'if [ ! -e "$PGDATA/PG_VERSION" ]; then' \
    '    initdb --username="$POSTGRES_USER" --pwfile=<(echo "$POSTGRES_PASSWORD") --auth-local=trust --auth-host=scram-sha-256 >/dev/null' \
    '    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"' \
    '    pg_ctl -w -o "-c listen_addresses=" start >/dev/null' \
    '    createdb -U "$POSTGRES_USER" "$POSTGRES_DB"; sleep 8; pg_ctl -w -m fast stop >/dev/null' \
    'fi' 'exec postgres -c listen_addresses="*"' >/start && chmod 755 /start
ENV PGDATA=/var/lib/postgresql/data PATH=/usr/lib/postgresql/17/bin:/usr/bin:/bin
USER postgres
VOLUME /var/lib/postgresql/data
ENTRYPOINT ["/start"]
DOCKERFILE
    ;;
esac

mmdebstrap --quiet --variant=minbase --include=docker.io,docker-cli,docker-buildx,docker-compose,iptables,openssl,procps,python3 trixie "$place/root.tar" \
    2>"$place/told" || { cat "$place/told"; exit 1; }
tar -C "$place/machine" --exclude='./dev/*' -xf "$place/root.tar"
rm "$place/root.tar"
mv "$place/images" "$place/machine/images"
mkdir "$place/machine/source"
git -C "$source" ls-files -z | tar -C "$source" --null -T - -c | tar -C "$place/machine/source" -x
# Where nothing keeps the machine's clock no agent on it is healthy. So that health can be seen to come and go, containers may then
# not ask what the clock is worth.
: >"$place/machine/dockerd.options"
if ! "$python" -c 'import sys; from agent.clock import Clock; sys.exit(Clock().trust().state == "unsynchronized")'; then
    echo '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["adjtimex", "clock_adjtime"], "action": "SCMP_ACT_ERRNO"}]}' \
        >"$place/machine/seccomp.json"
    echo "--seccomp-profile=/seccomp.json" >"$place/machine/dockerd.options"
    echo "nothing keeps this machine's clock: containers are kept from asking the kernel what it is worth"
fi
unshare --mount --net --pid --uts --ipc --cgroup --fork --kill-child "$0" --inside "$place/machine" "$@"
