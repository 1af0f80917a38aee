#!/bin/sh
# Takes a prepared site.yaml from a USB stick or the boot partition, once, on a gateway that has none: nobody has to log in.
# Looks for meterseal/site.yaml on the boot partition and on a partition labelled METERSEAL. The enrolment form, and the sheet
# with the recovery code, are written beside it: print both, lock the sheet away, and delete it from the stick.
# The site file comes last: a gateway that loses its power before begins anew at its next boot.
set -eu
umask 077
config=/etc/meterseal
state=/var/lib/meterseal
unfinished=$state/first_boot.unfinished
[ -e "$config/site.yaml" ] && exit 0

stick=/dev/disk/by-label/METERSEAL
mounted="" work="" sheet=""
leave() {
    rm -rf ${work:+"$work" "$work.told"} ${sheet:+"$sheet"}
    [ -z "$mounted" ] || { sync; umount "$mounted" && rmdir "$mounted"; }
}
trap leave EXIT
if [ -e "$stick" ]; then
    mounted=$(mktemp -d /run/meterseal-stick.XXXXXX)
    mount -o nosuid,nodev,noexec "$stick" "$mounted" || { rmdir "$mounted"; mounted=""; }
fi

for folder in ${mounted:+"$mounted/meterseal"} /boot/firmware/meterseal /boot/meterseal /boot/efi/meterseal; do
    [ -f "$folder/site.yaml" ] || continue
    case $folder in
    "${mounted:-none}"/*) where="on the stick with the label METERSEAL" ;;
    *) where="on the boot partition ($folder)" ;;
    esac
    if ! touch "$folder/mistakes.txt" 2>/dev/null; then
        echo "<3>the folder meterseal $where cannot be written: the sheet with the recovery code has to go there. Is it write-protected? Nothing was taken over" >&2
        exit 1
    fi
    work=$(mktemp -d /run/meterseal-first.XXXXXX)
    # Whatever lies beside the site file comes along: models of its own, certificates of brokers. What was once written there does not.
    cp -r "$folder/." "$work/"
    rm -f "$work/mistakes.txt" "$work/recovery.txt" "$work/enrolment.txt" "$work/enrolment.html"
    chown -R root:meterseal "$work" && chmod -R u=rwX,g=rX,o= "$work" && chmod 755 "$work"
    if ! runuser -u meterseal -- /opt/meterseal/bin/meterseal check --site "$work/site.yaml" >"$work.told" 2>&1; then
        sed "s|$work/||g" "$work.told" >"$folder/mistakes.txt"
        sed 's/^/<3>/' "$folder/mistakes.txt" >&2
        echo "<3>meterseal/site.yaml $where has mistakes, mistakes.txt beside it tells them too; nothing was taken over" >&2
        exit 1
    fi
    rm -f "$folder/mistakes.txt"
    if [ -e "$unfinished" ] && [ ! -e "$state/ledger.sqlite" ]; then # the power went before the sheet was safe: a new key, a new sheet
        rm -f "$state/key.pem" "$state/key.vkey" "$state/recovery.vkey" "$state/enrolment.txt" "$state/enrolment.html"
    fi
    if [ ! -e "$state/key.pem" ] && [ ! -e /etc/credstore.encrypted/meterseal_key ]; then
        : >"$unfinished"
        sync
        sheet=$(mktemp -d /run/meterseal-sheet.XXXXXX)
        chown meterseal "$sheet"
        runuser -u meterseal -- /opt/meterseal/bin/meterseal init --site "$work/site.yaml" --state "$state" \
            --recovery "$sheet/recovery.txt" >"$work.told" 2>&1 || { cat "$work.told" >&2; exit 1; }
        cp "$sheet/recovery.txt" "$state/enrolment.txt" "$state/enrolment.html" "$folder/"
        sync
    fi
    mkdir -p "$config"
    mv "$work/site.yaml" "$config/site.yaml.new"
    cp -r "$work/." "$config/"
    chown -R root:meterseal "$config" && chmod -R u=rwX,g=rX,o= "$config" && chmod 755 "$config"
    sync
    mv "$config/site.yaml.new" "$config/site.yaml"
    rm -f "$unfinished"
    sync
    echo "<5>taken over: meterseal/site.yaml $where. The enrolment form and the sheet with the recovery code lie beside it" >&2
    systemctl start --no-block meterseal.service
    exit 0
done
echo "<6>no meterseal/site.yaml on a partition labelled METERSEAL or the boot partition; waiting for one by hand" >&2
