#!/bin/bash
# A throw-away Debian with a real systemd and journald: an overlay of this machine's own root, booted by systemd-nspawn in a
# second. Nothing of it stays: the overlay lies in memory. To be sourced; needs root and systemd-container.
#   machine_up NAME [ROOT.tar], machine_run COMMAND..., machine_down; MACHINE is its root directory. With a tar file the machine is
#   what lies in it, such as another release of Debian, in place of a copy of this one.
#   good WHAT COMMAND..., until_good WHAT COMMAND...: what is proven in it; `failed` is 1 where one was not.
set -u

failed=0
told() { echo "$*"; }
# Runs a command in the machine; its success is what is proven.
good() {
    local what=$1 out
    shift
    if out=$(machine_run "$@" 2>&1); then told "ok    $what"; else told "FAIL  $what: $out"; failed=1; fi
}
# The same, tried until it succeeds, for a minute at most.
until_good() {
    local what=$1 turn
    shift
    for turn in $(seq 240); do
        if machine_run "$@" >/dev/null 2>&1; then told "ok    $what"; return; fi
        sleep 0.25
    done
    told "FAIL  $what"
    machine_run journalctl -b -u "meterseal*" --no-pager -n 30
    failed=1
}

machine_up() {
    machine_name=$1
    machine_place=$(mktemp -d "/run/meterseal-$1.XXXXXX")
    mount -t tmpfs -o size=3G,mode=755 tmpfs "$machine_place"
    mkdir "$machine_place/upper" "$machine_place/work" "$machine_place/root"
    MACHINE=$machine_place/root
    if [ -n "${2:-}" ]; then
        tar -x -C "$MACHINE" --exclude='./dev/*' -f "$2" || return 1
    else
        mount -t overlay overlay -o "lowerdir=/,upperdir=$machine_place/upper,workdir=$machine_place/work" "$MACHINE"
    fi
    rm -f "$MACHINE/usr/sbin/policy-rc.d"
    rm -rf "$MACHINE/opt/meterseal" "$MACHINE/var/lib/meterseal" "$MACHINE/etc/meterseal" "$MACHINE/var/log/journal"
    mkdir -p "$MACHINE/var/log/journal"
    : >"$MACHINE/etc/machine-id"
    : >"$MACHINE/etc/fstab"
    # Whatever this machine would start of its own is not what is tried here.
    local unit
    for unit in postgresql mosquitto chrony ntpsec systemd-timesyncd pcscd docker containerd podman exim4 nginx redis-server memcached \
        ssh cron e2scrub_reap getty@tty1 systemd-udevd-kernel; do
        ln -sf /dev/null "$MACHINE/etc/systemd/system/$unit.service"
    done
    for unit in apt-daily apt-daily-upgrade man-db e2scrub_all dpkg-db-backup logrotate fstrim podman-auto-update; do
        ln -sf /dev/null "$MACHINE/etc/systemd/system/$unit.timer"
    done
    machine_boot
}

# Its systemd may ask what the clock is worth and never set it: that would be the clock of the machine below.
# Boots what lies in $MACHINE, for the first time or again.
machine_boot() {
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 setsid systemd-nspawn --quiet -D "$MACHINE" --boot --register=no --keep-unit --console=pipe \
        --private-network --capability=all --drop-capability=CAP_SYS_TIME --system-call-filter="bpf adjtimex clock_adjtime" \
        --machine="$machine_name" \
        </dev/null >"$machine_place/console" 2>&1 &
    machine_pid=$!
    local turn state=""
    for turn in $(seq 300); do
        kill -0 "$machine_pid" 2>/dev/null || { cat "$machine_place/console" >&2; return 1; }
        machine_leader=$(pgrep -P "$machine_pid" | head -1)
        if [ -n "$machine_leader" ]; then
            state=$(machine_run systemctl is-system-running 2>/dev/null)
            case $state in running | degraded) return 0 ;; esac
        fi
        sleep 0.1
    done
    echo "it did not start: ${state:-nothing is known of it}" >&2
    return 1
}

machine_run() {
    nsenter -t "$machine_leader" -m -u -i -n -p -C --root env -C / "$@"
}

# Powers it off, as a person would.
machine_off() {
    machine_run systemctl poweroff 2>/dev/null
    local turn
    for turn in $(seq 300); do
        kill -0 "$machine_pid" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -9 "$machine_leader" "$machine_pid" 2>/dev/null
    return 1
}

# Cuts its power: everything in it is gone at once.
machine_cut() {
    kill -9 "$machine_leader" 2>/dev/null
    wait "$machine_pid" 2>/dev/null
    return 0
}

machine_down() {
    [ -n "${machine_pid:-}" ] && kill -0 "$machine_pid" 2>/dev/null && machine_off
    [ -n "${machine_place:-}" ] || return 0
    umount -R "$machine_place/root" 2>/dev/null
    umount "$machine_place" 2>/dev/null && rmdir "$machine_place"
}
