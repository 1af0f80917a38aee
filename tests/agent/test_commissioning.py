"""The electrician's walk with an agent at work: displays compared, the signed report, the live table, the support bundle."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agent.checkpoint import verifier_key
from agent.cli import main
from agent.commissioning import AGREES, LEFT_OUT, Compared, ReportError, checked, content_of, report
from agent.dump import HIDDEN, redacted
from agent.keys import KEY_FILE
from agent.live_table import Row, table
from tests.agent.ledgers import new_key
from tests.agent.test_cli import Terminal
from tests.agent.test_meter_life import Hall, hall

KEY = new_key()
LINE = verifier_key("meterseal/plant/gw1", KEY.public)
READ = ("active_energy_import", "kWh", "184223.5", "184223.5", "2026-03-01T08:00:00.000Z", 12, 13, "aa", "bb")
ROWS = [
    Compared("EM-1", "line1", "7", "eastron-sdm120", "123", "Hall <b>2</b>", "", "", AGREES, *READ),
    Compared("EM-2", "line1", "8", "eastron-sdm120", "", "", "400/5", "1", LEFT_OUT),
]
CONTENT = content_of("plant/gw1", "Li Na", "2026-03-01T08:05:00Z", "00" * 32, "0.1.0", ROWS)


async def walk(at: Hall, typed: str, page: Path, expect: int) -> str:
    options = ["--site", str(at.folder / "site.yaml"), "--state", str(at.agent.state)]
    words = ["commission", "--who", "Li Na", "--report", str(page), *options]
    result: Result = await asyncio.to_thread(lambda: CliRunner().invoke(main, words, input=typed))
    assert result.exit_code == expect, result.output
    return result.output


async def test_a_walk_seals_what_was_read_and_shown_and_its_report_can_be_checked(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    async with hall(tmp_path) as at:
        truth = at.simulator.truth("M-1", "active_energy_import")
        said = await walk(at, f"nonsense\n{truth}\n", page, expect=0)
        assert "Write the digits on the display" in said
        assert "1 of 1 meters agree" in said
        (spot,) = at.agent.records("EM-1", "spot")
        (manual,) = at.agent.records("EM-1", "manual")
        assert (manual["compared"], manual["agrees"], manual["value"]) == (spot["n"], True, truth)
        assert "There is a file" in await walk(at, f"{truth}\n", page, expect=2)
        line = (at.agent.state / "key.vkey").read_text("utf-8").strip()
        checked_by = CliRunner().invoke(main, ["verify-report", str(page), "--key", line])
        assert checked_by.exit_code == 0, checked_by.output
        assert f"records {spot['n']}, {manual['n']}".split()[1] in checked_by.output
    text = page.read_text("utf-8")
    assert "http" not in text
    assert "<script" not in text


async def test_a_display_that_differs_and_a_meter_that_is_left_out_stand_in_the_report(tmp_path: Path) -> None:
    async with hall(tmp_path) as at:
        said = await walk(at, "1.5\n", tmp_path / "one.html", expect=1)
        assert "DOES NOT AGREE" in said
        assert "0 of 1 meters agree" in await walk(at, "q\n", tmp_path / "two.html", expect=1)
        assert "does not agree" in (tmp_path / "one.html").read_text("utf-8")
        assert "left out" in (tmp_path / "two.html").read_text("utf-8")


async def test_a_meter_that_cannot_be_read_does_not_end_the_walk_and_stands_in_the_report(tmp_path: Path) -> None:
    async with hall(tmp_path) as at:
        await at.simulator.unplug("hall")
        said = await walk(at, "", tmp_path / "report.html", expect=1)
        assert "0 of 1 meters agree" in said
        assert ">not read<" in (tmp_path / "report.html").read_text("utf-8")
        await at.simulator.plug("hall")


def test_a_report_tells_what_was_signed_and_a_strangers_words_stay_text() -> None:
    page = report(CONTENT, KEY, LINE)
    found = checked(page, KEY.public)
    assert found.same_page
    assert found.content == CONTENT
    assert "Hall &lt;b&gt;2&lt;/b&gt;" in page
    assert "1 of 2 meters agree" in page


@pytest.mark.parametrize("change", ["figure", "content", "signature", "key", "empty"])
def test_a_report_that_was_changed_is_found_out(change: str) -> None:
    page = report(CONTENT, KEY, LINE)
    if change == "figure":
        assert not checked(page.replace("184223.5 kWh", "184223.6 kWh"), KEY.public).same_page
        return
    changed = {
        "content": lambda: page,
        "signature": lambda: page.replace("id='signature'>", "id='signature'>A"),
        "key": lambda: page,
        "empty": lambda: "<html></html>",
    }[change]()
    if change == "content":
        body = page.split("<pre id='content'>")[1].split("</pre>")[0]
        forged = base64.b64encode(base64.b64decode(body).replace(b"184223.5", b"184224.5")).decode()
        changed = page.replace(body, forged)
    with pytest.raises(ReportError):
        checked(changed, (new_key("another") if change == "key" else KEY).public)


def test_a_report_of_another_gateway_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(report(CONTENT, KEY, LINE), "utf-8")
    other = verifier_key("meterseal/plant/gw2", KEY.public)
    said = CliRunner().invoke(main, ["verify-report", str(page), "--key", other])
    assert said.exit_code == 2
    assert "it is the report of plant/gw1" in said.output
    assert "Compare this key line" in CliRunner().invoke(main, ["verify-report", str(page)]).output


# --- watch ----------------------------------------------------------------------------------------------------


async def test_the_live_table_shows_sealed_readings_of_the_agent_and_reads_by_itself_without_one(tmp_path: Path) -> None:
    async with hall(tmp_path) as at:
        truth = at.simulator.truth("M-1", "active_energy_import")
        said = await at.type("watch", "--count", "1")
        assert f"\tEM-1\tactive_energy_import\t{truth} kWh\tgood" in said
        assert "There is no meter EM-9" in await at.type("watch", "EM-9", expect=2)


def test_a_table_that_is_higher_than_the_terminal_says_how_much_is_missing() -> None:
    rows = [Row(f"EM-{n}", "voltage.l1", "230 V", "good", "", n) for n in range(30)]
    assert len(table(rows, 100)) == 31
    cut = table(rows, 10)
    assert len(cut) == 10
    assert cut[-1].startswith("and 22 more")


def test_without_an_agent_a_meter_that_cannot_be_reached_is_told_of_in_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = Terminal(tmp_path).type("watch", "--count", "1", expect=0)
    assert "EM-001\t\t127.0.0.1:" in said
    assert "refuses the connection" in said


# --- the support bundle ---------------------------------------------------------------------------------------


async def test_a_bundle_holds_the_last_frames_and_nothing_secret_and_its_replay_finds_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "S3cret-of-the-broker"
    monkeypatch.setenv("METERSEAL_MQTT_PASSWORD", secret)
    faults = [
        {"kind": "noise", "every": "4"},
        {"kind": "checksum", "every": "7"},
        {"kind": "exception", "at": ["9"], "code": "4"},
    ]
    async with hall(tmp_path, faults=faults) as at:
        await at.more_readings()
        bundle = tmp_path / "support.zip"
        assert "nothing secret" in await at.type("dump", str(bundle))
        assert "There is a file" in await at.type("dump", str(bundle), expect=2)
        with zipfile.ZipFile(bundle) as file:
            held = {name: file.read(name) for name in file.namelist()}
        for wanted in ("versions.json", "site.yaml", "doctor.txt", "status.txt", "figures.json", "records.jsonl"):
            assert held[wanted]
        assert b"spoilt answers (" in held["doctor.txt"]
        key = (at.agent.state / KEY_FILE).read_bytes()
        pieces = [secret.encode(), b"PRIVATE KEY", *(line for line in key.splitlines() if len(line) > 20)]
        assert [piece for piece in pieces for content in held.values() if piece in content] == []
        assert "METERSEAL_MQTT_PASSWORD" in json.loads(held["versions.json"])["variables"]
        said = CliRunner().invoke(main, ["replay", str(bundle)])
        assert said.exit_code == 0, said.output
        assert ": 0 differ." in said.output
        assert "0 records" not in said.output
    check_that_changes_show(held, tmp_path)


def check_that_changes_show(held: dict[str, bytes], folder: Path) -> None:
    """A value, a fault and a frame that say something else than was sealed are each told of."""
    lines = held["records.jsonl"].splitlines()
    at = next(index for index, line in enumerate(lines) if b'"kind":"reading"' in line and b'"fault"' not in line)
    reading = json.loads(lines[at])
    answer = reading["frames"][0]["answer"]
    for change in ("value", "fault", "frame"):
        changed = json.loads(lines[at])
        if change == "value":
            changed["values"][0]["value"] = "1.25"
        elif change == "fault":
            changed["frames"][0]["fault"] = "bad_checksum"
        else:
            changed["frames"][0]["answer"] = answer[:-2] + ("00" if answer[-2:] != "00" else "01")
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            for name, content in held.items():
                rows = [*lines[:at], json.dumps(changed, sort_keys=True, separators=(",", ":")).encode(), *lines[at + 1 :]]
                file.writestr(name, b"\n".join(rows) if name == "records.jsonl" else content)
        bundle = folder / f"{change}.zip"
        bundle.write_bytes(buffer.getvalue())
        said = CliRunner().invoke(main, ["replay", str(bundle)])
        assert said.exit_code == 1, said.output
        assert f"record {reading['n']}  EM-1  " in said.output


def test_a_file_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 no zip")
    said = CliRunner().invoke(main, ["replay", str(tmp_path / "a.zip")])
    assert said.exit_code == 2
    assert "no support bundle" in said.output


def test_what_names_a_user_or_a_secret_is_not_passed_on_and_remarks_are_not_either() -> None:
    text = b"gateway: plant/gw1 # the password is hunter2\nmqtt:\n  - {host: h, username: li.na, tls: {key: /etc/k.pem}}\n"
    said = redacted(text)
    assert "hunter2" not in said
    assert "li.na" not in said
    assert said.count(HIDDEN) == 2
    assert "not passed on" in redacted(b"password: [unclosed hunter2")
    assert "hunter2" not in redacted(b"password: [unclosed hunter2")
