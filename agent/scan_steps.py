"""How each protocol is asked who is there: questions one after the other, each by what the last one brought. Pure.

A search is a generator: it yields what to ask next, is sent what came back, and returns the meters that answered. Only
questions that read are asked; on M-Bus also the two that every reading there begins with, "begin anew" and "select".

Several meters that answer at once make garbage of each other. Where a protocol can ask for a part of all addresses
(DL/T 645: the last digits, M-Bus: any digits), the search goes on with the parts; where it cannot, it says so.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from agent.scan_plan import Round
from config.iec62056_21 import Iec62056Model
from config.language import _
from config.modbus import ModbusPoint
from config.model import MeterModel
from drivers import Driver, Exchange, Request, Target, anything, load, mbus_search
from drivers import dlt645_frame as dlt
from drivers.cjt188_frame import READ_ADDRESS, Frame, parsed, read_frame
from drivers.cjt188_frame import answer_span as cjt_span
from drivers.errors import BadFrame, NoAnswer, Refused
from drivers.iec62056_21_frame import SPEEDS_B, message
from drivers.mbus_frame import ACKNOWLEDGED, BEGIN, FIRST_DATA_REQUEST, short_frame
from drivers.mbus_frame import answer_span as mbus_span

_PATIENT = 4.0  # so much longer is waited where something answered that could not be understood
_ANY6 = b"\xaa" * 6
_CJT_ORDERS = (b"\x0a\x81", b"\x81\x0a")  # 810A as the edition of 2018 has it on the wire, and as that of 2004
_CJT_TYPES = (0xAA, 0x10, 0x20, 0x30)
_CJT_EACH = (0x10, 0x11, 0x12, 0x13, 0x20, 0x21, 0x22, 0x30)


@dataclass(frozen=True, slots=True)
class Met:
    """Somebody who answered.

    Attributes:
        protocol: in which protocol.
        address: as in a site file; empty where there is none.
        baud, character: at which speed and format; None on TCP.
        said: what it said of itself, by plain names.
        edition: of DL/T 645, 1997 or 2007; of CJ/T 188, 2004 or 2018; 0 elsewhere.
    """

    protocol: str
    address: str
    baud: int | None
    character: str | None
    said: dict[str, str] = field(default_factory=dict)
    edition: int = 0


@dataclass(frozen=True, slots=True)
class Heard:
    """What a round found out.

    Attributes:
        met: who answered.
        doubts: what could not be made out, in sentences for people.
    """

    met: tuple[Met, ...] = ()
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Probe:
    """A question, and who takes its answer for one."""

    driver: Driver
    request: Request


Steps = Generator[Probe, Exchange, Heard]
Late = Callable[[Driver, Request], bool]


def steps_of(here: Round, framing: str, generic: Mapping[str, MeterModel], late: Late) -> Steps:
    """The questions of a round.

    Args:
        here: the round.
        framing: how Modbus is carried.
        generic: the most general model of Modbus and of IEC 62056-21, whose limits are asked with.
        late: whether a meter answered a question after its time, told once.
    """
    if here.protocol == "modbus":
        return _modbus(here, framing, generic["modbus"], late)
    if here.protocol == "iec62056_21":
        return _iec62056_21(here, cast("Iec62056Model", generic["iec62056_21"]))
    return {"dlt645": _dlt645, "cjt188": _cjt188, "mbus": _mbus}[here.protocol](here)


def _set(here: Round, data: bytes, longest: int, timeout_s: float | None = None) -> Request:
    timeout = timeout_s or here.timeout_s
    return Request(data, timeout, 0.0, 3 * timeout, longest, baud=here.baud, character=here.character)


def _open(here: Round, data: bytes, longest: int = 300) -> Probe:
    return Probe(anything.driver(), _set(here, data, longest))


# --- Modbus ---------------------------------------------------------------------------------------------------


def _modbus(here: Round, framing: str, generic: MeterModel, late: Late) -> Steps:
    """Each address is asked for its first register: a meter that has none refuses, and is there."""
    driver = load("modbus")
    point = ModbusPoint.model_validate({"quantity": "voltage", "at": {"address": "0", "type": "u16"}})

    def question(unit: int, patience: float = 1.0) -> Probe:
        (made,) = driver.requests(Target(generic, str(unit), framing), [point])
        timeout = here.timeout_s * patience
        request = replace(made, timeout_s=timeout, longest_answer_s=3 * timeout, baud=here.baud, character=here.character)
        return Probe(driver, request)

    there: list[int] = []
    again: list[int] = []
    for unit in here.units:
        exchange = yield question(unit)
        if _is_there(exchange):
            there.append(unit)
        elif isinstance(exchange.error, BadFrame):
            again += [unit - 1, unit]  # damaged, or the late answer of the one before
    again += [unit for unit in here.units if late(driver, question(unit).request)]
    doubts = []
    for unit in sorted(set(again) - set(there) & set(here.units)):
        if unit in here.units:
            exchange = yield question(unit, _PATIENT)
            if _is_there(exchange):
                there.append(unit)
            elif isinstance(exchange.error, BadFrame):
                doubts.append(
                    _("something answers at address {unit}, but not in whole frames: two meters with one address?", unit=unit)
                )
    met = tuple(Met("modbus", str(unit), here.baud, here.character) for unit in sorted(there))
    return Heard(met, tuple(doubts))


def _is_there(exchange: Exchange) -> bool:
    return exchange.error is None or isinstance(exchange.error, Refused)


# --- DL/T 645 -------------------------------------------------------------------------------------------------


def _dlt645(here: Round) -> Steps:
    """Both editions: all at once, and where several answer, by the last two digits of the address, then the next two."""
    found: dict[str, int] = {}
    doubts: list[str] = []
    questions = (
        (2007, dlt.READ_ADDRESS, "", dlt.READ, "00010000"),
        (1997, dlt.READ_1997, "9010", dlt.READ_1997, "9010"),
    )
    for edition, first, name, function, identifier in questions:
        patterns = [_ANY6]
        while patterns:
            pattern = patterns.pop(0)
            asked = dlt.Asked(pattern, first, name) if pattern == _ANY6 else dlt.Asked(pattern, function, identifier)
            frame = dlt.request_frame(4, asked)
            exchange = yield _open(here, frame, dlt.LONGEST)
            alone, several = _dlt_answers(exchange.answer.removeprefix(frame))
            for address, refused in alone:
                if not refused or first == dlt.READ_ADDRESS:
                    found.setdefault(address, edition)
            if several:
                narrower = _narrower(pattern)
                patterns += narrower
                if not narrower:
                    doubts.append(_("several meters answer as {pattern}: two with one address?", pattern=pattern[::-1].hex()))
        if edition == 1997 and not found:  # 99 in place of AA: what some meters of 1997 want
            frame = dlt.request_frame(4, dlt.Asked(b"\x99" * 6, dlt.READ_1997, "9010"))
            exchange = yield _open(here, frame, dlt.LONGEST)
            alone, several = _dlt_answers(exchange.answer.removeprefix(frame))
            found |= {address: 1997 for address, refused in alone if not refused}
    met = [Met("dlt645", address, here.baud, here.character, {"address": address}, edition) for address, edition in found.items()]
    return Heard(tuple(met), tuple(doubts))


def _dlt_answers(buffer: bytes) -> tuple[list[tuple[str, bool]], bool]:
    """Addresses in whole answers with whether they are refusals, and whether there is more than one meter in it."""
    alone: list[tuple[str, bool]] = []
    rest = buffer.lstrip(b"\xfe")
    while span := dlt.answer_span(b"", rest):
        address, control, _unused = dlt.content(rest[slice(*span)])
        number = address[::-1].hex()
        if number.isdecimal():
            alone.append((number, bool(control & dlt.ABNORMAL)))
        rest = rest[: span[0]].rstrip(b"\xfe") + rest[span[1] :].lstrip(b"\xfe")
    return alone, bool(rest.strip(b"\0\xfe\xff")) or len({address for address, _unused in alone}) > 1


def _narrower(pattern: bytes) -> list[bytes]:
    """The patterns with two more digits known, from the last ones on (DL/T 645-2007, 7.1: leading AA stand for any)."""
    known = next((index for index, byte in enumerate(pattern) if byte == 0xAA), 6)
    if known == 6:
        return []
    return [pattern[:known] + bytes.fromhex(f"{number:02d}") + pattern[known + 1 :] for number in range(100)]


# --- CJ/T 188 -------------------------------------------------------------------------------------------------


def _cjt188(here: Round) -> Steps:
    """The address is asked of any meter, in both orders of the identifier; where several answer, of each type by itself."""
    found: dict[tuple[int, str], int] = {}
    doubts: list[str] = []
    for order in _CJT_ORDERS:
        types, several = list(_CJT_TYPES), False
        while types:
            kind = types.pop(0)
            frame = read_frame(READ_ADDRESS, bytes([kind]) + b"\xaa" * 7, order, 0, 4)
            exchange = yield _open(here, frame, 60)
            answers, mixed = _cjt_answers(exchange.answer.removeprefix(frame))
            edition = 2018 if order == _CJT_ORDERS[0] else 2004
            for answer in answers:
                if not answer.control & 0x40:
                    found.setdefault((answer.type, answer.address[::-1].hex()), edition)
            if kind == 0xAA and (answers or mixed):
                types = list(_CJT_EACH) if mixed else []
            elif mixed:
                several = True
        if several:
            doubts.append(_("several meters of one type answer at once, which nothing tells apart: connect them one by one"))
    met = [
        Met("cjt188", digits, here.baud, here.character, {"type": f"{kind:02X}"}, edition)
        for (kind, digits), edition in found.items()
    ]
    return Heard(tuple(met), tuple(dict.fromkeys(doubts)))


def _cjt_answers(buffer: bytes) -> tuple[list[Frame], bool]:
    """Whole answers, and whether more than one meter is in what arrived."""
    answers: list[Frame] = []
    rest = buffer.lstrip(b"\xfe")
    while span := cjt_span(b"", rest, "own"):
        answers.append(parsed(rest[slice(*span)]))
        rest = rest[: span[0]].rstrip(b"\xfe") + rest[span[1] :].lstrip(b"\xfe")
    return answers, bool(rest.strip(b"\0\xfe\xff")) or len({answer.station for answer in answers}) > 1


# --- M-Bus ----------------------------------------------------------------------------------------------------


def _mbus(here: Round) -> Steps:
    """The secondary addresses by wildcards (`drivers.mbus_search`), then the primary ones, for meters that know no others."""
    state = mbus_search.search()
    while (request := mbus_search.asked(state)) is not None:
        exchange = yield _open(here, request)
        state = mbus_search.heard(state, exchange.answer)
    found = {
        each.secondary: {"maker": each.manufacturer, "medium": str(each.medium), "version": str(each.version)}
        for each in state.found
    }
    doubts = [
        _("several M-Bus meters with the number {pattern} answer at once", pattern=pattern[:4][::-1].hex())
        for pattern in state.unresolved
    ]
    for unit in here.units:
        begin = short_frame(BEGIN, unit)
        exchange = yield _open(here, begin)
        if not exchange.answer.removeprefix(begin):
            continue
        exchange = yield _open(here, short_frame(FIRST_DATA_REQUEST, unit))
        said = _telegram(exchange)
        if said is None:
            doubts.append(_("several M-Bus meters answer at primary address {unit}, or one that sends no telegram", unit=unit))
        elif not any(number.startswith(said["number"]) for number in found):
            found[str(unit)] = said
    met = [Met("mbus", address, here.baud, here.character, said) for address, said in found.items()]
    return Heard(tuple(met), () if met and not state.unresolved else tuple(doubts))


def _telegram(exchange: Exchange) -> dict[str, str] | None:
    """What the header of the one telegram that arrived says; None: there is no such, or more than one."""
    span = mbus_span(exchange.request, exchange.answer)
    if span is None or exchange.answer == ACKNOWLEDGED:
        return None
    if span[1] != len(exchange.answer) or exchange.answer[: span[0]] not in (b"", exchange.request):
        return None
    said, _unused = load("mbus").identification(exchange.answer[slice(*span)], "own")
    return said or None


# --- IEC 62056-21 ---------------------------------------------------------------------------------------------


def _iec62056_21(here: Round, generic: Iec62056Model) -> Steps:
    """The sign-on that every meter answers, and the readout, without which the meter would go on talking for minutes.

    Only one meter can be found: where several hear a sign-on without an address, all of them answer.
    """
    driver = load("iec62056_21")
    exchange = yield Probe(driver, replace(_set(here, b"/?!\r\n", 100), gap_s=1.5))
    if isinstance(exchange.error, NoAnswer) or (exchange.error and exchange.error.cause == "noise"):
        return Heard()
    if exchange.error is not None:
        return Heard(doubts=(_("something answers the sign-on of IEC 62056-21: {error}", error=exchange.error),))
    said, _unused = driver.identification(exchange.answer, "own")
    speed = message(exchange.answer).speed
    mode = "B" if speed in SPEEDS_B else "C"
    limits = generic.iec62056_21.model_copy(update={"mode": mode})
    target = Target(generic.model_copy(update={"iec62056_21": limits}), "", "own")
    if (request := driver.following(target, exchange.request, exchange.answer)) is not None:
        yield Probe(driver, request)
    return Heard((Met("iec62056_21", "", here.baud, here.character, said),))
