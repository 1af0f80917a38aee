"""agent.poll: meters are asked when they are due, and whatever happens on the wire ends in the book."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from agent import draft
from agent.book import Book
from agent.ledger_file import LedgerReader
from agent.poll import LinkPoller
from agent.polled import Polled
from agent.record import parse
from agent.seal import base64url
from agent.simulate import Simulator
from config.site import Meter
from drivers import Target, load
from drivers.link import Link, LinkSettings
from tests.agent.gateway import FastClock, begun, new_key
from tests.agent.heard import Heard
from tests.agent.plants import models, simulator_of

SPEED = 20.0
PATIENCE = 20.0


class Gateway:
    """One link's poller on a real ledger, against simulated meters, with a clock that runs twenty times as fast."""

    every_ms = 1000
    commit_seconds = 0.0

    def __init__(self, directory: Path, simulator: Simulator, settings: LinkSettings, plates: dict[str, str]) -> None:
        self.path = directory / "ledger.sqlite"
        self.simulator = simulator
        self.settings = settings
        self.plates = plates
        self.told: list[dict[str, Any]] = []
        self.clock = FastClock(SPEED)
        self.log = structlog.wrap_logger(None, processors=[self._tell])

    def _tell(self, _: Any, level: str, event: dict[str, Any]) -> Any:
        self.told.append(event)
        raise structlog.DropEvent

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator["Gateway"]:
        self.ledger = await begun(self.path, new_key(), self.clock, self.commit_seconds)
        self.past = LedgerReader(self.path)
        book = Book(self.ledger, self.clock, self.log)
        poller = LinkPoller(
            Link(self.settings, self.clock), [await self._polled(book, m) for m in self.plates], self.clock, book, self.log
        )
        task = asyncio.create_task(poller.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.past.close()
            await self.ledger.close()

    async def _polled(self, book: Book, meter: str) -> Polled:
        simulated = next(each for each in self.simulator.plant.meters if each.id == meter)
        model = models()[simulated.model]
        declared = Meter(id=meter, link="hall", model=simulated.model, address=str(simulated.address), serial=self.plates[meter])
        points = tuple(point for point in model.declared.points if point.default)
        schedules = [(self.every_ms, [point.quantity for point in points])]
        fields = draft.declaration(declared, model, self.settings.framing, schedules)
        leaf = (await self.ledger.append(draft.declared(self.clock, fields)))[0].leaf
        book.enter(meter, book.resumed(meter, self.plates[meter], base64url(leaf), [self.every_ms], self.past))
        return Polled(
            meter, load("modbus"), Target(model.declared, str(simulated.address), self.settings.framing), points, self.every_ms
        )

    def records(self, meter: str, kind: str | None = None) -> list[dict[str, Any]]:
        return [parse(payload) for _, payload in self.past.meter_records(meter, kind)]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.told if event["event"] == name]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.005)


@asynccontextmanager
async def gateway(
    directory: Path, *meters: dict[str, Any], timeout_s: float = 0.2, every_ms: int = 1000, **plates: str
) -> AsyncIterator[Gateway]:
    async with simulator_of(directory, *meters, hall={"tcp": "127.0.0.1:0", "framing": "rtu"}) as simulator:
        settings = LinkSettings(
            "hall", "rtu", tcp=simulator.address_of("hall"), timeout_s=timeout_s, longest_answer_s=3 * timeout_s
        )
        serials = {meter["id"]: plates.get(meter["id"].replace("-", "_"), "") for meter in meters}
        made = Gateway(directory, simulator, settings, serials)
        made.every_ms = every_ms
        async with made.at_work() as working:
            yield working


SDM120 = {"id": "EM-1", "model": "eastron-sdm120", "address": 1, "serial": "21012345", "frozen": True}
ABB = {"id": "EM-2", "model": "abb-b23", "address": 2, "serial": "1410774", "frozen": True}


async def test_every_instant_of_every_meter_gets_its_reading_with_the_values_the_meter_holds(tmp_path: Path) -> None:
    async with gateway(tmp_path, SDM120, ABB) as working:
        await working.until(lambda: all(len(working.records(meter, "reading")) >= 5 for meter in ("EM-1", "EM-2")))
        for meter in ("EM-1", "EM-2"):
            readings = working.records(meter, "reading")
            dues = [fields["due"] for fields in readings]
            assert all(due.endswith(".000Z") for due in dues)
            assert len(set(dues)) == len(dues)
            for value in readings[-1]["values"]:
                assert value["value"] == working.simulator.truth(meter, value["quantity"])
                assert "quality" not in value


async def test_a_line_goes_on_while_the_disk_is_still_writing(tmp_path: Path) -> None:
    meters = [SDM120 | {"id": f"EM-{address}", "address": address} for address in range(1, 7)]
    async with simulator_of(tmp_path, *meters, hall={"tcp": "127.0.0.1:0", "framing": "rtu"}) as simulator:
        settings = LinkSettings("hall", "rtu", tcp=simulator.address_of("hall"), timeout_s=0.5, longest_answer_s=0.5)
        made = Gateway(tmp_path, simulator, settings, {meter["id"]: "" for meter in meters})
        made.every_ms, made.commit_seconds = 30_000, 0.5  # an interval is 1.5 s: six commits one after the other would take three
        async with made.at_work() as working:
            # The serial numbers read at the beginning are news, and news is awaited.
            await working.until(lambda: all(len(working.records(meter, "reading")) >= 2 for meter in made.plates))
            gaps = {meter: working.records(meter, "gap") for meter in made.plates}
            await working.until(lambda: all(len(working.records(meter, "reading")) >= 6 for meter in made.plates))
            assert {meter: working.records(meter, "gap") for meter in made.plates} == gaps


async def test_a_serial_number_read_from_the_meter_stands_in_its_readings(tmp_path: Path) -> None:
    async with gateway(tmp_path, SDM120, EM_1="21012345") as working:
        await working.until(lambda: working.records("EM-1", "reading"))
        source = working.records("EM-1", "reading")[0]["meter"]
        assert (source["serial"], source["serial_from"]) == ("21012345", "register")
        assert working.records("EM-1", "identity")[0]["match"] is True


async def test_another_meter_under_the_same_address_is_never_sealed_as_the_old_one(tmp_path: Path, heard: Heard) -> None:
    async with gateway(tmp_path, SDM120) as working:
        await working.until(lambda: len(working.records("EM-1", "reading")) >= 2)
        working.simulator.hold("EM-1", "serial", "55555555")
        await working.simulator.drop_connections("hall")
        await working.until(lambda: any(f["cause"] == "other_meter" for f in working.records("EM-1", "gap")))
        before = len(working.records("EM-1", "reading"))
        await asyncio.sleep(5 / SPEED)
        assert len(working.records("EM-1", "reading")) == before
        assert working.records("EM-1", "identity")[-1]["found"] == "55555555"
        (told,) = working.events("meter.exchanged")
        heard.tells(told, "MS-301")


async def test_a_silent_meter_becomes_a_gap_and_the_others_on_its_line_go_on(tmp_path: Path) -> None:
    dead = ABB | {"faults": [{"kind": "silence", "every": 1}]}
    async with gateway(tmp_path, SDM120, dead, timeout_s=0.02) as working:
        await working.until(lambda: len(working.records("EM-1", "reading")) >= 8)
        gaps = [fields for fields in working.records("EM-2", "gap") if fields["cause"] != "line_opening"]
        assert [(fields["state"], fields["cause"]) for fields in gaps] == [("opened", "no_answer")]
        assert gaps[0]["frames"][0]["fault"] == "no_answer"
        assert not working.records("EM-2", "reading")
        told = [event for event in working.events("meter.silent") if event["cause"] == "no_answer"]
        assert len(told) == 1
        assert "address 2" in told[0]["hint"]


async def test_a_meter_that_answers_again_closes_its_gap_with_the_count(tmp_path: Path) -> None:
    naps = SDM120 | {"faults": [{"kind": "silence", "at": list(range(4, 12))}]}
    async with gateway(tmp_path, naps, timeout_s=0.02) as working:
        await working.until(lambda: working.events("meter.back"))
        closed = next(fields for fields in working.records("EM-1", "gap") if fields["state"] == "closed")
        assert closed["missed"] >= 1
        assert working.events("meter.back")[0]["missed"] == closed["missed"]


async def test_a_line_that_is_unplugged_is_told_once_and_readings_resume_by_themselves(tmp_path: Path) -> None:
    async with gateway(tmp_path, SDM120) as working:
        await working.until(lambda: len(working.records("EM-1", "reading")) >= 2)
        await working.simulator.unplug("hall")
        gone = {"no_connection", "connection_lost"}
        await working.until(lambda: gone & {fields["cause"] for fields in working.records("EM-1", "gap")})
        before = len(working.records("EM-1", "reading"))
        await working.simulator.plug("hall")
        await working.until(lambda: len(working.records("EM-1", "reading")) >= before + 2)
        gap = next(fields for fields in working.records("EM-1", "gap") if fields["cause"] in gone and fields["state"] == "closed")
        assert gap["missed"] >= 1
        assert len(working.events("link.up")) == 2


async def test_a_damaged_answer_is_kept_as_evidence_and_asked_for_again(tmp_path: Path) -> None:
    noisy = SDM120 | {"faults": [{"kind": "checksum", "at": [3]}]}
    async with gateway(tmp_path, noisy, every_ms=60_000) as working:  # the second try waits until no answer is owed any more
        await working.until(lambda: working.records("EM-1", "reading"))
        frames = working.records("EM-1", "reading")[0]["frames"]
        damaged = next(index for index, frame in enumerate(frames) if "fault" in frame)
        assert frames[damaged]["fault"] == "bad_checksum"
        assert frames[damaged + 1]["request"] == frames[damaged]["request"]
        assert all("quality" not in value for value in working.records("EM-1", "reading")[0]["values"])


async def test_a_refused_read_leaves_its_values_bad_with_the_cause_and_is_told_once(tmp_path: Path) -> None:
    refusing = SDM120 | {"faults": [{"kind": "exception", "code": 2, "at": list(range(2, 200, 2))}]}
    async with gateway(tmp_path, refusing) as working:
        await working.until(lambda: len(working.records("EM-1", "reading")) >= 3)
        values = [value for fields in working.records("EM-1", "reading") for value in fields["values"]]
        bad = [value for value in values if "quality" in value]
        assert bad
        assert all(value["quality"] == "bad" and value["cause"] in ("illegal_address", "left_out") for value in bad)
        assert all("value" not in value for value in bad)


@pytest.mark.parametrize("kind", ["wrong_unit", "wrong_function", "short", "short_data", "noise", "late", "silence", "trailing"])
async def test_no_fault_on_the_wire_ever_seals_a_wrong_value(tmp_path: Path, kind: str) -> None:
    faulty = SDM120 | {"faults": [{"kind": kind, "every": 3, "delay_ms": 45}]}
    async with gateway(tmp_path, faulty, timeout_s=0.03) as working:
        await working.until(lambda: len(working.records("EM-1", "reading")) + len(working.records("EM-1", "gap")) >= 6)
        for fields in working.records("EM-1", "reading"):
            for value in fields["values"]:
                if "value" in value:
                    assert value["value"] == working.simulator.truth("EM-1", value["quantity"])
