"""`meterseal explain`: a record's frames byte by byte, from a bundle or a record alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent.cli import main
from agent.explain import explain
from agent.export import export
from agent.findings import CannotCheck
from tests.agent.ledgers import EVERY_MS, EVERY_S, Gateway, good_gateway, rtu, stamp


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    export(good_gateway().log, tmp_path / "a.zip")
    return tmp_path / "a.zip"


def shown(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["explain", *map(str, words)])


def test_a_reading_is_told_byte_by_byte_with_the_bytes_of_each_value(bundle: Path) -> None:
    result = shown("6", "--in", bundle)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("RECORD 6  reading of rtu-1, due 2026-03-01 00:00:00+00:00")
    assert lines[1] == "Modbus"
    assert "    4   00 02                    quantity          2 registers" in lines
    assert "    3 > 09 07                    register value    register 20  <- voltage.l1" in lines
    assert "    5   ff d6                    CRC-16            right" in lines
    assert "      bytes 3 to 4 of the answer in frame 2: 09 07" in lines
    assert "      2@3:u16be!ffff: bytes 09 07 = 2311 x 0.1 = 231.1" in lines
    assert "\x1b" not in result.output


def test_one_quantity_shows_the_exchange_that_holds_it_alone(bundle: Path) -> None:
    result = shown("rtu-1", "voltage.l1", "2026-03-01T00:20", "--in", bundle)
    assert result.output.count("ASKED") == 1
    assert "FRAME 2  ASKED" in result.output
    assert "due 2026-03-01 00:15:00" in result.output
    assert "active_power" not in result.output


def test_the_serial_number_of_an_identity_record_is_marked(bundle: Path) -> None:
    assert (
        "> 0c 0f 05 85              register value          registers 100 to 101  <- serial number"
        in shown("5", "--in", bundle).output
    )


def test_json_holds_every_byte_once(bundle: Path) -> None:
    told = json.loads(shown("6", "--in", bundle, "--json").output)
    assert (told["n"], told["kind"], told["protocol"], told["protocol_guessed"]) == (6, "reading", "modbus", False)
    assert "".join(piece["bytes"] for piece in told["frames"][2]["answer"]) == "0103020907ffd6"
    assert told["values"][2]["bytes"] == [{"frame": 2, "start": 3, "end": 5}]
    assert told["frames"][2]["answer"][3]["values"] == ["voltage.l1"]


def test_a_damaged_answer_is_told_as_far_as_it_goes(tmp_path: Path) -> None:
    gateway = Gateway().begin().after(EVERY_S)
    request, answer = rtu(bytes.fromhex("0300000002")), bytes.fromhex("010304011900")
    frame: dict[str, Any] = {"request": request.hex(), "answer": answer.hex(), "ms": 900, "fault": "short_answer"}
    times = {"every_ms": EVERY_MS, "since": stamp(gateway.due), "due": stamp(gateway.due), "missed": 1}
    gateway.append("gap", meter=gateway.source("rtu-1"), state="opened", cause="short_answer", frames=[frame], **times)
    export(gateway.log, tmp_path / "a.zip")
    result = shown(str(len(gateway.log.records) - 1), "--in", tmp_path / "a.zip")
    assert "gap by short_answer of rtu-1" in result.output
    assert "SHORT ANSWER: no value comes from it" in result.output
    assert "    3 ! 01 19 00                 register value    registers 0 to 1  cut short: 1 byte missing" in result.output


def test_a_record_alone_is_told_by_what_its_bytes_look_like(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_bytes(good_gateway().log.records[6])
    result = shown("6", "--in", tmp_path / "one.json")
    assert "Modbus, guessed from the bytes: the meter's model is not at hand" in result.output
    assert "register 20  <- voltage.l1" in result.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["1"], "record 1 is a start record: it holds no frames"),
        (["999"], "there is no record 999"),
        (["EM-9", "voltage.l1"], "there is no reading of EM-9"),
        (["rtu-1", "current.l1"], "no good answer in it holds current.l1"),
    ],
)
def test_what_cannot_be_shown_is_said_with_the_reason(words: list[str], said: str, bundle: Path) -> None:
    result = shown(*words, "--in", bundle)
    assert result.exit_code == 2
    assert said in result.output


def test_bytes_that_are_no_record_are_refused() -> None:
    with pytest.raises(CannotCheck, match="not a record"):
        explain(b'{"kind":"reading"}')


def test_a_record_cannot_write_on_the_readers_terminal() -> None:
    gateway = Gateway().begin().after(0.3)
    gateway.reading("rtu-1", frames=[{"request": "2f3f210d0a", "answer": "2f4c475a351b5b334a0d0a", "ms": 3}], values=[])
    from agent.explain_text import explain_text

    text = explain_text(explain(gateway.log.records[-1]))
    assert all(letter.isprintable() or letter == "\n" for letter in text)
