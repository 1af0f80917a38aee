"""A PostgreSQL of its own for tests: on a socket in a folder, without a port; gone with the test."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

_ELSEWHERE = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


class Database:
    """A server that can be killed and started again. `reached`: how, in libpq's words."""

    def __init__(self, folder: Path, programs: Path, become: Sequence[str]) -> None:
        self._folder, self._programs, self._become = folder, programs, become
        self.reached = f"host={folder} dbname=postgres user=postgres"

    def run(self, program: str, *words: str) -> None:
        """Runs one of PostgreSQL's programs as the account that the server runs under."""
        command = [*self._become, str(self._programs / program), *words]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        """Starts the server; returns when it answers."""
        options = f"-c listen_addresses= -c unix_socket_directories={self._folder}"
        self.run("pg_ctl", "-D", f"{self._folder}/data", "-o", options, "-l", f"{self._folder}/log", "-w", "start")

    def stop(self, mode: str) -> None:
        """Stops it: `immediate` is what a power cut does."""
        self.run("pg_ctl", "-D", f"{self._folder}/data", "-m", mode, "-w", "stop")


@contextmanager
def database() -> Iterator[Database]:
    """A running server. Skips the test where PostgreSQL or the extra is missing."""
    pytest.importorskip("psycopg", reason="psycopg is missing: the extra postgres")
    found = shutil.which("initdb")
    programs = Path(found).resolve().parent if found else next(iter(_ELSEWHERE), None)
    if programs is None:
        pytest.skip("PostgreSQL is missing: apt install postgresql")
    become: list[str] = []
    account = os.geteuid()
    if account == 0:  # the server refuses to run as root
        try:
            account = pwd.getpwnam("postgres").pw_uid
        except KeyError:
            pytest.skip("there is no account postgres for the server to run under")
        become = ["setpriv", f"--reuid={account}", "--clear-groups"]
    folder = Path(
        tempfile.mkdtemp(prefix="msl-pg-", dir="/tmp")
    )  # a socket's path must be short, and pytest's folders are closed to others
    try:
        os.chown(folder, account, -1)
        made = Database(folder, programs, become)
        made.run("initdb", "-D", f"{folder}/data", "-U", "postgres", "-A", "trust", "--no-sync")
        made.start()
        try:
            yield made
        finally:
            made.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
