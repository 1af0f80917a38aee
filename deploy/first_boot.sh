#!/bin/sh
# Takes a prepared site.yaml from a USB stick or the boot partition, once, on a gateway that has none: nobody has to log in.
# Looks for meterseal/site.yaml on the boot partition and on a partition labelled METERSEAL. The enrolment form, and the sheet
# with the recovery code, are written beside it: print both, lock the sheet away, and delete it from the stick.
set -eu
umask 077
config=/etc/meterseal
state=/var/lib/meterseal
[ -e "$config/site.yaml" ] && exit 0

stick=/dev/disk/by-label/METERSEAL
mounted=""
if [ -e "$stick" ]; then
    mounted=$(mktemp -d /run/meterseal-stick.XXXXXX)
    mount -o nosuid,nodev,noexec "$stick" "$mounted" || { rmdir "$mounted"; mounted=""; }
fi
leave() {
    [ -z "$mounted" ] || { sync; umount "$mounted" && rmdir "$mounted"; }
}
trap leave EXIT

for folder in ${mounted:+"$mounted/meterseal"} /boot/firmware/meterseal /boot/meterseal /boot/efi/meterseal; do
    [ -f "$folder/site.yaml" ] || continue
    work=$(mktemp -d /run/meterseal-first.XXXXXX)
    chmod 755 "$work"
    # Whatever lies beside the site file comes along: models of its own, certificates of brokers.
    cp -r "$folder/." "$work/"
    chown -R root:meterseal "$work" && chmod -R u=rwX,g=rX,o= "$work"
    if ! runuser -u meterseal -- /opt/meterseal/bin/meterseal check --site "$work/site.yaml" >"$work/check.txt" 2>&1; then
        cp "$work/check.txt" "$folder/mistakes.txt" 2>/dev/null || true
        cat "$work/check.txt" >&2
        rm -rf "$work"
        echo "<3>$folder/site.yaml has mistakes; nothing was taken over" >&2
        exit 1
    fi
    rm -f "$work/check.txt"
    mkdir -p "$config"
    cp -r "$work/." "$config/"
    chown -R root:meterseal "$config" && chmod -R u=rwX,g=rX,o= "$config" && chmod 755 "$config"
    rm -rf "$work"
    if [ ! -e "$state/key.pem" ] && [ ! -e /etc/credstore.encrypted/meterseal_key ]; then
        sheet=$(mktemp -d /run/meterseal-sheet.XXXXXX)
        chown meterseal "$sheet"
        runuser -u meterseal -- /opt/meterseal/bin/meterseal init --recovery "$sheet/recovery.txt" >/dev/null
        cp "$sheet/recovery.txt" "$state/enrolment.txt" "$state/enrolment.html" "$folder/"
        rm -rf "$sheet"
    fi
    echo "<5>taken over from $folder: the enrolment form and the sheet with the recovery code lie there" >&2
    systemctl start --no-block meterseal.service
    exit 0
done
echo "<6>no meterseal/site.yaml on a partition labelled METERSEAL or the boot partition; waiting for one by hand" >&2
