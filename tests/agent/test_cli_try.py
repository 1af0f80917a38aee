"""`meterseal try`: the number on a display found among a foreign server's registers, and plain words where it is not."""

from pathlib import Path

import pytest

from agent.state import only_agent
from tests.agent.test_cli import Terminal
from tests.peers.foreign import CELLS, pymodbustcp

SITE = """\
gateway: plant/gw1
links:
  hall: {{tcp: "{endpoint}"}}
meters:
  - {{id: EM-001, link: hall, model: generic-modbus, address: 1,
     points: [{{quantity: voltage, at: {{address: 0, type: f32}}}}]}}
"""


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.chdir(tmp_path)
    return Terminal(tmp_path)


@pytest.mark.parametrize(
    ("address", "expected", "line"),
    [
        (0, "230.5", "at: {address: 0, type: f32}"),
        (2, "230.5", "at: {address: 2, type: f32, word_order: little}"),
        (4, "230.5", "at: {address: 4, type: f32, byte_order: little}"),
        (6, "230.5", "at: {address: 6, type: f32, word_order: little, byte_order: little}"),
        (8, "123456.78", "at: {address: 8, type: u32}, scale: 0.01   (or i32: the same so far)"),
        (14, "12345678.9", "at: {address: 14, type: u64}, scale: 0.001   (or i64: the same so far)"),
    ],
)
def test_the_number_on_the_display_is_found_in_a_foreign_server(
    terminal: Terminal, address: int, expected: str, line: str
) -> None:
    with pymodbustcp() as endpoint:
        terminal.site.write_text(SITE.format(endpoint=endpoint), "utf-8")
        words = ("--address", str(address), "--expect", expected, "--function", "3", "--within", "0.1")
        said = terminal.type("try", "EM-001", *words, expect=0)
    assert f"1  {expected}" in said
    assert line in said.split("\n1  ")[1].split("\n")[0]
    assert ">> " in said


def test_registers_that_a_meter_does_not_have_do_not_hide_those_that_it_has(terminal: Terminal) -> None:
    with pymodbustcp() as endpoint:
        terminal.site.write_text(SITE.format(endpoint=endpoint), "utf-8")
        last = CELLS - 1  # input register n holds 1000 + n
        said = terminal.type("try", "EM-001", "--address", str(last), "--expect", str(1000 + last), "--function", "4", expect=0)
    assert f"at: {{address: {last}, type: u16, function: 4}}" in said.split("\n1  ")[1].split("\n")[0]


def test_registers_can_be_given_instead_of_read(terminal: Terminal) -> None:
    said = terminal.type("try", "--address", "72", "--expect", "230,1", "--registers", "4366 199a", expect=0)
    assert said.startswith("1  230.1            at: {address: 72, type: f32}")


def test_where_nothing_comes_near_it_says_what_to_look_at(terminal: Terminal) -> None:
    said = terminal.type("try", "--address", "72", "--expect", "17", "--registers", "0000 0000", expect=1)
    assert "Nothing around 72 comes within 2 % of 17" in said
    assert "its unit (kWh or MWh)" in said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--address", "1", "--expect", "1"), "Say which meter to read"),
        (("--address", "1", "--expect", "much", "--registers", "0000"), "--expect much is not a number"),
        (("--address", "1", "--expect", "nan", "--registers", "0000"), "--expect nan is not a number"),
        (("--address", "1", "--expect", "1", "--registers", "00"), "is not a row of registers"),
        (("--address", "1", "--expect", "1", "--registers", "xyz"), "is not a row of registers"),
        (("EM-9", "--address", "1", "--expect", "1"), "There is no meter EM-9"),
    ],
)
def test_wrong_use_is_told_in_one_message(terminal: Terminal, words: tuple[str, ...], told: str) -> None:
    assert told in terminal.type("try", *words, expect=2)


def test_while_the_agent_holds_the_line_it_says_so(terminal: Terminal) -> None:
    terminal.state.mkdir()
    with only_agent(terminal.state):
        said = terminal.type("try", "EM-001", "--address", "0", "--expect", "230", expect=2)
    assert "The running agent holds the line" in said


def test_a_meter_without_registers_says_so(terminal: Terminal) -> None:
    text = SITE.format(endpoint="127.0.0.1:9").rsplit("  - ", 1)[0]
    meter = "  - {id: WM-1, link: hall, model: cjt188-water-2018, address: '78330123456789'}\n"
    terminal.site.write_text(text + meter, "utf-8")
    assert "WM-1 has no registers" in terminal.type("try", "WM-1", "--address", "0", "--expect", "1", expect=2)
