#!/bin/sh
# Makes, once, what compose.yaml needs and nobody may copy from elsewhere: certificates, keys and a database password. As root, since
# each key belongs to the account that uses it. Nothing that exists is made anew.  PROGRAM=: another way to run meterseal.
set -eu
cd "$(dirname "$0")/.."
umask 077
certificates=./mosquitto/certificates.sh
[ -e pki/broker.crt ] || "$certificates" pki broker broker localhost 127.0.0.1
[ -e pki/plant-1-gw1.crt ] || "$certificates" pki client plant-1/gw1
[ -e pki/collector.crt ] || "$certificates" pki client collector
chmod 711 pki
chown 1883 pki/broker.key
chown 10001 pki/plant-1-gw1.key pki/collector.key
[ -e .env ] || echo "DATABASE_PASSWORD=$(openssl rand -hex 24)" >.env

# init: in the agent's volume; the site file is needed for the gateway's name only.
meterseal() { docker compose run --rm --no-deps --quiet-pull -T "$@"; }
if [ ! -e compose/site.yaml ]; then
    docker compose build --quiet agent
    collector=$(meterseal collector collect init plant-1/collector --state /var/lib/meterseal)
    sed "s|@COLLECTOR@|$collector|" compose/site.template.yaml >compose/site.yaml
    chmod 644 compose/site.yaml
    meterseal agent init >compose/enrolment.txt
    gateway=$(meterseal --entrypoint cat agent /var/lib/meterseal/key.vkey)
    sed "s|@GATEWAY@|$gateway|" compose/collect.template.yaml >compose/collect.yaml
    chmod 644 compose/collect.yaml
    echo "deploy/compose/enrolment.txt holds the enrolment form: have it signed, and lock the recovery code in it away." >&2
fi
