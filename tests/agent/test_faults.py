"""agent.faults: codes that stand for ever, for every warning and error, each explained."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent import faults, journal
from agent.cli import main
from agent.fault_text import PAGES, fault_page
from config.language import speaking
from drivers import errors

ROOT = Path(__file__).parents[2]
_TOLD = re.compile(r'log\.(warning|error|critical)\(\s*"([a-z_.]+)"')


def test_every_warning_and_error_of_the_journal_has_a_code() -> None:
    told = {name for path in (ROOT / "agent").glob("*.py") for _, name in _TOLD.findall(path.read_text("utf-8"))}
    assert told - set(faults.EVENTS) == set(), "give each a code in agent/faults.py EVENTS"
    assert set(faults.EVENTS) - told == set(), "nothing tells these any more"
    assert set(faults.EVENTS) <= set(journal.EVENTS)


def test_codes_that_events_and_causes_lead_to_are_in_the_registry() -> None:
    named = set(faults.EVENTS.values()) | set(faults.CAUSES.values())
    for folder in ("agent", "config", "drivers"):
        for path in (ROOT / folder).glob("*.py"):
            named |= set(re.findall(r'"(MS-\d{3})"|\[(?:MS-\d{3})\]', path.read_text("utf-8"))) - {""}
    assert named - set(faults.FAULTS) == set()


def test_every_code_belongs_to_a_group_and_is_complete() -> None:
    assert list(faults.FAULTS) == sorted(faults.FAULTS)
    for code, fault in faults.FAULTS.items():
        assert re.fullmatch(r"MS-[1-9]\d\d", code)
        assert code[:4] + "xx" in faults.GROUPS
        assert fault.causes
        for text in (fault.first, fault.symptom, fault.measure, *fault.causes):
            assert text.endswith((".", "?")), text
        assert not fault.title.endswith(".")


@pytest.mark.parametrize(("language", "name"), PAGES.items())
def test_the_page_is_the_one_that_the_registry_writes(language: str, name: str) -> None:
    with speaking(language):
        assert (ROOT / "docs" / name).read_text("utf-8") == fault_page(faults.FAULTS), "write it anew: python -m agent.fault_text"


@pytest.mark.parametrize("typed", ["MS-204", "ms-204", "204", "MS204", " ms 204 "])
def test_a_code_is_found_as_people_type_it(typed: str) -> None:
    assert faults.fault_of(typed) is faults.FAULTS["MS-204"]


def test_the_verb_explains_a_code_and_lists_all() -> None:
    told = CliRunner().invoke(main, ["fault", "MS-204"])
    fault = faults.FAULTS["MS-204"]
    assert told.exit_code == 0
    for text in ("MS-204 meter silent", fault.first, fault.symptom, *fault.causes, fault.measure):
        assert text in told.output
    listed = CliRunner().invoke(main, ["fault"]).output
    assert [code for code in faults.FAULTS if code not in listed] == []
    refused = CliRunner().invoke(main, ["fault", "MS-240"])
    assert refused.exit_code == 2
    assert "There is no fault code MS-240. See them all: meterseal fault" in refused.output
    assert refused.output.endswith("[MS-901]\n")


def test_an_error_on_the_way_to_a_meter_has_the_code_of_its_cause_else_of_its_kind() -> None:
    assert faults.code_of_error(errors.BadFrame("bad_checksum", "")) == "MS-205"
    assert faults.code_of_error(errors.NoAnswer("gateway_target", "")) == "MS-209"
    assert faults.code_of_error(errors.NoAnswer("other", "")) == "MS-204"
    assert faults.code_of_error(errors.Refused("exception_9", "")) == "MS-207"
    assert faults.code_of_error(errors.BadFrame("other", "")) == "MS-206"
    assert faults.code_of_error(errors.LinkDown("no_port", "")) == "MS-201"


def test_of_an_event_with_a_cause_the_cause_decides() -> None:
    assert faults.code_of_event("meter.silent", {"cause": "bad_checksum"}) == "MS-205"
    assert faults.code_of_event("meter.silent", {"cause": "no_answer"}) == "MS-204"
    assert faults.code_of_event("link.down", {"cause": "no_port"}) == "MS-201"
    assert faults.code_of_event("agent.started", {}) == ""
