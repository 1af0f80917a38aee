"""What the program is made of: the bill of materials, licences, and the question for known weaknesses."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

DEPLOY = Path(__file__).parents[1] / "deploy"
# How packages that do not yet state an SPDX expression name their licence.
CLASSIFIED = {
    "MIT": "MIT License",
    "BSD-3-Clause": "BSD License",
    "Apache-2.0": "Apache Software License",
    "LGPL-3.0-or-later": "GNU Lesser General Public License v3 or later (LGPLv3+)",
}


def bill(folder: Path, name: str = "bill.json") -> str:
    """The bill of materials, as `make sbom` writes it."""
    subprocess.run([sys.executable, str(DEPLOY / "sbom.py"), str(folder / name)], check=True, capture_output=True, timeout=60)
    return (folder / name).read_text("utf-8")


def test_the_bill_of_materials_names_every_locked_package_with_its_hashes(tmp_path: Path) -> None:
    assert bill(tmp_path, "one") == bill(tmp_path, "two")
    made = json.loads(bill(tmp_path))
    lock = (DEPLOY / "requirements-all.txt").read_text("utf-8")
    named = {(part["name"], part["version"]) for part in made["components"]}
    assert named == {(name.lower(), version) for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", lock, re.MULTILINE)}
    hashes = [file["hashes"][0]["content"] for part in made["components"] for file in part["externalReferences"]]
    assert sorted(hashes) == sorted(re.findall(r"sha256:([0-9a-f]{64})", lock))
    assert made["dependencies"][0]["ref"] == made["metadata"]["component"]["bom-ref"]


def test_the_bill_of_materials_is_what_cyclonedx_1_6_asks_for(tmp_path: Path) -> None:
    validator, made = JsonStrictValidator(SchemaVersion.V1_6), bill(tmp_path)
    assert validator.validate_str(made) is None
    assert validator.validate_str(made.replace('"id": "MIT"', '"id": "no such licence"', 1)) is not None


def test_every_licence_is_the_one_that_the_package_itself_states() -> None:
    stated = json.loads((DEPLOY / "licences.json").read_text("utf-8"))
    lock = (DEPLOY / "requirements-all.txt").read_text("utf-8")
    assert sorted(stated) == sorted(re.findall(r"^([\w.-]+)==", lock, re.MULTILINE))
    compared = 0
    for name, licence in stated.items():
        try:
            package = metadata(name)
        except PackageNotFoundError:  # for another Python than this
            continue
        said = {package.get("License-Expression"), package.get("License")}
        said |= {each.rpartition(" :: ")[2] for each in package.get_all("Classifier", ())}
        assert {licence, CLASSIFIED.get(licence)} & said - {None}, f"{name}: {licence}, but it says {said}"
        compared += 1
    assert compared >= len(stated) - 1


# --- known weaknesses --------------------------------------------------------------------------------------------


@contextmanager
def database(*weak: str) -> Iterator[str]:
    """The address of a database of weaknesses in the form of OSV, that knows one in each of these packages."""

    class Answer(BaseHTTPRequestHandler):
        """Answers one question."""

        def do_POST(self) -> None:
            """As OSV's /v1/query does."""
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))["package"]
            events = [{"introduced": "0"}, {"fixed": "99.0"}]
            told = {
                "id": "TRIAL-2026-1",
                "summary": "made for a test",
                "affected": [{"package": asked, "ranges": [{"type": "ECOSYSTEM", "events": events}]}],
            }
            body = json.dumps({"vulns": [told]} if asked["name"] in weak else {}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's word
            """Tells nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
        finally:
            server.shutdown()


def audit(url: str, **more: str) -> tuple[int, str]:
    """How deploy/audit.sh ends, and what it prints."""
    surroundings = os.environ | {"PYTHON": sys.executable, "AUDIT_OPTIONS": f"-s osv --osv-url {url}"} | more
    done = subprocess.run([str(DEPLOY / "audit.sh")], env=surroundings, capture_output=True, text=True, timeout=240, check=False)
    return done.returncode, done.stdout


def test_a_known_weakness_is_told_with_its_package_and_stops_a_strict_audit() -> None:
    with database("pyyaml") as url:
        code, told = audit(url, AUDIT="strict")
        assert code == 1
        assert re.search(r"^pyyaml +\S+ +TRIAL-2026-1 +99\.0", told, re.MULTILINE)


def test_without_a_known_weakness_it_says_so() -> None:
    with database() as url:
        code, told = audit(url, AUDIT="strict")
    assert code == 0
    assert re.fullmatch(r"audit: no known weakness; 0 of \d\d packages are not in the database\n", told)


def test_where_no_database_answers_nothing_is_called_well() -> None:
    with socket.socket() as nobody:  # bound, and not listening
        nobody.bind(("127.0.0.1", 0))
        code, told = audit(f"http://127.0.0.1:{nobody.getsockname()[1]}/v1/query", AUDIT="strict")
    assert code == 0
    assert "NOT audited" in told
    assert "no known weakness" not in told


def test_without_the_tool_nothing_is_called_well(tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n', "utf-8")
    bare.chmod(0o755)
    surroundings = os.environ | {"PYTHON": str(bare)}
    done = subprocess.run([str(DEPLOY / "audit.sh")], env=surroundings, capture_output=True, text=True, timeout=60, check=True)
    assert "NOT audited" in done.stdout
