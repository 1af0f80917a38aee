#!/bin/bash
# The plant of containers of deploy/compose.yaml, brought up with the commands of docs/container.md: records go from two simulated
# meters by TLS into PostgreSQL, receipts come back, strangers do not get in, and nothing is lost by an outage or by down and up.
# Needs docker with compose, and root; where there is no docker, tests/system/docker.sh brings it.
set -eu
cd "$(dirname "$0")/../.."
. tests/system/checks.sh
cd deploy
if [ -e .env ] || [ -e pki ]; then echo "compose.sh: this plant is prepared already; try it in a fresh copy of the source" >&2; exit 1; fi
clear() {
    docker compose down -v -t 15 >/dev/null 2>&1
    rm -rf pki .env compose/site.yaml compose/collect.yaml compose/enrolment.txt
}

refused() { ! printed=$(docker compose config 2>&1) && echo "$printed" | grep -q "prepare.sh first"; }
good "before prepare.sh, compose says what to call" refused
trap clear EXIT
./compose/prepare.sh
prepared() { cat .env pki/* compose/*.yaml compose/enrolment.txt | sha256sum; }
before=$(prepared)
./compose/prepare.sh
good "prepare.sh called again makes nothing anew" test "$before" = "$(prepared)"
good "docker compose config takes the file" docker compose config --quiet
docker compose up -d 2>&1 | grep -viE "creat|start|wait|health|running" || true

# --- from the meter to the database, and the receipt back ------------------------------------------------------------
running() { [ "$(docker compose ps --services --status running | sort | tr '\n' ' ')" = "agent broker collector database meters " ]; }
health() { [ "$(docker inspect --format '{{.State.Health.Status}}' "meterseal-$2-1")" = "$1" ]; }
sql() { docker compose exec -T database psql -U collector -d meterseal -qtAc "$1"; }
sealed() { docker compose exec -T agent python -c 'import sqlite3
print(sqlite3.connect("file:/var/lib/meterseal/ledger.sqlite?mode=ro", uri=True).execute("SELECT '"$1"' FROM record").fetchone()[0])'; }
# Every record that was sealed when it is asked is in the database, whole and in order, or gets there.
arrived() { local upto; upto=$(sealed "max(n)"); [ "$upto" -gt "${1:-0}" ] && until [ "$(sql "SELECT size FROM tree")" -gt "$upto" ] 2>/dev/null; do sleep 1; done; }
# receipted N: the gateway has the collector's receipt for record N; it is noted with the next record.
receipted() {
    local upto
    upto=$(docker compose exec -T agent meterseal status | sed -nE 's/^broker +(up to record|all) ([0-9]+).*/\2/p')
    [ "${upto:-0}" -ge "$1" ]
}
until_good "all five run" 90 running
until_good "the database is healthy" 120 health healthy database
until_good "the agent is healthy, its readings sealed and its broker reached" 240 health healthy agent
until_good "its records stand in PostgreSQL, in order and checked" 240 arrived 5
until_good "the collector's receipts have come back to the gateway" 180 receipted "$(sealed 'max(n)')"
shows docker compose exec -T agent meterseal status
good "what stands in PostgreSQL is byte for byte what was sealed" test \
    "$(sql "SELECT encode(sha256(string_agg(payload, '' ORDER BY n)), 'hex') FROM record WHERE n <= 5")" = \
    "$(docker compose exec -T agent python -c 'import hashlib, sqlite3
rows = sqlite3.connect("file:/var/lib/meterseal/ledger.sqlite?mode=ro", uri=True).execute("SELECT payload FROM record WHERE n <= 5 ORDER BY n")
print(hashlib.sha256(b"".join(bytes(row[0]) for row in rows)).hexdigest())')"

# --- who gets in -----------------------------------------------------------------------------------------------------
# publish NAME TOPIC: with the certificate of that name, or with none.
publish() {
    local certificate=""
    [ -z "$1" ] || certificate="--cert /pki/$1.crt --key /pki/$1.key"
    # shellcheck disable=SC2086
    docker run --rm --network meterseal_plant -v ./pki:/pki:ro --user 10001 --entrypoint mosquitto_pub eclipse-mosquitto:2 \
        -V 5 -h broker -p 8883 --cafile /pki/ca.crt $certificate -q 1 -t "$2" -m x 2>&1
}
denied() { publish "$@" | grep -iE "not authori"; }
good "without a certificate nobody gets in" sh -c "! docker run --rm --network meterseal_plant -v ./pki:/pki:ro --entrypoint mosquitto_pub eclipse-mosquitto:2 -V 5 -h broker -p 8883 --cafile /pki/ca.crt -q 1 -t meterseal/v1/x -m x"
good "without TLS nobody gets in" sh -c "! docker run --rm --network meterseal_plant --entrypoint mosquitto_pub eclipse-mosquitto:2 -V 5 -h broker -p 8883 -q 1 -t meterseal/v1/x -m x"
good "a gateway writes in its own corner" sh -c "[ -z \"$(publish plant-1-gw1 meterseal/v1/plant-1/gw1/trial)\" ]"
good "and not in another one's" denied plant-1-gw1 meterseal/v1/plant-1/gw2/record
good "the collector writes no records" denied collector meterseal/v1/plant-1/gw1/record
good "the agent cannot reach the database" sh -c "! docker compose exec -T agent python -c 'import socket; socket.create_connection((\"database\", 5432), 5)'"

# --- outages ---------------------------------------------------------------------------------------------------------
docker compose stop -t 15 database >/dev/null 2>&1
sleep 65 # a poll, at least
docker compose start database >/dev/null 2>&1
until_good "after a minute without database the records are there" 240 arrived 5
docker compose kill -s KILL broker >/dev/null 2>&1
names_broker() { docker compose exec -T agent meterseal status --health | grep "^broker_unreachable"; }
until_good "a broker that is gone is named by the agent's health" 240 names_broker
shows docker compose exec -T agent meterseal status --health
docker compose start broker >/dev/null 2>&1
well() { docker compose exec -T agent meterseal status --health | grep "^healthy"; }
until_good "with the broker back the agent is healthy" 240 well
until_good "and what was sealed meanwhile is in PostgreSQL" 240 arrived 5

# --- down and up -----------------------------------------------------------------------------------------------------
key=$(docker compose exec -T agent cat /var/lib/meterseal/key.vkey)
last=$(sealed "max(n)")
docker compose down -t 15 2>&1 | grep -viE "stop|remov" || true
good "down leaves no container" test -z "$(docker ps -aq --filter label=com.docker.compose.project=meterseal)"
docker compose up -d 2>&1 | grep -viE "creat|start|wait|health|running" || true
until_good "up again: the agent is healthy" 240 health healthy agent
good "with the same key" test "$key" = "$(docker compose exec -T agent cat /var/lib/meterseal/key.vkey)"
until_good "goes on behind its record $last, into PostgreSQL" 240 arrived "$last"
until_good "and its receipts come back" 180 receipted "$((last + 1))"
good "the ledger verifies" docker compose exec -T agent meterseal verify
shows sh -c "docker compose exec -T agent meterseal verify | grep -E '^ *(records|gaps|starts|VERDICT)'"
shows sql "SELECT gateway, count(*) AS records, max(n) AS newest, (SELECT size FROM tree) AS whole_up_to FROM record GROUP BY gateway"
good "nothing was set aside as evidence" test "$(sql 'SELECT count(*) FROM aside')" = 0
good "a certificate for a further gateway" ./mosquitto/certificates.sh pki client plant-1/gw2
[ $failed = 0 ] || docker compose logs --tail 20
exit $failed
