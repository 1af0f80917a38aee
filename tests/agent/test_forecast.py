"""agent.forecast and agent.line_time: the time a line needs, computed by hand, and as the real link needs it."""

from __future__ import annotations

import time
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
from click.testing import CliRunner

from agent.cli import main
from agent.clock import Clock
from agent.forecast import BUSY, described, line_times
from agent.line_time import Asked, LineTime, exchange_bytes
from agent.link_settings import settings_of
from agent.plan import Plan
from agent.polled import Polled, polled_meters
from agent.simulate import Simulator
from config.check import SiteFile, load_site
from config.library import find_models, load_model
from config.mistake import ConfigError
from drivers import Driver, Request, load
from drivers.link import Link
from drivers.modbus_frame import answer_length
from tests.agent.gateway import StillClock
from tests.agent.plants import plant_of

# An SDM630 as its model has it: the registers 0 to 17, 52 to 61 and 72 to 79 in three reads of 8 bytes, with answers of
# 5 + 36, 5 + 20 and 5 + 16 bytes: 111 bytes on the wire. It wants 60 ms of silence in front of each request.
SDM630_BYTES = 3 * 8 + 41 + 25 + 21
SILENCE_9600 = 3.5 * 10 / 9600
SDM630_LEAST = SDM630_BYTES * 10 / 9600 + 3 * SILENCE_9600 + 3 * 0.060  # 0.307 s
SDM630_USUAL = SDM630_LEAST + 3 * 0.030  # 0.397 s

LINE = "{serial: /dev/ttyUSB0, baud: 9600, format: 8N1}"


def site_of(folder: Path, meters: list[str], link: str = LINE, every: str = "15s") -> SiteFile:
    """A site with SDM630s on one line; each of `meters` is what its entry has besides id, link and address."""
    entries = [
        f"  - {{id: M{number}, link: line1, model: eastron-sdm630, address: {number}{more and ', '}{more}}}"
        for number, more in enumerate(meters, 1)
    ]
    path = folder / "site.yaml"
    text = [f"gateway: plant/gw1\nevery: {every}\nlinks:\n  line1: {link}\nmeters:", *entries, ""]
    path.write_text("\n".join(text), "utf-8")
    return load_site(path)


def simulator_of(folder: Path, meters: list[dict[str, Any]], hall: dict[str, Any]) -> Simulator:
    models = {"eastron-sdm630": load_model(find_models([])["eastron-sdm630"])}
    return Simulator(plant_of(*meters, hall=hall), models, folder, StillClock())


def polled(site: SiteFile) -> dict[str, list[Polled]]:
    return {name: polled_meters(site, name) for name in site.site.links}


def line_of(site: SiteFile) -> LineTime:
    (line,) = line_times(site, polled(site))
    return line


def refused(site: SiteFile) -> str:
    with pytest.raises(ConfigError) as caught:
        line_times(site, polled(site))
    return str(caught.value)


# --- computed by hand -----------------------------------------------------------------------------------------


def test_one_meter_takes_its_bytes_its_silences_and_the_pause_it_asks_for(tmp_path: Path) -> None:
    line = line_of(site_of(tmp_path, [""]))
    assert line.round.least == pytest.approx(0.3065625)
    assert line.round.least == pytest.approx(SDM630_LEAST)
    assert line.round.usual == pytest.approx(0.3965625)
    assert line.busy.usual == pytest.approx(0.3965625 / 15)


def test_the_line_is_told_with_how_busy_it_is_and_where_it_would_not_fit(tmp_path: Path) -> None:
    # 12 x 0.3965625 = 4.76 s: 31.7 % of 15 s, 95.2 % of 5 s, too long for 1 s.
    said = described(line_of(site_of(tmp_path, [""] * 12)))
    assert said == [
        "line1: 12 meters, 9600 baud 8N1: 32 % busy every 15 s; at 1 s it would not fit",
        "  one round takes 4.8 s, at least 3.7 s (counted with 30 ms until a meter answers)",
    ]
    assert "\n".join(said) in (Path(__file__).parents[2] / "config" / "README.md").read_text("utf-8")


def test_where_every_interval_fits_nothing_is_said_of_a_shorter_one(tmp_path: Path) -> None:
    assert described(line_of(site_of(tmp_path, [""], every="15m")))[0] == "line1: 1 meter, 9600 baud 8N1: 1 % busy every 15 min"


def test_what_can_never_fit_is_refused_with_its_place_the_reason_and_what_helps(tmp_path: Path) -> None:
    # 30 x 0.3065625 = 9.20 s; with 30 ms a request 11.90 s: 79.3 % of 15 s, 2.98 lines of 80 % every 5 s.
    # No baud rate helps: at 115200 the pauses and answers still take 30 x 3 x 90 ms = 8.1 s.
    assert refused(site_of(tmp_path, [""] * 30, every="5s")) == (
        f"{tmp_path}/site.yaml:4:3 links.line1: there is no time for 30 meters every 5 s: asking all once takes at least 9.2 s "
        "(9600 baud 8N1), 184 % of the time there is; write  every: 15s  where it is shorter, list fewer quantities "
        "or spread the meters over 3 lines"
    )


def test_the_lowest_baud_rate_that_helps_is_advised(tmp_path: Path) -> None:
    # Every 3 s: at 1200 baud 3 x (1110 / 1200 + 3 x (29.2 + 60) ms) = 3.58 s at least; at 2400 as is usual
    # 3 x (1110 / 2400 + 3 x (14.6 + 60 + 30) ms) = 2.33 s, 77.6 % of 3 s.
    link = "{serial: /dev/ttyUSB0, baud: 1200, format: 8N1}"
    said = refused(site_of(tmp_path, [""] * 3, link=link, every="3s"))
    assert "(1200 baud 8N1), 120 % of the time there is" in said
    assert "set line and meters to 2400 baud, if all can" in said
    line = line_of(site_of(tmp_path, [""] * 3, link=link.replace("1200", "2400"), every="3s"))
    assert line.busy.usual == pytest.approx((1110 / 2400 + 3 * (35 / 2400 + 0.090)) * 3 / 3)
    assert line.busy.usual == pytest.approx(0.77625)


@pytest.mark.parametrize(
    ("count", "every", "advised"), [(30, "5s", "15s"), (200, "1s", "5m"), (4, "1s", "5s"), (1, "200ms", "1s")]
)
def test_the_shortest_interval_that_leaves_time_to_spare_is_advised(tmp_path: Path, count: int, every: str, advised: str) -> None:
    # As is usual they take 11.9, 79.3, 1.59 and 0.40 s: 79 %, 26 %, 32 % and 40 % of what is advised.
    assert f"write  every: {advised}  where" in refused(site_of(tmp_path, [""] * count, every=every))
    line = line_of(site_of(tmp_path, [""] * count, every=advised))
    assert line.busy.usual <= BUSY
    assert len(described(line)) == 2  # no warning


def test_nearly_no_time_left_is_no_mistake_but_a_warning_with_what_helps(tmp_path: Path) -> None:
    warning = described(line_of(site_of(tmp_path, [""] * 12, every="5s")))[2]
    # At 19200 baud: 12 x (1110 / 19200 + 3 x (1.82 + 60 + 30) ms) = 3.9994 s, 79.99 % of 5 s.
    assert warning == (
        "  more than 80 % busy: a silent meter or a repeated request is enough to miss polls (overrun); write  every: 10s  "
        "where it is shorter, set line and meters to 19200 baud, if all can, list fewer quantities or spread the meters "
        "over 2 lines"
    )


def test_what_fits_only_if_meters_are_quicker_than_usual_is_warned_of_as_missed_polls(tmp_path: Path) -> None:
    site = site_of(tmp_path, [""] * 3, every="1s")  # 0.92 s at least, 1.19 s as is usual
    said = described(line_of(site))
    assert said[0] == "line1: 3 meters, 9600 baud 8N1: 119 % busy every 1 s"
    assert said[2].startswith("  more than 80 % busy: polls will be missed (overrun); write  every: 5s  where it is shorter")


def test_over_modbus_tcp_an_answer_takes_5_ms_and_bytes_take_no_time(tmp_path: Path) -> None:
    line = line_of(site_of(tmp_path, [""] * 2, link="{tcp: 127.0.0.1:502}", every="1s"))
    assert line.round.least == pytest.approx(2 * 3 * 0.060)
    assert line.round.usual == pytest.approx(2 * 3 * (0.060 + 0.005))
    assert described(line) == [
        "line1: 2 meters, Modbus TCP: 39 % busy every 1 s",
        "  one round takes 0.39 s, at least 0.36 s (counted with 5 ms for each answer)",
    ]


def test_requests_that_a_meter_takes_together_share_a_round_trip() -> None:
    requests = [Request(bytes(12), 1.0, 0.010, 2.0, together=4) for _ in range(6)]
    need = Asked("M1", 15.0, "tcp", tuple((request, (9, 9)) for request in requests)).need
    assert (need.least, need.usual) == pytest.approx((2 * 0.010, 2 * 0.015))


def test_ascii_frames_are_twice_as_long(tmp_path: Path) -> None:
    # Requests of 17 characters, answers of 11 + 2 x 36, 11 + 2 x 20 and 11 + 2 x 16; 7E1 has 10 bits a character.
    characters = 3 * 17 + 83 + 51 + 43
    line = line_of(site_of(tmp_path, [""], link="{serial: /dev/ttyUSB0, framing: ascii, baud: 9600, format: 7E1}"))
    assert line.round.least == pytest.approx(characters * 10 / 9600 + 3 * SILENCE_9600 + 0.180)
    assert line.round.least == pytest.approx(0.4284375)


def test_a_parity_bit_counts(tmp_path: Path) -> None:
    line = line_of(site_of(tmp_path, [""], link="{serial: /dev/ttyUSB0, baud: 9600, format: 8E1}"))
    # 111 bytes and 3 silences of 3.5 characters have a bit more each.
    assert line.round.least == pytest.approx(SDM630_LEAST + (SDM630_BYTES + 3 * 3.5) / 9600)


def test_intervals_of_one_line_add_up(tmp_path: Path) -> None:
    # 2 x 0.3965625 s of 5 s are 15.86 %, 3 x 0.3965625 s of 15 min 0.13 %.
    line = line_of(site_of(tmp_path, ["every: 5s", "every: 5s", "", "", ""], every="15m"))
    assert line.busy.usual == pytest.approx(2 * SDM630_USUAL / 5 + 3 * SDM630_USUAL / 900)
    assert described(line) == [
        "line1: 5 meters, 9600 baud 8N1: 16 % busy (16 % every 5 s, 1 % every 15 min)",
        "  one round takes 2.0 s, at least 1.5 s (counted with 30 ms until a meter answers)",
    ]


def test_intervals_that_fit_by_themselves_and_not_together_are_refused(tmp_path: Path) -> None:
    # 2 x 0.3066 s of 1 s are 61.3 %, 7 x 0.3066 s of 5 s are 42.9 %.
    said = refused(site_of(tmp_path, ["every: 1s"] * 2 + [""] * 7, every="5s"))
    assert "there is no time for 2 meters every 1 s and 7 meters every 5 s: asking all once takes at least 2.8 s" in said
    assert "105 % of the time there is; write  every: 5s  where it is shorter" in said


def test_quantities_read_more_often_are_a_second_request_to_the_same_meter(tmp_path: Path) -> None:
    # active_power alone: 8 + 9 bytes, 17.7 ms, one silence, one pause: 81.4 ms and 30 ms of the meter. Without it the rest
    # is read in three requests as before, the second one only of the registers 60 and 61: 16 bytes less.
    site = site_of(tmp_path, ["fast: {every: 1s, quantities: [active_power]}"], every="15m")
    line = line_of(site)
    fast = 17 * 10 / 9600 + SILENCE_9600 + 0.060
    rest = SDM630_LEAST - 16 * 10 / 9600
    assert line.busy.least == pytest.approx(fast + rest / 900)
    assert described(line)[0] == "line1: 1 meter, 9600 baud 8N1: 12 % busy (12 % every 1 s, 1 % every 15 min)"


COLLIDING = "has to wait too long and misses polls (overrun); give it a line of its own, or read it less often"


@pytest.mark.parametrize(("slow", "warned"), [(80, False), (150, True)])
def test_meters_that_are_due_at_once_with_too_many_others_are_warned_of(tmp_path: Path, slow: int, warned: bool) -> None:
    # What is due at the quarter hour is to be dealt with in a minute: with 60 polls of the first meter, 23.8 s, the others'
    # 31.7 s fit, 59.5 s do not.
    said = described(line_of(site_of(tmp_path, ["every: 1s", *[""] * slow], every="15m")))
    assert said[2:] == [f"  when all meters are due at once, what is read every 1 s {COLLIDING}"] * warned


@pytest.mark.parametrize(("every", "warned"), [("250ms", True), ("320ms", False)])
def test_a_quantity_read_more_often_than_another_answer_takes_is_warned_of(tmp_path: Path, every: str, warned: bool) -> None:
    # active_power by itself takes 17.7 + 3.6 + 60 + 30 = 111 ms; the longest of the other requests, 49 bytes, 145 ms.
    site = site_of(tmp_path, [f"fast: {{every: {every}, quantities: [active_power]}}"], every="15m")
    said = described(line_of(site))
    assert (
        said[2:] == [f"  when all meters are due at once, what is read every {float(every[:-2]) / 1000} s {COLLIDING}"] * warned
    )


@pytest.mark.parametrize("link", ["{tcp: 127.0.0.1:4001, framing: rtu}", '{serial: "socket://127.0.0.1:4001"}'])
def test_behind_a_serial_server_bytes_are_not_counted_and_it_is_said(tmp_path: Path, link: str) -> None:
    line = line_of(site_of(tmp_path, [""] * 2, link=link, every="5s"))
    assert line.round.least == pytest.approx(2 * 3 * 0.060)
    assert line.round.usual == pytest.approx(2 * 3 * 0.090)
    assert described(line)[0] == (
        "line1: 2 meters, behind a serial server: 11 % busy every 5 s without the time of the bytes, "
        "16 % if the server is set to 9600 baud 8N1"
    )


def test_a_baud_rate_that_the_site_states_for_a_serial_server_is_counted(tmp_path: Path) -> None:
    link = '{serial: "socket://127.0.0.1:4001", baud: 9600, format: 8N1}'
    assert line_of(site_of(tmp_path, [""], link=link)).round.least == pytest.approx(SDM630_LEAST)


# --- other protocols ------------------------------------------------------------------------------------------


def test_an_answer_whose_length_no_driver_tells_is_not_held_against_a_site_but_warned_of() -> None:
    request = Request(b"\x10\x7b\x05\x80\x16", 0.3, 0.0, 1.0, longest_bytes=261)
    assert exchange_bytes(cast("Driver", ModuleType("telling_no_length")), request, "own") == (1, 261)
    assert exchange_bytes(load("modbus"), request, "rtu") == (1, 261)  # no read of Modbus either
    line = LineTime.of("line1", [Asked("M1", 900.0, "own", ((request, (1, 261)),), baud=2400, character="8E1")])
    # (5 + 261) x 11 / 2400 + 2 x 16.04 ms + 30 ms = 1.28 s; with one byte instead 0.06 s.
    assert described(line)[1] == (
        "  one round takes 1.3 s, at least 0.06 s (counted with 30 ms until a meter answers and answers at their longest)"
    )


def test_an_answer_that_could_be_endless_is_counted_with_a_thousand_bytes() -> None:
    request = Request(b"", 15.0, 0.0, 15.0, longest_bytes=16384)
    assert exchange_bytes(cast("Driver", ModuleType("telling_no_length")), request, "own") == (1, 1000)


def test_a_request_at_a_speed_of_its_own_is_counted_at_it() -> None:
    # 18 characters of 7E1 (10 bits) at 300 baud, the answer of 500 at 9600 baud; two silences of the line's 9600 baud 8E1.
    request = Request(b"\x06050\r\n".ljust(18), 1.0, 0.0, 2.0, baud=300, character="7E1", answer_baud=9600)
    need = Asked("M1", 900.0, "own", ((request, (500, 500)),), baud=9600, character="8E1").need
    assert need.least == pytest.approx(18 * 10 / 300 + 500 * 10 / 9600 + 2 * 3.5 * 11 / 9600)
    assert need.usual == pytest.approx(need.least + 0.030)


def test_wake_up_bytes_take_their_time_and_the_silence_behind_them() -> None:
    request = Request(bytes(66), 1.5, 0.0, 1.5, silent=True)
    assert exchange_bytes(load("modbus"), request, "own") == (0, 0)
    need = Asked("M1", 900.0, "own", ((request, (0, 0)),), baud=300, character="7E1").need
    assert need.least == need.usual == pytest.approx(66 * 10 / 300 + 1.5 + 35 / 300)


# --- the commands ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["check", "run"])
def test_check_and_run_both_refuse_what_cannot_fit(tmp_path: Path, verb: str) -> None:
    site = site_of(tmp_path, [""] * 30, every="5s")
    done = CliRunner().invoke(main, [verb, "--site", str(site.path), "--state", str(tmp_path / "state")])
    assert done.exit_code == 2
    assert "links.line1: there is no time for 30 meters every 5 s" in done.output
    assert not (tmp_path / "state").exists()


def test_check_tells_each_line_under_what_it_told_before(tmp_path: Path) -> None:
    site = site_of(tmp_path, [""] * 12)
    done = CliRunner().invoke(main, ["check", "--site", str(site.path)])
    assert done.exit_code == 0
    assert done.output.splitlines()[-2:] == described(line_of(site))


# --- against the real link ------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [LINE, "{tcp: 127.0.0.1:502}"])
def test_what_is_counted_is_what_the_poller_asks(tmp_path: Path, where: str) -> None:
    names = ["abb-b23", "tuf-2000m", "carlo-gavazzi-em340", "siemens-pac3200", "wirenboard-wb-mcm8"]
    entries = [f"  - {{id: {name}, link: line1, model: {name}, address: {number}}}" for number, name in enumerate(names, 1)]
    path = tmp_path / "site.yaml"
    path.write_text("\n".join([f"gateway: plant/gw1\nlinks:\n  line1: {where}\nmeters:", *entries, ""]), "utf-8")
    site = load_site(path)
    meters = polled(site)["line1"]
    hole = settings_of(site, "line1").hole_bytes
    for asked, meter in zip(line_of(site).asked, meters, strict=True):
        assert asked.meter == meter.id
        assert [request for request, _ in asked.exchanges] == Plan(meter.driver, meter.target, meter.points, hole).requests()


@pytest.mark.parametrize("framing", ["tcp", "rtu", "ascii"])
async def test_answers_have_the_length_that_was_foretold(tmp_path: Path, framing: str) -> None:
    meter = {"model": "eastron-sdm630", "address": "1"}
    async with simulator_of(tmp_path, [meter], {"tcp": "127.0.0.1:0", "framing": framing}) as simulator:
        times = "timeout_ms: 1000, longest_answer_ms: 10" if framing == "tcp" else "timeout_ms: 10, longest_answer_ms: 10"
        site = site_of(tmp_path, [""], link=f'{{tcp: "{simulator.address_of("hall")}", framing: {framing}, {times}}}')
        (meter_polled,) = polled(site)["line1"]
        link = Link(settings_of(site, "line1"), Clock())
        await link.open()
        for request in meter_polled.driver.requests(meter_polled.target, meter_polled.points):
            exchange = await link.exchange(meter_polled.driver, request)
            assert exchange.error is None
            assert answer_length(exchange.request, framing) == len(exchange.answer)
        await link.close()


async def test_a_round_on_a_simulated_line_takes_as_long_as_foretold(tmp_path: Path) -> None:
    # The simulated line moves 11 bits a character and its meters take 30 ms. A busy machine only makes a round longer:
    # of three rounds none may be quicker than can be, and one must be as quick as is usual.
    meters = [{"id": f"M{n}", "model": "eastron-sdm630", "address": str(n), "answer_ms": 30} for n in (1, 2)]
    async with simulator_of(tmp_path, meters, {"pty": "line-1", "baud": 9600}) as simulator:
        where = f"serial: {simulator.address_of('hall')}, baud: 9600, format: 8N1, timeout_ms: 500, longest_answer_ms: 10"
        site = site_of(tmp_path, ["", ""], link=f"{{{where}}}")
        line = line_of(site)
        link = Link(settings_of(site, "line1"), Clock())
        await link.open()
        took = [await seconds_of_a_round(link, polled(site)["line1"]) for _ in range(4)][
            1:
        ]  # the first one waits after the start
        await link.close()
    assert min(took) > line.round.least
    assert min(took) < 1.3 * line.round.usual, f"{took}: or is the machine too busy for any test of time?"


async def seconds_of_a_round(link: Link, meters: list[Polled]) -> float:
    begun = time.monotonic()
    for meter in meters:
        for request in Plan(meter.driver, meter.target, meter.points, link.settings.hole_bytes).requests():
            exchange = await link.exchange(meter.driver, request)
            assert exchange.error is None
    return time.monotonic() - begun
