"""A foreign OPC UA server in a process of its own: node-opcua, installed once into a cache folder by npm.

Where node or npm is missing, or npm cannot reach its registry, the tests that need it skip and say so. Works with the
node 18 of Debian 12: `hexy`, which node-opcua prints frames with, is held at its last release that node 18 can load.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

from tests.brokers import free_port

HERE = Path(__file__).parent / "opcua_node"
PLANT = "http://plant.example/meters"
URI = "urn:plant.example:press-server"
_READY_S = 60


def modules() -> Path:
    """The folder of the installed packages; skips the test where they cannot be had."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt install nodejs npm")
    wanted = hashlib.sha256((HERE / "package.json").read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "meterseal-tests"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"node-opcua-{wanted}"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one test process installs, the others wait for it
        if not folder.exists():
            _install(cache / f"node-opcua-{wanted}.part", folder)
    return folder / "node_modules"


def _install(part: Path, folder: Path) -> None:
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    shutil.copy(HERE / "package.json", part)
    command = ["npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev"]
    try:
        done = subprocess.run(command, cwd=part, capture_output=True, text=True, timeout=100, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not install node-opcua within 100 s: is its registry reachable?")
    if done.returncode:
        pytest.skip(f"npm cannot install node-opcua: {done.stderr.strip().splitlines()[-1:]}")
    part.rename(folder)


@dataclass
class PlantServer:
    """A running server; `kill` and `start` make it a server that was restarted.

    Attributes:
        folder: where its certificates lie.
        strict: it takes only clients whose certificate lies in its trusted folder.
        trusted: certificates (DER) that lie there from the start.
        namespaces: its namespaces in this order, after its own two.
    """

    folder: Path
    strict: bool = False
    trusted: tuple[bytes, ...] = ()
    uri: str = URI
    namespaces: list[str] | None = None
    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """What stands in a site file."""
        return f"opc.tcp://127.0.0.1:{self.port}/plant"

    def start(self) -> None:
        """Returns when it can be connected to."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for certificate in self.trusted:
            self.trust(certificate)
        told = {"port": self.port, "folder": str(self.folder), "uri": self.uri, "strict": self.strict, "host": self.host}
        if self.namespaces:
            told["namespaces"] = self.namespaces
        self.process = subprocess.Popen(
            ["node", HERE / "server.js", json.dumps(told)],
            env={**os.environ, "NODE_PATH": str(modules())},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout
        give_up = threading.Timer(_READY_S, self.process.kill)
        give_up.start()
        said = []
        for line in self.process.stdout:
            if line.strip() == f"ready {self.port}":
                break
            said.append(line)
        else:
            raise AssertionError(f"the server did not start:\n{''.join(said)}")
        give_up.cancel()
        threading.Thread(target=_drained, args=(self.process.stdout,), daemon=True).start()

    def trust(self, certificate: bytes) -> None:
        """What a person does at the server: moves a client's certificate to its trusted folder. Holds from the next start."""
        for rejected in (self.folder / "pki" / "rejected").glob("*.pem"):
            rejected.unlink()
        folder = self.folder / "pki" / "trusted" / "certs"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{hashlib.sha256(certificate).hexdigest()}.der").write_bytes(certificate)

    def freeze(self) -> None:
        """It holds its connections and says nothing."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """It is gone at once; `start` begins it again at the same port."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


def _drained(stream: IO[str]) -> None:
    with stream:
        for _ in stream:
            pass


@contextmanager
def plant_server(folder: Path, **more: object) -> Iterator[PlantServer]:
    """A server that runs until the end of the block."""
    server = PlantServer(folder, **more)  # type: ignore[arg-type]  # the dataclass checks nothing, nor do tests
    server.start()
    try:
        yield server
    finally:
        server.kill()
