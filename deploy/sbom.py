"""The bill of materials of what is shipped, from the locked requirements: CycloneDX 1.6 as JSON. Needs nothing but Python.

`python3 deploy/sbom.py [FILE]`: to dist/meterseal.cdx.json unless said otherwise. The same lock gives the same bytes. A lock says
nothing of licences: those stand in licences.json, as the packages state them. What a wheel carries within is not told apart.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "deploy" / "requirements-all.txt"
LICENCES = ROOT / "deploy" / "licences.json"
_PACKAGE = re.compile(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def components(lock: str, licences: dict[str, str]) -> list[dict[str, Any]]:
    """The packages of a lock file, each with its version, licence and the hashes of the files it may be installed from.

    Raises:
        KeyError: a package has no licence in `licences`.
    """
    found: list[dict[str, Any]] = []
    for line in lock.splitlines():
        if package := _PACKAGE.match(line):
            name, version = package[1].lower(), package[2]
            locator = f"pkg:pypi/{name}@{version}"
            part = {"type": "library", "bom-ref": locator, "name": name, "version": version, "purl": locator}
            found.append(part | {"licenses": [licence(licences[name])]})
        for digest in _HASH.findall(line):
            files = found[-1].setdefault("externalReferences", [])
            files.append({"type": "distribution", "url": found[-1]["purl"], "hashes": [{"alg": "SHA-256", "content": digest}]})
    return found


def licence(stated: str) -> dict[str, Any]:
    """A licence as CycloneDX has it: one of SPDX's list, or an expression of several."""
    return {"expression": stated} if " " in stated else {"license": {"id": stated}}


def bill(project: dict[str, Any], lock: str, licences: dict[str, str]) -> dict[str, Any]:
    """The whole bill. `project`: the table of that name in pyproject.toml; `licences`: of each package, by its name."""
    locator = f"pkg:generic/{project['name']}@{project['version']}"
    parts = components(lock, licences)
    subject = {"type": "application", "bom-ref": locator, "name": project["name"], "version": project["version"]}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, locator + lock)}",
        "version": 1,
        "metadata": {"component": subject | {"licenses": [licence(project["license"])]}},
        "components": parts,
        "dependencies": [{"ref": locator, "dependsOn": [part["bom-ref"] for part in parts]}],
    }


def main(words: list[str]) -> None:
    """Writes it."""
    target = Path(words[0]) if words else ROOT / "dist" / "meterseal.cdx.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    made = bill(project, LOCK.read_text("utf-8"), json.loads(LICENCES.read_text("utf-8")))
    target.write_text(json.dumps(made, indent=2) + "\n", "utf-8")
    sys.stdout.write(f"{target}: {len(made['components'])} packages\n")


if __name__ == "__main__":
    main(sys.argv[1:])
