#!/bin/sh
# Makes, once, what compose.yaml needs and nobody may copy from elsewhere: certificates, keys and a database password. As root, since
# each key belongs to the account that uses it. Nothing that exists is made anew: called again it does what is left to do.
#   COMPOSE=: another program for the same file, such as "podman compose"
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "prepare.sh: call it with sudo: it gives each key to the account that uses it." >&2; exit 1; }
umask 077
certificates=./mosquitto/certificates.sh
[ -e pki/broker.crt ] || "$certificates" pki broker broker localhost 127.0.0.1
[ -e pki/plant-1-gw1.crt ] || "$certificates" pki client plant-1/gw1
[ -e pki/collector.crt ] || "$certificates" pki client collector
chmod 711 pki
chown 1883 pki/broker.key
chown 10001 pki/plant-1-gw1.key pki/collector.key
[ -e .env ] || echo "DATABASE_PASSWORD=$(openssl rand -hex 24)" >.env
# Whoever called sudo calls docker compose next, which reads this.
[ -z "${SUDO_UID:-}" ] || chown "$SUDO_UID:${SUDO_GID:-}" .env

meterseal() { ${COMPOSE:-docker compose} run --rm --no-deps -T "$@"; }
# shows SERVICE FILE: a file of its volume, or nothing.
shows() { meterseal --entrypoint sh "$1" -c "cat /var/lib/meterseal/$2 2>/dev/null || true" </dev/null; }
# fills KEY-LINE'S-MARK KEY-LINE FILE
fills() {
    [ -n "$2" ] || { echo "prepare.sh: there is no key line for $3.yaml" >&2; exit 1; }
    sed "s|$1|$2|" "compose/$3.template.yaml" >"compose/$3.yaml"
    chmod 644 "compose/$3.yaml"
}
# The order matters: whatever is interrupted here is gone through again, and the last file says that all is done.
[ -s compose/collect.yaml ] && exit 0
# Where a file is missing that a container is given, docker makes a folder of that name.
touch compose/site.yaml compose/collect.yaml
${COMPOSE:-docker compose} build --quiet agent >/dev/null
[ -n "$(shows collector collector.vkey)" ] || meterseal collector collect init plant-1/collector --state /var/lib/meterseal </dev/null >/dev/null
fills @COLLECTOR@ "$(shows collector collector.vkey)" site
# init: in the agent's volume; the site file is needed for the gateway's name only.
[ -n "$(shows agent key.vkey)" ] || meterseal agent init </dev/null >compose/enrolment.txt
fills @GATEWAY@ "$(shows agent key.vkey)" collect
echo "deploy/compose/enrolment.txt holds the enrolment form: have it signed, and lock the recovery code in it away." >&2
