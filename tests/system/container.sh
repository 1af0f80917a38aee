#!/bin/bash
# The image, built and run as docs/container.md says, with two simulated meters: who it is, what it may write, its key, its health,
# reload, kill, stop, and what an auditor gets. Needs docker; where there is none, tests/system/docker.sh brings it.
set -eu
cd "$(dirname "$0")/../.."
. tests/system/checks.sh
mine=meterseal-trial
work=$(mktemp -d)
clear() {
    docker rm -fv $mine $mine-meters $mine-full >/dev/null 2>&1
    docker volume rm $mine $mine-full >/dev/null 2>&1
    docker network rm $mine >/dev/null 2>&1
    rm -rf "$work"
}
trap clear EXIT

docker build --quiet -t meterseal . >/dev/null
echo "      image: $(docker image inspect --format '{{.Size}}' meterseal | awk '{ printf "%.0f MB", $1 / 1000000 }'), $(
    docker history --format '{{.Size}} {{.CreatedBy}}' meterseal | awk '/COPY/ { print $1; exit }') of it meterseal with its packages"
docker network create --internal $mine >/dev/null
docker run -d --name $mine-meters --network $mine --network-alias meters --read-only --cap-drop ALL --tmpfs /tmp \
    -v ./deploy/compose/plant.yaml:/etc/meterseal/plant.yaml:ro meterseal simulate /etc/meterseal/plant.yaml --directory /tmp >/dev/null
chmod 755 "$work"
cat >"$work/site.yaml" <<'SITE'
gateway: trial/gw1
every: 1s
links: {hall: {tcp: "meters:5020"}}
meters:
  - {id: EM-014, link: hall, model: eastron-sdm120, address: 1}
SITE
hardened="--read-only --cap-drop ALL --security-opt no-new-privileges --network $mine -v $work/site.yaml:/etc/meterseal/site.yaml:ro"
# once COMMAND...: in a container that ends with it, over the agent's volume.
once() { docker run --rm $hardened --tmpfs /tmp -v $mine:/var/lib/meterseal "$@"; }
health() { [ "$(docker inspect --format '{{.State.Health.Status}}' "${2:-$mine}")" = "$1" ]; }
said() { docker inspect --format '{{range .State.Health.Log}}{{.Output}}{{end}}' "${1:-$mine}" | grep . | tail -1; }
logged() { docker logs $mine 2>&1 | grep -q "$1"; }

# --- who it is, and what it may --------------------------------------------------------------------------------------
shows once meterseal --version
good "it is user 10001" test "$(once --entrypoint id meterseal -u)" = 10001
good "it has no capability" once --entrypoint sh meterseal -c '! grep -E "^Cap(Inh|Prm|Eff|Bnd|Amb):" /proc/self/status | grep -v 0000000000000000'
good "nothing but its volume can be written" once --entrypoint sh meterseal -c \
    'for place in / /opt/meterseal /etc/meterseal /usr; do touch $place/x 2>/dev/null && exit 1; done; touch /var/lib/meterseal/x && rm /var/lib/meterseal/x'
good "it holds no compiler and no pip" once --entrypoint sh meterseal -c '! ls /opt/meterseal/bin | grep -q pip && ! command -v gcc'

if command -v python3 >/dev/null; then
    python3 deploy/sbom.py "$work/bill.json" >/dev/null
    once --entrypoint python meterseal -c 'from importlib.metadata import distributions
for each in distributions(): print(each.name.lower().replace("_", "-") + "==" + each.version)' >"$work/held"
    # wait-for2 is for Python before 3.12.
    good "it holds what the bill of materials names, and nothing else" python3 -c 'import json, sys
bill = json.load(open(sys.argv[1]))
named = {part["name"] + "==" + part["version"] for part in [*bill["components"], bill["metadata"]["component"]] if part["name"] != "wait-for2"}
sys.exit(", ".join(named ^ set(open(sys.argv[2]).read().split())) or 0)' "$work/bill.json" "$work/held"
fi

# --- key, agent, health ----------------------------------------------------------------------------------------------
once meterseal init >"$work/form" 2>&1
good "init prints the enrolment form and makes the key" grep -q "trial/gw1" "$work/form"
# Every second instead of each half minute; all else as the image has it.
docker run -d --name $mine --restart unless-stopped $hardened --stop-timeout 10 --health-interval 1s --health-start-period 1s \
    -v $mine:/var/lib/meterseal meterseal >/dev/null
until_good "docker calls it healthy" 60 health healthy
shows said
good "docker exec meterseal status" sh -c "docker exec $mine meterseal status | grep EM-014"
docker stop -t 1 $mine-meters >/dev/null
until_good "with its meters switched off docker calls it unhealthy" 90 health unhealthy
shows said
docker start $mine-meters >/dev/null
until_good "with its meters back it is healthy again" 90 health healthy

# --- reload, kill, stop ----------------------------------------------------------------------------------------------
echo '  - {id: EM-015, link: hall, model: eastron-sdm120, address: 2}' >>"$work/site.yaml"
docker kill -s HUP $mine >/dev/null
until_good "docker kill -s HUP: the new site file is in force" 60 logged site.reloaded
until_good "the new meter is read" 60 sh -c "docker exec $mine meterseal status | grep EM-015 | grep -q kWh"
docker kill -s KILL $mine >/dev/null
docker start $mine >/dev/null
until_good "after kill -9 it goes on" 60 sh -c "docker inspect --format '{{.State.StartedAt}}' $mine && docker exec $mine meterseal status --health | grep -q ^healthy"
began=$(date +%s%N)
docker stop $mine >/dev/null
took=$((($(date +%s%N) - began) / 1000000))
good "docker stop: in order, within 10 s ($took ms)" test "$took" -lt 10000 -a "$(docker inspect --format '{{.State.ExitCode}}' $mine)" = 0

# --- what an auditor gets --------------------------------------------------------------------------------------------
good "the ledger verifies" once meterseal verify
mkdir -m 777 "$work/out"
once -v "$work/out":/out meterseal export /out/bundle.zip >/dev/null
good "the exported bundle verifies where there is nothing else" docker run --rm --read-only --cap-drop ALL --network none --tmpfs /tmp \
    -v "$work/out":/out:ro -v "$work/form":/form:ro meterseal verify /out/bundle.zip --key /form
shows docker run --rm --read-only --cap-drop ALL --network none --tmpfs /tmp -v "$work/out":/out:ro -v "$work/form":/form:ro meterseal verify \
    /out/bundle.zip --key /form

# --- a full disk -----------------------------------------------------------------------------------------------------
docker volume create --opt type=tmpfs --opt device=tmpfs --opt o=size=1g,uid=10001 $mine-full >/dev/null
docker run -d --name $mine-full --entrypoint sh $hardened --health-interval 1s --health-start-period 1s -v $mine-full:/var/lib/meterseal \
    meterseal -c 'meterseal init >/dev/null 2>&1 && exec meterseal run' >/dev/null
until_good "an agent on a small disk is healthy" 60 health healthy $mine-full
docker exec $mine-full sh -c 'cat /dev/zero >/var/lib/meterseal/filler' 2>/dev/null || true
until_good "with its disk full its health names the ledger" 60 sh -c "docker exec $mine-full meterseal status --health | grep ^ledger_failed"
until_good "docker calls it unhealthy" 60 health unhealthy $mine-full
shows said $mine-full
docker exec $mine-full rm /var/lib/meterseal/filler
until_good "with room on the disk it is well again" 90 health healthy $mine-full
exit $failed
