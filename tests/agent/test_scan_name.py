"""Which model a meter is taken for: every shipped model is simulated and named from its answers alone, in memory.

Modbus meters say nothing of themselves here: function 43 is refused, as most real meters do, so that only registers tell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import pytest

from agent.by_hand import MOST_FOLLOWING, next_after
from agent.polled import Polled
from agent.reading import Value
from agent.scan_meet import Meeting, address_in
from agent.scan_name import CERTAIN, LIKELY, SEVERAL, Fit, Named, doubted, named, weight
from agent.scan_steps import Met
from agent.simulate_plant import meter_of
from config.model import MeterModel
from config.plant import SimulatedMeter
from drivers import Exchange, Instant, Request
from drivers.debt import checked
from drivers.errors import NoAnswer
from tests.agent.gateway import StillClock
from tests.agent.plants import models, with_crc

NOW = Instant(0, 0)
LOAD = {"active_power": "4100", "volume_flow": "2.5", "thermal_power": "30", "volume_forward": "2", "mass_flow": "1"}


class Line:
    """A simulated meter that answers requests at once. A Modbus meter refuses to say who it is."""

    def __init__(self, name: str, address: str) -> None:
        model = models()[name].declared
        quantities = {point.quantity for point in model.points}
        load = {quantity: value for quantity, value in LOAD.items() if quantity in quantities}
        counters = ("active_energy_import", "active_energy_total", "volume_forward", "thermal_energy", "mass")
        start = {quantity: "18422.5" for quantity in counters if quantity in quantities}
        ratio = {"ct": "1", "vt": "1"}
        declared = SimulatedMeter.model_validate(
            {"id": "M", "on": "l", "model": name, "address": address, "load": load, "start": start} | ratio
        )
        self._meter = meter_of(declared, models()[name], StillClock())
        self.asked = 0

    async def ask(self, meter: Polled, requests: Sequence[Request]) -> list[Exchange]:
        made: list[Exchange] = []
        for request in requests:
            following: Request | None = request
            while following is not None and len(made) < MOST_FOLLOWING:
                exchange = self._answered(meter, following)
                made.append(exchange)
                if exchange.error:
                    return made
                following = next_after(meter, following, exchange)
        return made

    def _answered(self, meter: Polled, request: Request) -> Exchange:
        self.asked += 1
        said = self._said(meter, request.data)
        span = meter.driver.answer_span(request.data, said, meter.target.framing)
        answer = said[slice(*span)] if span else b""
        error = checked(meter.driver, request.data, answer, meter.target.framing) if span else NoAnswer("no_answer", "no answer")
        return Exchange(request.data, answer, NOW, NOW, NOW, error)

    def _said(self, meter: Polled, request: bytes) -> bytes:
        if meter.target.model.protocol != "modbus":
            return self._meter.answer(request.lstrip(b"\xfe")) or b""
        pdu = request[1:-2]
        answer = bytes([pdu[0] | 0x80, 1]) if pdu[0] == 0x2B else self._meter.answer(pdu)
        return with_crc(request[:1] + answer)


@lru_cache(maxsize=1)
def all_models() -> tuple[MeterModel, ...]:
    return tuple(each.declared for each in models().values())


def name_of(name: str, met: Met) -> tuple[Named, int]:
    line = Line(name, met.address)
    meeting = Meeting(line.ask, met, "rtu", models()["generic-modbus"].declared)
    return asyncio.run(meeting.name(all_models())), line.asked


def test_a_modbus_meter_is_named_by_its_registers_alone_and_where_it_is_not_that_is_said() -> None:
    told = {
        name: name_of(name, Met("modbus", "7", 9600, "8N1"))
        for name, each in models().items()
        if each.declared.protocol == "modbus" and name != "generic-modbus"
    }
    right = [name for name, (made, _) in told.items() if made.model == name]
    sure_and_wrong = [name for name, (made, _) in told.items() if made.sure in (CERTAIN, LIKELY) and made.model != name]
    print(f"{len(right)} of {len(told)} Modbus models named first; {sum(asked for _, asked in told.values())} questions")
    assert len(right) >= 0.9 * len(told)
    assert sure_and_wrong == []
    assert max(asked for _, asked in told.values()) < 400


class DisturbedLine(Line):
    """Every third question stays without an answer."""

    def _answered(self, meter: Polled, request: Request) -> Exchange:
        made = super()._answered(meter, request)
        lost = self.asked % 3 == 1
        return Exchange(request.data, b"", NOW, NOW, NOW, NoAnswer("no_answer", "no answer")) if lost else made


class SilentLine(Line):
    """A meter that is silent where others refuse."""

    def _answered(self, meter: Polled, request: Request) -> Exchange:
        made = super()._answered(meter, request)
        return replace(made, answer=b"", error=NoAnswer("no_answer", "no answer")) if made.error else made


def test_a_meter_on_a_disturbed_line_is_asked_again_and_not_taken_for_another() -> None:
    line = DisturbedLine("acrel-dtsd1352", "7")
    meeting = Meeting(line.ask, Met("modbus", "7", 9600, "8N1"), "rtu", models()["generic-modbus"].declared)
    made = asyncio.run(meeting.name(all_models()))
    assert made.model == "acrel-dtsd1352"


def test_where_questions_stay_without_an_answer_nobody_is_called_likely() -> None:
    line = SilentLine("acrel-dtsd1352", "7")
    meeting = Meeting(line.ask, Met("modbus", "7", 9600, "8N1"), "rtu", models()["generic-modbus"].declared)
    made = asyncio.run(meeting.name(all_models()))
    assert (made.model, made.sure) == ("acrel-dtsd1352", SEVERAL)
    assert doubted(replace(made, sure=LIKELY), 3).sure == SEVERAL
    assert "3 questions stayed without an answer" in doubted(replace(made, sure=LIKELY), 3).why[-1]
    assert line.asked < 400, "what it does not answer is not asked three times for ever"


SAID = {
    "dlt645-2007-three-phase": Met("dlt645", "202311045678", 2400, "8E1", edition=2007),
    "dlt645-2007-single-phase": Met("dlt645", "202311045678", 2400, "8E1", edition=2007),
    "dlt645-1997": Met("dlt645", "202311045678", 1200, "8E1", edition=1997),
    "cjt188-water-2018": Met("cjt188", "78330123456789", 2400, "8E1", {"type": "10"}, 2018),
    "cjt188-water-2004": Met("cjt188", "78330123456789", 2400, "8E1", {"type": "10"}, 2004),
    "cjt188-heat": Met("cjt188", "78330123456789", 2400, "8E1", {"type": "20"}, 2018),
    "mbus-water": Met("mbus", "12345678", 2400, "8E1", {"maker": "MSL", "version": "1", "medium": "7", "number": "12345678"}),
    "kamstrup-multical-601": Met("mbus", "12345678", 2400, "8E1", {"maker": "KAM", "version": "8", "medium": "4"}),
}


@pytest.mark.parametrize("name", SAID)
def test_meters_of_other_protocols_are_named_by_what_they_tell(name: str) -> None:
    made, _ = name_of(name, SAID[name])
    assert made.model == name or name in made.others, made
    assert made.serial
    assert made.shown


def test_a_water_meter_whose_type_is_not_its_models_keeps_it_in_its_address() -> None:
    made, _ = name_of("cjt188-water-2018", Met("cjt188", ["11", "78330123456789"][1], 2400, "8E1", {"type": "10"}, 2018))
    assert address_in(made.met, models()["cjt188-water-2018"].declared) == "78330123456789"
    hot = Met("cjt188", "78330123456789", 2400, "8E1", {"type": "11"}, 2018)
    assert address_in(hot, models()["cjt188-water-2018"].declared) == "11-78330123456789"


def test_a_relative_that_fits_nearly_as_well_is_named_too() -> None:
    met = Met("modbus", "7", 9600, "8N1")
    fits = [Fit("one", 13.0, 0.9, proven=False, why=()), Fit("other", 12.5, 0.9, proven=False, why=())]
    made = named(met, fits)
    assert (made.model, made.sure, made.others) == ("one", SEVERAL, ("other",))
    assert named(met, fits[:1]).sure == LIKELY
    assert named(met, [Fit("one", 30.0, 0.9, proven=True, why=())]).sure == CERTAIN
    assert named(met, [Fit("one", 3.0, 0.1, proven=False, why=())]).model == ""


@pytest.mark.parametrize(
    ("quantity", "value", "sign"),
    [
        ("frequency", "50.02", 1),
        ("frequency", "16400", -1),
        ("voltage.l1", "230.4", 1),
        ("voltage.l1", "0.0000001", -1),
        ("voltage.l1", "0", 0),
        ("active_energy_import", "18422.5", 1),
        ("active_energy_import", "-3", -1),
    ],
)
def test_what_a_value_says_for_a_model(quantity: str, value: str, sign: int) -> None:
    got, _ = weight(Value(quantity, "V", value, "0@0:u16", "good", ""))
    assert (got > 0) - (got < 0) == sign


def test_a_refused_register_speaks_against_a_model() -> None:
    assert weight(Value("voltage.l1", "V", None, "", "bad", "illegal_address"))[0] < 0
