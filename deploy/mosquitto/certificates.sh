#!/bin/sh
# A certificate authority for one plant, and certificates for its broker and gateways. Needs openssl.
#   certificates.sh FOLDER broker NAME...      the broker's, for all names and addresses it is reached under
#   certificates.sh FOLDER client NAME         a gateway's (plant-1/gw1), the collector's (collector) or a witness's (witness)
# The authority is made at the first call and never again. ca.key signs for all: keep it off broker and gateways. Called again for
# the same name it makes a new certificate and keeps the key. Good for three years; the authority for twenty.
set -eu
umask 077
[ $# -ge 3 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 1; }
folder=$1 kind=$2
shift 2
mkdir -p "$folder"
cd "$folder"

key() { [ -e "$1" ] || openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }
if [ ! -e ca.key ]; then
    key ca.key
    openssl req -x509 -new -key ca.key -sha256 -days 7300 -subj "/CN=meterseal plant authority" \
        -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign -out ca.crt
fi

# sign FILE NAME EXTENSIONS
sign() {
    key "$1.key"
    # A slash in a name (plant-1/gw1) would divide it.
    openssl req -new -key "$1.key" -subj "/CN=$(printf %s "$2" | sed 's,/,\\/,g')" -out "$1.csr"
    printf '%s\n' "$3" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -sha256 -days 1095 -extfile "$1.ext" -out "$1.crt" 2>/dev/null
    rm -f "$1.csr" "$1.ext"
    echo "$folder/$1.crt"
}

case $kind in
broker)
    names=""
    for name in "$@"; do
        case $name in
        *[!0-9.]*) names="$names,DNS:$name" ;;
        *) names="$names,IP:$name" ;;
        esac
    done
    sign broker "$1" "basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
subjectAltName=${names#,}"
    ;;
client)
    file=$(printf %s "$1" | tr / -)
    sign "$file" "$1" "basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=clientAuth"
    ;;
*)
    echo "certificates.sh: $kind is neither broker nor client" >&2
    exit 1
    ;;
esac
chmod 644 ./*.crt
