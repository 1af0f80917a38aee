"""How each protocol is asked who is there: what is asked next by what came back, on a bus made of frames alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from agent.scan_plan import SERIAL_PROTOCOLS, Round, Wanted, time_left
from agent.scan_steps import Heard, Probe, Steps, steps_of
from drivers import Driver, Exchange, Instant, Request
from drivers.debt import checked
from drivers.dlt645_frame import plus_33
from drivers.errors import BadFrame, NoAnswer
from tests.agent.plants import models, with_crc
from tests.drivers.mbus_frames import long
from tests.peers.read_only import told

NOW = Instant(0, 0)
GENERIC = {
    each.declared.protocol: each.declared
    for name, each in models().items()
    if name in ("generic-modbus", "iec62056-21-electricity")
}
Bus = Callable[[bytes], bytes]


@dataclass
class Played:
    heard: Heard
    asked: list[bytes]


def play(here: Round, bus: Bus, late: Callable[[Driver, Request], bool] = lambda _, __: False) -> Played:
    """A round over a bus that answers at once; what nobody understands is silence."""
    steps: Steps = steps_of(here, "rtu", GENERIC, late)
    asked: list[bytes] = []
    try:
        probe: Probe = next(steps)
        while True:
            asked.append(probe.request.data)
            probe = steps.send(_exchange(probe, bus(probe.request.data)))
    except StopIteration as end:
        return Played(end.value, asked)


def _exchange(probe: Probe, said: bytes) -> Exchange:
    """What a link makes of what arrived: see `drivers.link`."""
    request = probe.request.data
    span = probe.driver.answer_span(request, said, "rtu")
    if span is None:
        cause, words = probe.driver.fault(request, said, "rtu")
        silent = cause in ("no_answer", "only_echo")
        return Exchange(request, said, NOW, NOW, NOW, NoAnswer(cause, words) if silent else BadFrame(cause, words))
    return Exchange(request, said[slice(*span)], NOW, NOW, NOW, checked(probe.driver, request, said[slice(*span)], "rtu"))


def round_of(protocol: str, units: tuple[int, ...] = ()) -> Round:
    return replace(Wanted(units=units).rounds(settable=True, framing="rtu")[0], protocol=protocol, units=units)


def dlt_answer(address: str, control: int, data: bytes) -> bytes:
    body = b"\x68" + bytes.fromhex(address)[::-1] + b"\x68" + bytes([control, len(data)]) + plus_33(data)
    return b"\xfe\xfe" + body + bytes([sum(body) & 0xFF, 0x16])


def dlt_bus(*meters: str, edition: int = 2007) -> Bus:
    """Meters with these addresses; several at once are garbage."""

    def bus(request: bytes) -> bytes:
        frame = request.lstrip(b"\xfe")
        asked, control = frame[1:7][::-1].hex(), frame[8]
        mine = [each for each in meters if all(a in ("a", b) for a, b in zip(asked, each, strict=True))]
        if control not in ((0x11, 0x13) if edition == 2007 else (0x01,)):
            return b""
        name = bytes((byte - 0x33) & 0xFF for byte in frame[10:-2])
        said = [
            dlt_answer(each, control | 0x80, bytes.fromhex(each)[::-1] if control == 0x13 else name + b"\1\2\3\4")
            for each in mine
        ]
        return said[0] if len(said) == 1 else bytes(a ^ b for a, b in zip(*said[:2], strict=True)) if said else b""

    return bus


def test_a_dlt645_meter_that_is_alone_is_found_with_one_question() -> None:
    played = play(round_of("dlt645"), dlt_bus("202311045678"))
    assert [(met.address, met.edition) for met in played.heard.met] == [("202311045678", 2007)]
    assert played.heard.doubts == ()
    assert len(played.asked) <= 3


def test_dlt645_meters_that_answer_at_once_are_told_apart_by_their_last_digits() -> None:
    addresses = ("202311045678", "202311045679", "202311990079", "000000000001")
    played = play(round_of("dlt645"), dlt_bus(*addresses))
    assert {met.address for met in played.heard.met} == set(addresses)
    assert len(played.asked) <= 220


def test_two_dlt645_meters_with_one_address_are_told_of() -> None:
    bus = dlt_bus("202311045678", "202311045678")

    def damaged(request: bytes) -> bytes:
        said = bus(request)
        return b"\x12\x34\x56" if said else b""

    assert any("two with one address" in doubt for doubt in play(round_of("dlt645"), damaged).heard.doubts)


@pytest.mark.parametrize("wildcard", ["aa", "99"])
def test_a_meter_of_1997_is_found_by_either_wildcard(wildcard: str) -> None:
    def bus(request: bytes) -> bytes:
        frame = request.lstrip(b"\xfe")
        mine = frame[1:7].hex() in (wildcard * 6, bytes.fromhex("000000101995")[::-1].hex())
        return dlt_answer("000000101995", 0x81, b"\x10\x90\1\2\3\4") if mine and frame[8] == 1 else b""

    played = play(round_of("dlt645"), bus)
    assert [(met.address, met.edition) for met in played.heard.met] == [("000000101995", 1997)]


def cjt_answer(kind: int, digits: str, data: bytes, control: int = 0x83) -> bytes:
    body = b"\x68" + bytes([kind]) + bytes.fromhex(digits)[::-1] + bytes([control, len(data)]) + data
    return b"\xfe\xfe" + body + bytes([sum(body) & 0xFF, 0x16])


def test_two_cjt188_meters_of_different_types_are_told_apart_by_type() -> None:
    meters = {0x10: "00000000000001", 0x20: "00000000000002"}

    def bus(request: bytes) -> bytes:
        frame = request.lstrip(b"\xfe")
        mine = [kind for kind in meters if frame[1] in (0xAA, kind) and frame[11:13] == b"\x0a\x81"]
        if len(mine) > 1:
            return b"\x55\x12\x99"
        return cjt_answer(mine[0], meters[mine[0]], frame[11:14]) if mine else b""

    heard = play(round_of("cjt188"), bus).heard
    assert {(met.address, met.said["type"], met.edition) for met in heard.met} == {
        ("00000000000001", "10", 2018),
        ("00000000000002", "20", 2018),
    }


def test_two_cjt188_meters_of_one_type_are_told_of() -> None:
    assert play(round_of("cjt188"), lambda _: b"\x55\x12\x99").heard.doubts != ()


def modbus_bus(*units: int, refusing: tuple[int, ...] = ()) -> Bus:
    def bus(request: bytes) -> bytes:
        if request[0] in refusing:
            return with_crc(bytes([request[0], request[1] | 0x80, 2]))
        return with_crc(bytes([request[0], request[1], 2, 0, 7])) if request[0] in units else b""

    return bus


def test_a_modbus_meter_that_refuses_the_register_is_there_all_the_same() -> None:
    played = play(round_of("modbus", tuple(range(1, 20))), modbus_bus(3, refusing=(9,)))
    assert [met.address for met in played.heard.met] == ["3", "9"]
    assert len(played.asked) == 19


def test_an_answer_that_was_damaged_once_does_not_hide_a_meter() -> None:
    good, seen = modbus_bus(3), []

    def bus(request: bytes) -> bytes:
        answer = good(request)
        seen.append(request)
        return answer[:-1] + b"\0" if answer and seen.count(request) == 1 else answer

    assert [met.address for met in play(round_of("modbus", tuple(range(1, 9))), bus).heard.met] == ["3"]


def test_a_meter_that_answers_late_is_asked_again_with_patience() -> None:
    asked: list[bytes] = []

    def bus(request: bytes) -> bytes:
        asked.append(request)
        return modbus_bus(5)(request) if asked.count(request) > 1 else b""

    def late(_: Driver, request: Request) -> bool:
        return request.data[0] == 5

    assert [met.address for met in play(round_of("modbus", tuple(range(1, 9))), bus, late).heard.met] == ["5"]


def test_two_modbus_meters_with_one_address_are_told_of() -> None:
    heard = play(round_of("modbus", (4, 5, 6)), lambda request: b"\x05\x03\x02\x13" if request[0] == 5 else b"").heard
    assert heard.met == ()
    assert any("two meters with one address" in doubt for doubt in heard.doubts)


def test_an_empty_line_costs_what_was_foretold() -> None:
    wanted = Wanted(units=tuple(range(1, 11)))
    rounds = wanted.rounds(settable=True, framing="rtu")
    for here in rounds:
        assert len(play(here, lambda _: b"").asked) <= here.questions()
    assert time_left(rounds, 0, 0) == pytest.approx(sum(each.empty_s() for each in rounds))
    assert time_left(rounds, len(rounds), 0) == 0


@pytest.mark.parametrize("protocol", SERIAL_PROTOCOLS)
def test_nothing_but_reads_is_asked(protocol: str) -> None:
    said = {"modbus": modbus_bus(3), "dlt645": dlt_bus("202311045678", "202311045679")}.get(protocol, lambda _: b"")
    asked = play(round_of(protocol, (1, 2, 3)), said).asked
    assert len(list(told(b"".join(asked), [protocol.replace("modbus", "modbus_rtu")]))) == len(asked)


def test_on_modbus_tcp_no_other_protocol_is_asked_for() -> None:
    assert [each.protocol for each in Wanted().rounds(settable=False, framing="tcp")] == ["modbus"]


def test_rounds_with_few_questions_come_first_and_modbus_last() -> None:
    protocols = [each.protocol for each in Wanted().rounds(settable=True, framing="rtu")]
    assert protocols[0] != "modbus"
    assert protocols.index("modbus") == len(protocols) - protocols.count("modbus")


def test_an_adapter_that_hears_itself_does_not_look_like_a_meter() -> None:
    for protocol in SERIAL_PROTOCOLS:
        here = round_of(protocol, (1, 2, 3))
        assert play(here, lambda request: request).heard == Heard(), protocol
    bus = dlt_bus("202311045678", "202311045679")
    assert len(play(round_of("dlt645"), lambda request: request + bus(request)).heard.met) == 2
    units = modbus_bus(2)
    assert len(play(round_of("modbus", (1, 2, 3)), lambda request: request + units(request)).heard.met) == 1


# --- IEC 62056-21 and M-Bus -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("speed", "following"), [("5", b"\x06050\r\n"), ("E", b"")])
def test_an_iec_meter_is_known_by_its_identification_and_let_finish_its_readout(speed: str, following: bytes) -> None:
    def bus(request: bytes) -> bytes:
        return f"/LGZ{speed}ZMD120\r\n".encode() if request.startswith(b"/?") else b""

    played = play(round_of("iec62056_21"), bus)
    (met,) = played.heard.met
    assert (met.said["maker"], met.address) == ("LGZ", "")
    assert played.asked[1:] == [following]


def test_something_that_is_no_identification_is_told_of_and_noise_is_not() -> None:
    assert play(round_of("iec62056_21"), lambda _: b"\x81\x93\xa5").heard == Heard()
    assert play(round_of("iec62056_21"), lambda _: b"/LGZ").heard.doubts != ()


def mbus_bus(*primaries: int, both: int = -1) -> Bus:
    """Meters that know primary addresses only; at `both` two of them answer."""

    def bus(request: bytes) -> bytes:
        if len(request) != 5 or request[2] not in primaries:
            return b""
        if request[1] == 0x40:
            return b"\xe5"
        number = 10_000_000 + request[2]
        telegram = long(
            0x08, request[2], 0x72, bytes.fromhex(f"{number}")[::-1], 0x2D, 0x2C, 1, 7, 1, 0, 0, 0, 0x0C, 0x13, bytes(4)
        )
        return telegram[:9] + b"\x55" + telegram if request[2] == both else telegram

    return bus


def test_an_mbus_meter_that_knows_only_its_primary_address_is_found_by_it() -> None:
    heard = play(round_of("mbus", (0, 1, 5, 6)), mbus_bus(5)).heard
    assert [(met.address, met.said["number"], met.said["maker"]) for met in heard.met] == [("5", "10000005", "KAM")]


def test_two_mbus_meters_with_one_primary_address_are_told_of() -> None:
    heard = play(round_of("mbus", (0, 1, 5, 6)), mbus_bus(5, both=5)).heard
    assert heard.met == ()
    assert any("primary address 5" in doubt for doubt in heard.doubts)
