"""agent.cli: every way to use it wrongly ends in one message that says what to do, and an exit code."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agent.cli import main
from tests.brokers import free_port

SITE = """\
gateway: plant/gw1
links:
  hall: {{tcp: "127.0.0.1:{port}"}}
meters:
  - {{id: EM-001, link: hall, model: eastron-sdm120, address: 1}}
"""


class Terminal:
    """A folder with a site file in which commands are typed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = folder / "site.yaml"
        self.state = folder / "state"
        self.site.write_text(SITE.format(port=free_port()), "utf-8")

    def type(self, *words: str, expect: int) -> str:
        options = [] if words[0] in ("demo", "simulate") else ["--site", str(self.site), "--state", str(self.state)]
        result: Result = CliRunner().invoke(main, [*words, *options])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == expect, result.output
        return result.output


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.chdir(tmp_path)
    return Terminal(tmp_path)


def test_check_tells_what_would_be_polled_and_what_to_look_at(terminal: Terminal) -> None:
    said = terminal.type("check", expect=0)
    assert "no mistakes" in said
    assert "hall (127.0.0.1:" in said
    assert "EM-001" in said


def test_check_tells_every_mistake_with_its_place(terminal: Terminal) -> None:
    second = "  - {id: EM-002, link: hall, model: eastron-sdm12O, address: 2}\n"
    terminal.site.write_text(SITE.format(port=502).replace("address: 1", "address: 300") + second, "utf-8")
    said = terminal.type("check", expect=2)
    assert ":5:62 meters[0].address: 300 is not a Modbus address (1 to 247)" in said
    assert "Did you mean eastron-sdm120?" in said


def test_a_value_of_too_many_parts_is_refused_before_anything_is_polled(terminal: Terminal) -> None:
    parts = ", ".join(
        f"{{at: {{address: {address}, type: u32, missing: [ffffffff, fffffffe]}}, scale: 0.001}}" for address in range(2, 30, 2)
    )
    points = f"points: [{{quantity: mass, at: {{address: 0, type: u32}}, plus: [{parts}]}}]"
    meter = f"{{id: EM-001, link: hall, model: generic-modbus, address: 1, {points}}}"
    terminal.site.write_text(SITE.format(port=502).rsplit("  - ", 1)[0] + f"  - {meter}\n", "utf-8")
    said = terminal.type("check", expect=2)
    assert "EM-001: mass has too many parts" in said


def test_a_community_map_is_pointed_out(terminal: Terminal) -> None:
    terminal.site.write_text(SITE.format(port=502).replace("eastron-sdm120", "siemens-pac3200"), "utf-8")
    assert "trust level C" in terminal.type("check", expect=0)


def test_init_writes_a_first_site_file_that_has_no_mistakes(terminal: Terminal) -> None:
    terminal.site.unlink()
    assert "Public key" in terminal.type("init", expect=0)
    assert "no mistakes" in terminal.type("check", expect=0)
    assert (terminal.state / "enrolment.txt").read_text("utf-8").startswith("METERSEAL")


def test_run_without_a_key_says_what_to_run(terminal: Terminal) -> None:
    terminal.state.mkdir()
    assert "Run `meterseal init` first." in terminal.type("run", expect=2)


def test_run_without_a_state_directory_names_it(terminal: Terminal) -> None:
    said = terminal.type("run", expect=2)
    assert str(terminal.state) in said
    assert "meterseal init" in said


def test_reading_a_meter_that_is_not_there_says_so(terminal: Terminal) -> None:
    assert "Did you mean EM-001?" in terminal.type("read", "EM-01", expect=2)


def test_reading_over_a_link_that_is_down_says_what_to_check(terminal: Terminal) -> None:
    said = terminal.type("read", "EM-001", expect=2)
    assert "refuses the connection" in said
    assert "cable" in said


def test_status_without_a_ledger_says_so(terminal: Terminal) -> None:
    assert "there is no ledger at" in terminal.type("status", expect=2)


def test_a_health_check_tells_only_whether_the_agent_runs(terminal: Terminal) -> None:
    assert terminal.type("status", "--alive", expect=1) == ""


@pytest.mark.parametrize("verb", [("verify",), ("trace", "EM-001"), ("completeness",), ("export", "x.zip")])
def test_the_auditors_verbs_without_a_ledger_cannot_check(terminal: Terminal, verb: tuple[str, ...]) -> None:
    assert "ledger.sqlite" in terminal.type(*verb, expect=2)


def test_trace_wants_a_meter_or_a_record_number(terminal: Terminal) -> None:
    assert "Say which meter" in terminal.type("trace", expect=2)


@pytest.mark.parametrize("content", [b"", b"not a zip at all", b"PK\x03\x04 broken"])
def test_a_broken_bundle_cannot_be_checked(terminal: Terminal, content: bytes) -> None:
    (terminal.folder / "evidence.zip").write_bytes(content)
    assert "evidence.zip" in terminal.type("verify", str(terminal.folder / "evidence.zip"), expect=2)


def test_a_file_that_is_no_ledger_cannot_be_checked(terminal: Terminal) -> None:
    (terminal.folder / "ledger.sqlite").write_bytes(b"x" * 4096)
    assert "ledger" in terminal.type("verify", str(terminal.folder / "ledger.sqlite"), expect=2)


def test_a_key_line_that_is_none_is_refused(terminal: Terminal) -> None:
    terminal.type("init", expect=0)
    (terminal.folder / "evidence.zip").write_bytes(b"")
    assert terminal.type("verify", "--key", "rubbish", expect=2)


def test_an_export_must_end_in_zip(terminal: Terminal) -> None:
    assert "ends in .zip" in terminal.type("export", "evidence.tar", expect=2)


def test_models_are_listed_with_their_trust_and_shown_by_name(terminal: Terminal) -> None:
    listed = terminal.type("models", expect=0)
    assert "eastron-sdm630" in listed
    assert "eastron-sdm630, revision" in terminal.type("models", "show", "eastron-sdm630", expect=0)
    assert "Did you mean eastron-sdm630?" in terminal.type("models", "show", "eastron-sdm63", expect=2)


def test_a_plant_file_with_mistakes_is_told_with_its_line(terminal: Terminal) -> None:
    (terminal.folder / "plant.yaml").write_text("listen:\n  hall: {tcp: 127.0.0.1:0}\nmeters:\n  - {id: A, on: hal}\n", "utf-8")
    assert "plant.yaml:4" in terminal.type("simulate", "plant.yaml", expect=2)


def test_a_misspelt_verb_is_corrected(terminal: Terminal) -> None:
    result = CliRunner().invoke(main, ["verfy"])
    assert result.exit_code == 2
    assert "verify" in result.output


def test_a_misspelt_environment_variable_is_a_mistake(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERSEAL_STAT", "/somewhere")
    assert "Did you mean METERSEAL_STATE?" in terminal.type("check", expect=2)


def test_status_as_json_is_data(terminal: Terminal) -> None:
    import asyncio

    from agent.keys import load_key
    from agent.state import LEDGER_FILE
    from tests.agent.gateway import StillClock, begun

    terminal.site.write_text(terminal.site.read_text("utf-8"), "utf-8")
    terminal.type("init", expect=0)

    async def once() -> None:
        await (await begun(terminal.state / LEDGER_FILE, load_key(terminal.state), StillClock())).close()

    asyncio.run(once())
    seen = json.loads(terminal.type("status", "--json", expect=1))
    assert seen["records"] == 1
    assert (seen["meters"][0]["n"], seen["meters"][0]["gaps"], seen["live"]) == (None, [], None)


@pytest.fixture
def counted(terminal: Terminal) -> Terminal:
    """A terminal at a gateway with a day and a half of two meters, one of which was silent for three hours."""
    import asyncio

    from agent.state import LEDGER_FILE
    from tests.agent.desk import Desk
    from tests.agent.gateway import StillClock

    async def once() -> None:
        desk = await Desk(terminal.state / LEDGER_FILE, StillClock()).open(3_600_000, meters=("EM-001", "WM-1"))
        for hour in range(36):
            await desk.read(60 * hour, 3_600_000, "WM-1")
            await (desk.miss if hour in (3, 4, 5) else desk.read)(60 * hour, every_ms=3_600_000, meter="EM-001")
        await desk.ledger.close()

    terminal.state.mkdir()
    asyncio.run(once())
    return terminal


def test_completeness_counts_by_meter_and_day_and_complains_below_ninety_per_cent(counted: Terminal) -> None:
    said = counted.type("completeness", expect=1)
    lines = [line.split() for line in said.splitlines()]
    assert ["2026-03-01", "EM-001", "1", "h", "21", "24", "87.50", "LOW", "no_answer", "3"] in lines
    assert ["2026-03-02", "WM-1", "1", "h", "12", "12", "100.00"] in lines
    assert ["TOTAL", "2", "meters", "69", "72", "95.83", "no_answer", "3"] in lines
    assert "days of UTC" in said


def test_completeness_of_one_day_or_one_meter_of_a_path_that_is_given(counted: Terminal) -> None:
    ledger = str(counted.state / "ledger.sqlite")
    assert "EM-001" not in counted.type("completeness", "WM-1", ledger, expect=0)
    assert "2026-03-01" not in counted.type("completeness", "--day", "2026-03-02", ledger, expect=0)
    assert "2026-03-01" in counted.type("completeness", "--day", "2026-03-02", "--days", "2", ledger, expect=1)
    export = str(counted.folder / "evidence.zip")
    counted.type("export", export, expect=0)
    seen = json.loads(counted.type("completeness", export, "EM-001", "--json", expect=1))
    assert [(day["read"], day["expected"], day["missed"]) for day in seen["days"]] == [(21, 24, {"no_answer": 3}), (12, 12, {})]


def test_completeness_takes_the_sites_days_unless_another_zone_is_given(counted: Terminal) -> None:
    counted.site.write_text(counted.site.read_text("utf-8") + "timezone: Asia/Shanghai\n", "utf-8")
    assert "2026-03-01  WM-1       1 h    16   16  100.00" in counted.type("completeness", "WM-1", expect=0)
    assert "days of UTC" in counted.type("completeness", "WM-1", "--zone", "UTC", expect=0)
    assert "Did you mean Asia/Shanghai?" in counted.type("completeness", "--zone", "Asia/Shangai", expect=2)
    counted.site.unlink()
    assert "days of UTC" in counted.type("completeness", "WM-1", expect=0)


def test_completeness_of_a_meter_that_is_not_there_says_so(counted: Terminal) -> None:
    assert "Did you mean EM-001?" in counted.type("completeness", "EM-01", expect=2)
    assert "write ./state" in counted.type("completeness", "state", expect=2)
    assert "Give one file or directory, not 2" in counted.type("completeness", "./a", "./b", expect=2)
    assert "No poll was due on 2027-01-01" in counted.type("completeness", "--day", "2027-01-01", expect=0)


def test_status_shows_the_day_of_each_meter(counted: Terminal) -> None:
    said = counted.type("status", expect=1)
    assert "EM-001" in said
    assert "231.1 V" in said
    assert "agent       not running" in said


def test_a_certificate_that_has_expired_is_told_by_check_and_by_status(counted: Terminal) -> None:
    expired = "certificate: {number: DL2019-1, valid_until: 2025-06-30}}"
    counted.site.write_text(counted.site.read_text("utf-8").rstrip().removesuffix("}") + f", {expired}\n", "utf-8")
    told = "EM-001: its certificate DL2019-1 has expired on 2025-06-30: have the meter verified"
    assert told in counted.type("check", expect=0)
    assert told in counted.type("status", expect=1)
    assert json.loads(counted.type("status", "--json", expect=1))["papers"]["EM-001"].startswith("its certificate DL2019-1")


def test_a_broker_with_mqtt_3_1_1_is_warned_of_by_check_and_by_status(counted: Terminal) -> None:
    counted.site.write_text(counted.site.read_text("utf-8") + 'mqtt: [{host: 127.0.0.1, version: "3.1.1"}]\n', "utf-8")
    told = "MQTT 3.1.1 has no way to refuse"
    assert told in counted.type("check", expect=0)
    assert told in counted.type("status", expect=1)
