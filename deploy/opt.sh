#!/bin/sh
# Fills a folder with what lies under /opt/meterseal: an environment of its own with every package pinned by its hash.
#   deploy/opt.sh FOLDER ARCHITECTURE PYTHON_VERSION     such as  deploy/opt.sh stage/opt/meterseal arm64 3.11
# Works for another architecture than this machine's: only wheels are taken, nothing is run of them.
set -eu
folder=$1 architecture=$2 version=$3
source=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
case $architecture in
amd64) machine=x86_64 ;;
arm64) machine=aarch64 ;;
*) echo "opt.sh: for amd64 and arm64 only, not $architecture" >&2; exit 1 ;;
esac
packages=$folder/lib/python$version/site-packages
abi=cp$(echo "$version" | tr -d .)
mkdir -p "$packages" "$folder/bin" "$folder/share"

platforms=""
for glibc in 17 28 34; do platforms="$platforms --platform manylinux_2_${glibc}_$machine"; done
# shellcheck disable=SC2086
"$python" -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes --target "$packages" \
    --only-binary=:all: --implementation cp --python-version "$version" --abi "$abi" --abi abi3 --abi none \
    --platform "manylinux2014_$machine" $platforms --platform any -r "$source/deploy/requirements-all.txt"
# What pip writes of its own run differs each time.
rm -rf "$packages/bin"
find "$packages" -name direct_url.json -delete

wheels=$(mktemp -d)
"$python" -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w "$wheels" "$source"
"$python" -m zipfile -e "$wheels"/meterseal-*.whl "$packages"
rm -rf "$wheels"

# A virtual environment is no more than this.
printf 'home = /usr/bin\ninclude-system-site-packages = false\nversion = %s\n' "$version" >"$folder/pyvenv.cfg"
ln -s "/usr/bin/python$version" "$folder/bin/python"
cat >"$folder/bin/meterseal" <<'PROGRAM'
#!/opt/meterseal/bin/python -I
import sys

from agent.__main__ import main

sys.exit(main())
PROGRAM
chmod 755 "$folder/bin/meterseal"
cp "$source/deploy/first_boot.sh" "$folder/share/"
find "$folder" -type d -name __pycache__ -prune -exec rm -rf {} +
