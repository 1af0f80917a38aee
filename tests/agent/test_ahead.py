"""Verifying with signatures checked in other processes: the same findings, and a bar on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.ahead import Ahead, good_signatures
from agent.cli import main
from agent.export import export
from agent.keys import key_name
from agent.seal import base64url
from agent.verify import key_line, verify
from tests.agent.ledgers import Gateway, good_gateway, new_key
from tests.agent.test_attacks import ATTACKS


def with_rotation() -> Gateway:
    gateway = good_gateway()
    gateway.rotate(new_key("second"))
    gateway.append("stop", reason="test")
    return gateway


def spoilt(gateway: Gateway) -> None:
    """One of each: a value edited, a signature taken away, a record cut short, one signed by a stranger."""
    for name in ("a value is edited", "a signature is taken away", "a record is cut short"):
        ATTACKS[name][0](gateway.log)
    gateway.key = new_key("attacker")
    gateway.append("stop", reason="test")


@pytest.mark.parametrize("change", [lambda _: None, spoilt])
def test_what_is_found_is_the_same_however_many_processes_look(change: Callable[[Gateway], object]) -> None:
    gateway = with_rotation()
    change(gateway)
    alone = verify(gateway.log, key=gateway.key_line)
    ahead = Ahead(gateway.log, [key_line(gateway.key_line)[1]], jobs=1)
    report = verify(ahead, key=gateway.key_line, is_signed=ahead.is_signed)
    assert report.fields() == alone.fields()


def test_a_process_finds_exactly_the_good_signatures() -> None:
    gateway = with_rotation()
    gateway.log.edit(10, lambda f: f["values"][0].update(value="1.00"))
    keys = {key_name(public): public for public in (gateway.first_key.public, gateway.key.public)}
    assert len(good_signatures(gateway.log.records, keys)) == len(gateway.log.records) - 1
    assert good_signatures(gateway.log.records, {}) == []
    assert good_signatures([b"{", b'{"sig":5}', b'{"key":"x","sig":"y"}'], keys) == []


def test_what_was_found_good_is_good_for_the_same_bytes_alone() -> None:
    gateway = good_gateway()
    public = gateway.key.public
    ahead = Ahead(gateway.log, [public], jobs=1)
    assert len(list(ahead.payloads())) == 30
    data, signature = b"signed", base64url(gateway.key.sign(b"signed"))
    assert ahead.is_signed(data, signature, public)
    assert not ahead.is_signed(b"other", signature, public)
    assert not ahead.is_signed(data, signature, new_key("second").public)


def test_it_is_told_how_many_records_were_read() -> None:
    told: list[int] = []
    log = good_gateway().log
    log.records = log.records * 40
    assert len(list(Ahead(log, [], 0, told.append).payloads())) == sum(told) == 1200
    assert len(told) == 3


def test_the_command_takes_a_number_of_processes(tmp_path: Path) -> None:
    gateway = with_rotation()
    export(gateway.log, tmp_path / "a.zip")
    result = CliRunner().invoke(main, ["verify", str(tmp_path / "a.zip"), "--key", gateway.key_line, "--jobs", "2"])
    assert result.exit_code == 0, result.output
    assert "VERDICT  IN ORDER: all 32 records" in result.output
    assert "Verifying" not in result.output


def test_a_terminal_shows_a_bar_and_the_report_stays_clean(tmp_path: Path) -> None:
    gateway = good_gateway()
    export(gateway.log, tmp_path / "a.zip")
    screen, terminal = pty.openpty()
    words = [sys.executable, "-m", "agent", "verify", str(tmp_path / "a.zip"), "--key", gateway.key_line]
    ran = subprocess.run(words, stdout=subprocess.PIPE, stderr=terminal, text=True, check=False, timeout=60)
    os.close(terminal)
    shown = os.read(screen, 65536).decode()
    os.close(screen)
    assert ran.returncode == 0
    assert "Verifying" in shown
    assert "100%" in shown
    assert "Verifying" not in ran.stdout
