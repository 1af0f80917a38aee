"""agent.status: how things stand, from the ledger alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from agent import status as module
from agent.condition import Delivery
from agent.cosignature import cosign, witness_key
from agent.faults import FAULTS
from agent.state import only_agent
from agent.status import MeterStatus, Status, status_of
from agent.status_text import as_text, notes
from config.check import SiteFile, load_site
from config.language import CHINESE, speaking
from tests.agent.desk import EVERY_MS, FAST_MS, Desk
from tests.agent.gateway import SECOND, StillClock, new_key

SITE = """\
gateway: plant/gw1
timezone: Asia/Shanghai
every: 1m
links:
  line-1: {tcp: "127.0.0.1:502"}
  line-2: {tcp: "127.0.0.1:503"}
meters:
  - {id: EM-1, link: line-1, model: eastron-sdm120, address: 1}
  - {id: EM-2, link: line-2, model: eastron-sdm120, address: 1, fast: {every: 10s, quantities: [active_power]}}
mqtt:
  - {name: cloud, host: broker.example}
"""
MIDNIGHT = 960  # minutes after the desk's beginning, 08:00 in Shanghai, that midnight comes there
SCHEDULES = {"EM-1": (EVERY_MS,), "EM-2": (EVERY_MS, FAST_MS)}


class Office:
    """A desk, the site file of its plant, and somebody who asks for the status."""

    def __init__(self, folder: Path, desk: Desk) -> None:
        self.desk = desk
        self.state = folder
        (folder / "site.yaml").write_text(SITE, "utf-8")
        self.site: SiteFile = load_site(folder / "site.yaml")

    def status(self, minute: float | None = None, live: dict[str, Any] | None = None) -> Status:
        """The status at a minute, else at the desk's present."""
        if minute is not None:
            self.desk.at(minute)
        with self.desk.past() as past:
            return status_of(past, self.site, self.state, self.desk.clock.wall_ns, live)

    def meter(self, name: str = "EM-1", minute: float | None = None) -> MeterStatus:
        return next(each for each in self.status(minute).meters if each.meter == name)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    desk = await Desk(tmp_path / "ledger.sqlite", StillClock()).open(schedules=SCHEDULES)
    yield Office(tmp_path, desk)
    await desk.ledger.close()


# --- a meter's day --------------------------------------------------------------------------------------------


async def test_a_meter_that_was_never_read_says_so(office: Office) -> None:
    seen = office.status()
    assert [(each.n, each.gaps, each.read_at, each.ok) for each in seen.meters] == [(None, (), "", False)] * 2
    assert notes(seen) == {"EM-1": "not read yet", "EM-2": "not read yet"}
    assert (seen.meters[0].today.expected, seen.meters[0].today.available_percent) == (0, None)


async def test_the_day_begins_at_the_sites_midnight(office: Office) -> None:
    for minute in range(MIDNIGHT - 3, MIDNIGHT + 4):
        await office.desk.read(minute)
    today = office.meter().today
    assert (today.read, today.expected, today.completeness_percent) == (4, 4, "100.00")
    assert office.status().since == "2026-03-01T16:00:00.000Z"
    assert "TODAY: from 00:00:00 to 00:03:00, Asia/Shanghai." in as_text(office.status())


async def test_missed_polls_are_counted_by_cause_and_less_than_ninety_per_cent_is_marked(office: Office) -> None:
    for minute in range(8):
        await office.desk.read(minute)
    await office.desk.miss(8)
    await office.desk.read(10)
    today = office.meter().today
    assert (today.read, today.missed, today.completeness_percent, today.low) == (9, {"no_answer": 2}, "81.81", True)
    line = next(line for line in as_text(office.status()).splitlines() if "81.81" in line)
    assert line.split()[:5] == ["EM-1", "9", "11", "81.81", "LOW"]
    assert line.endswith("no answer 2; no answer 1"), "two polls, and of the silence one frame is sealed"


async def test_answer_times_are_those_of_good_frames(office: Office) -> None:
    for minute in range(200):
        office.desk.at(minute)
        await office.desk.answered(minute, ms=1 + minute, damaged=1 if minute in (3, 7) else 0)
    today = office.meter().today
    assert (today.answer_ms_p50, today.answer_ms_p99) == (100, 198)
    assert (today.frames_good, today.frames_damaged, today.frames_silent, today.faults) == (200, 2, 0, {"bad_checksum": 2})


async def test_a_silent_frame_is_not_a_damaged_one(office: Office) -> None:
    await office.desk.miss(0)
    await office.desk.read(1)
    today = office.meter().today
    assert (today.frames_good, today.frames_damaged, today.frames_silent, today.faults) == (1, 0, 1, {"no_answer": 1})


async def test_a_meter_is_available_while_it_is_in_no_gap(office: Office) -> None:
    for minute in range(60):
        await (office.desk.miss(minute) if 15 <= minute < 30 else office.desk.read(minute))
    office.desk.at(60)
    await office.desk.read(60)
    assert office.meter().today.available_percent == "75.00"


async def test_a_meter_with_two_schedules_is_away_while_one_of_them_is(office: Office) -> None:
    for minute in range(11):
        await office.desk.read(minute, meter="EM-2")
        for part in range(6):
            at = minute + part / 6
            if 4 <= minute < 6:
                await office.desk.miss(at, every_ms=FAST_MS, meter="EM-2")
            else:
                await office.desk.read(at, FAST_MS, "EM-2")
            if minute == 10:
                break
    today = office.meter("EM-2").today
    assert today.available_percent == "80.00"
    assert (today.read, today.expected) == (11 + 49, 11 + 61)


# --- gaps -----------------------------------------------------------------------------------------------------


async def test_an_open_gap_is_told_in_words_with_the_sites_time(office: Office) -> None:
    await office.desk.read(0)
    await office.desk.miss(1)
    await office.desk.read(30, meter="EM-2")
    await office.desk.read(30, FAST_MS, "EM-2")
    assert notes(office.status()) == {"EM-1": "no reading since 08:01:00: no answer, 30 polls missed [MS-204]", "EM-2": ""}


async def test_a_gap_of_one_schedule_of_two_says_which(office: Office) -> None:
    await office.desk.read(0, meter="EM-2")
    await office.desk.miss(0, every_ms=FAST_MS, meter="EM-2")
    assert notes(office.status())["EM-2"] == "no reading every 10 s since 08:00:00: no answer, 1 poll missed [MS-204]"
    assert office.meter("EM-2").n is not None
    assert not office.meter("EM-2").ok


async def test_a_gap_goes_on_while_the_agent_runs_although_nothing_is_sealed(office: Office) -> None:
    await office.desk.read(0)
    await office.desk.miss(1)
    assert office.meter(minute=120).gaps[0].missed == 1
    with only_agent(office.state):
        assert office.status().running
        assert office.meter().gaps[0].missed == 120
        assert office.meter().today.missed == {"no_answer": 120}


async def test_a_gap_since_yesterday_is_told_with_its_date(office: Office) -> None:
    await office.desk.read(MIDNIGHT - 2)
    await office.desk.miss(MIDNIGHT - 1)
    await office.desk.read(MIDNIGHT + 5, meter="EM-2")
    seen = office.status()
    assert notes(seen)["EM-1"] == "no reading since 2026-03-01 23:59:00: no answer, 7 polls missed [MS-204]"
    today = seen.meters[0].today
    assert (today.missed, today.available_percent) == ({"no_answer": 6}, "0.00")


async def test_a_gap_without_a_record_for_days_is_still_this_days_gap(office: Office) -> None:
    await office.desk.read(0)
    await office.desk.miss(1)
    office.desk.at(5 * 1440 + MIDNIGHT + 10)
    with only_agent(office.state):
        seen = office.status()
    assert seen.meters[0].today.missed == {"no_answer": 11}
    assert seen.meters[0].age_s == (5 * 1440 + MIDNIGHT + 10) * 60
    assert "2026-03-01 08:00:00" in as_text(seen), "the last reading"


# --- values, lines, delivery ----------------------------------------------------------------------------------


async def test_the_newest_values_of_both_schedules_are_shown(office: Office) -> None:
    await office.desk.read(0, meter="EM-2")
    for part in range(1, 30):
        await office.desk.read(part / 6, FAST_MS, "EM-2")
    meter = office.meter("EM-2")
    assert meter.values == ("231.1 V", "231.1 V")
    assert (meter.age_s, meter.read_at) == (0, "2026-03-01T00:04:50.000Z")


async def test_how_busy_a_line_was_is_counted_over_the_last_hour(office: Office) -> None:
    for minute in range(120):
        office.desk.at(minute)
        await office.desk.answered(minute, ms=600)
        await office.desk.answered(minute, ms=300, meter="EM-2")
    office.desk.at(120 - 1 / 60)
    busy = {each.line: each.busy_percent for each in office.status().lines}
    assert busy == {"line-1": "1.01", "line-2": "0.50"}, "61 times 0.6 s from 08:59 to 09:59 in 3600 s"
    assert "from sealed frames" in as_text(office.status())


async def test_what_the_running_agent_tells_of_its_lines_is_shown_beside(office: Office) -> None:
    live = {"links": {"line-1": {"busy_percent": 37, "waiting": 2, "overruns": 5, "open": True, "meters": {}}}}
    seen = office.status(live=live)
    text = as_text(seen)
    assert "line-1  0.00 %  37 %        2         5" in text
    assert "told by the running agent" in text
    assert "told by the running agent" not in as_text(office.status())
    assert json.loads(json.dumps(seen.as_json()))["live"] == live


async def test_what_is_delivered_is_told(office: Office) -> None:
    assert "cloud       nothing yet, 4 waiting" in as_text(office.status())
    office.desk.ledger.delivered("cloud", 3)
    await office.desk.read(0)
    assert "cloud       up to record 2, 2 waiting" in as_text(office.status())
    assert "counted by the broker's acknowledgements" in as_text(office.status())


async def test_what_is_in_the_way_of_the_delivery_is_told_with_what_to_do(office: Office) -> None:
    def told(**what: Any) -> str:
        return as_text(
            office.status(live={"brokers": {"cloud": asdict(replace(Delivery("cloud", connected=True, waiting=4), **what))}})
        )

    refused = told(connected=False, why="the broker says no", hint="Ask it.", fault="MS-503")
    assert "broker does not let us in: the broker says no [MS-503]" in refused
    assert "            -> Ask it.\n" in f"{refused}\n"
    with speaking(CHINESE):
        assert f"{FAULTS['MS-503'].title}:" not in told(connected=False, why="the broker says no", hint="Ask it.", fault="MS-503")
    late = {"collector": "plant-it/collector", "behind_s": 40.0}
    assert "no receipt for 4 records that the broker has taken" in told(**late)
    assert "->" not in told(**late, untaken=4)
    assert "->" not in told()


async def test_how_far_each_witness_has_seen_the_log_is_told(office: Office) -> None:
    plant_it, office_line, stranger = new_key(), new_key(), new_key()
    keys = (witness_key("plant-it", plant_it.public), witness_key("head-office", office_line.public))
    declared = office.site.site.model_copy(update={"witnesses": keys})
    office.site = replace(office.site, site=declared)
    assert "witness     plant-it has cosigned nothing yet: all 4 records rest on the gateway's own key" in as_text(
        office.status()
    )
    ledger, now = office.desk.ledger, office.desk.clock.wall_ns // SECOND
    await ledger.checkpoint()
    with office.desk.past() as past:
        note = past.newest_checkpoint()
    assert note
    for key, seconds in ((plant_it, now), (plant_it, now + 30), (stranger, now + 60)):
        await ledger.keep_cosignature(4, "plant-it", seconds, cosign(note, "plant-it", key, seconds))
    await office.desk.read(4)
    seen = office.status(minute=5)
    told = as_text(seen)
    assert [(each.witness, each.size, each.tail) for each in seen.witnessed] == [("plant-it", 4, 1), ("head-office", 0, 5)]
    assert "plant-it has cosigned the first 4 records, 4 min ago; 1 behind them not yet" in told
    assert "head-office has cosigned nothing yet" in told
    assert seen.as_json()["witnessed"][0]["age_s"] == 270
    with speaking(CHINESE):
        assert "plant-it 已联署前 4 条记录（4 min 前）；其后 1 条尚未联署" in as_text(office.status(minute=5))
    office.site = replace(office.site, site=declared.model_copy(update={"witnesses": ()}))
    assert "witness " not in as_text(office.status(minute=5))


async def test_everything_is_well_when_the_agent_runs_and_every_meter_is_read(office: Office) -> None:
    await office.desk.read(0)
    await office.desk.read(0, meter="EM-2")
    await office.desk.read(0, FAST_MS, "EM-2")
    assert not office.status().ok
    with only_agent(office.state):
        assert office.status().ok
        await office.desk.miss(1)
        assert not office.status().ok


async def test_of_too_many_records_only_the_newest_are_looked_at_and_that_is_said(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minute in range(100):
        await office.desk.read(minute)
    assert not office.status().cut
    monkeypatch.setattr(module, "_MOST_RECORDS", 40)
    seen = office.status()
    assert (seen.cut, seen.since, seen.meters[0].today.read) == (True, "2026-03-01T01:00:00.000Z", 40)
    assert "TODAY: from 09:00:00 to 09:39:00, Asia/Shanghai (not from midnight: there are too many records" in as_text(seen)


async def test_a_meters_own_letters_cannot_write_on_the_terminal(office: Office) -> None:
    await office.desk.read(0)
    assert all(letter.isprintable() or letter == "\n" for letter in as_text(office.status()))
