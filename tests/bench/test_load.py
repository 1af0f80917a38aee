"""tests/bench/load: that it counts what it says, on a plant of its own size."""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path

import pytest

from config.check import load_site
from drivers import Target, load
from drivers.formula import evaluate
from tests.bench import load as bench
from tests.bench import load_run
from tests.bench.load_plant import Plant, served, write_site
from tests.bench.load_run import Outcome

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is missing: apt install gcc libc6-dev")
needs_broker = pytest.mark.skipif(
    not (shutil.which("mosquitto", path="/usr/bin:/usr/sbin:/usr/local/sbin") and shutil.which("mosquitto_sub")),
    reason="mosquitto is missing: apt install mosquitto mosquitto-clients",
)


def asked(port: int, *requests: bytes) -> list[bytes]:
    """The answers of the C server, each a whole frame."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection, connection.makefile("rb") as stream:
        connection.sendall(b"".join(requests))
        answers = []
        for _ in requests:
            head = stream.read(6)
            answers.append(head + stream.read(int.from_bytes(head[4:], "big")))
        return answers


@needs_gcc
def test_every_point_of_the_plants_model_has_a_plausible_value_in_what_its_meters_answer(tmp_path: Path) -> None:
    driver = load("modbus")
    with served(2, tmp_path) as ports:
        site = load_site(write_site(Plant("here", meters=4, values=100, every_ms=1000, links=2), ports, 1883, tmp_path))
        model = site.model_of(site.site.meters[0]).declared
        values = {}
        for port in ports:
            for unit in ("1", "2"):
                target = Target(model, unit, "tcp")
                requests = [request.data for request in driver.requests(target, model.points)]
                answers = asked(port, *requests)
                for request, answer in zip(requests, answers, strict=True):
                    driver.check(request, answer, "tcp")
                values[port, unit] = [
                    evaluate(driver.locate(target, requests, point, answers), answers).value for point in model.points
                ]
    assert len({tuple(each) for each in values.values()}) == 4
    bounds = {"temperature": (0, 409.5), "active_energy_import": (0, 42_949_672.95), "current": (128, 256)}
    for each in values.values():
        for point, value in zip(model.points, each, strict=True):
            low, high = bounds[point.quantity.split(".")[0]]
            assert value is not None
            assert low <= float(value) <= high


@needs_gcc
def test_the_meters_values_change_and_what_is_no_read_is_refused(tmp_path: Path) -> None:
    read = bytes.fromhex("000100000006 01 03 0000 000a")
    with served(1, tmp_path) as (port,):
        before = asked(port, read)
        deadline = time.monotonic() + 5
        while asked(port, read) == before:
            assert time.monotonic() < deadline
        refused = [
            bytes.fromhex("000200000006 01 06 0000 0001"),
            bytes.fromhex("000300000006 01 03 0000 007e"),
            bytes.fromhex("000400000006 01 03 ffff 0002"),
        ]
        assert [answer[7:] for answer in asked(port, *refused)] == [b"\x86\x01", b"\x83\x03", b"\x83\x02"]


def outcome(read: int, planned: int = 1000, behind: int = 0) -> Outcome:
    made = Outcome(Plant("here", meters=100, values=10, every_ms=1000, links=1), seconds=10.0)
    made.planned, made.read, made.behind = planned, read, behind
    return made


def test_a_rate_is_sustained_only_if_it_is_both_read_and_delivered() -> None:
    assert bench.sustained(outcome(990, behind=297))
    assert not bench.sustained(outcome(989))
    assert not bench.sustained(outcome(1000, behind=301))


@pytest.mark.parametrize(
    ("bearable", "tried", "found"),
    [(110, [20, 40, 80, 160, 120, 100], 100), (159, [20, 40, 80, 160, 120, 140], 140), (19, [20], 0)],
)
def test_the_search_doubles_until_it_is_too_much_and_then_halves_the_rest_twice(
    bearable: int, tried: list[int], found: int
) -> None:
    asked_for: list[int] = []

    def keeps_up(meters: int) -> bool:
        asked_for.append(meters)
        return meters <= bearable

    assert bench.most(20, keeps_up) == found
    assert asked_for == tried


def test_instants_of_a_gap_count_only_inside_the_measured_time() -> None:
    assert load_run._instants(since=0, until=5000, begin=2000, end=10_000, every=1000) == 3
    assert load_run._instants(since=8000, until=20_000, begin=2000, end=10_000, every=1000) == 2
    assert load_run._instants(since=12_000, until=20_000, begin=2000, end=10_000, every=1000) == 0


@needs_gcc
@needs_broker
def test_a_small_plant_is_read_sealed_and_delivered_without_a_hole() -> None:
    """Takes about seven seconds: the agent is started and runs."""
    measured = load_run.run(Plant("small", 4, 20, 500, 2, commit_seconds=0.1), 1.5, settle=1.0, grace=1.0)
    assert (measured.planned, measured.read, measured.told) == (12, 12, 0)
    assert measured.delivered == measured.readings >= 12
    assert measured.sealed > measured.readings
    assert measured.cpu > 0
    assert len(measured.memory) == 3
