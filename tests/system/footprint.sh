#!/bin/bash
# How long the agent takes to start and what memory it holds, without OPC UA: here, and under arm64 emulation where that works.
set -u
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-$here/../../.venv/bin/python}
cd "$here/../.." || exit 1
# The agent alone, as a user starts it, with the twenty simulated meters of config/plant.example.yaml.
"$python" - <<'MEMORY'
import asyncio
import pathlib
import tempfile

from tests.bench.footprint import _agent_memory

with tempfile.TemporaryDirectory() as folder:
    print(f"the agent with 20 meters, none of them OPC UA: {asyncio.run(_agent_memory(pathlib.Path(folder))) / 1000:.1f} MB resident")
MEMORY
"$python" "$here/smoke.py"
if command -v qemu-aarch64-static >/dev/null && command -v mmdebstrap >/dev/null; then "$here/arm64.sh"; else
    echo "no qemu-user-static or mmdebstrap: arm64 was not measured"
fi
