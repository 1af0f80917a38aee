"""Whatever bytes arrive from a DL/T 645 line: a value that those bytes justify, or an error of ours. Never anything else."""

from __future__ import annotations

import random
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers import Request, Target, dlt645
from drivers.errors import MeterError, NoValue
from drivers.formula import evaluate
from tests.peers.dlt645 import METER, answer, frame, part, place, target, turned

POINTS = [
    *(place(f"0001{tariff:02X}00", f"active_energy_import.ch{tariff}") for tariff in range(5)),
    place("00000000", "active_energy_net"),
    place("01010000", "active_power_demand_max", "0.1"),
    place("02010100", "voltage.l1", "0.1"),
    place("02020100", "current.l1", "0.001", ratio="ct"),
    place("02030000", "active_power", "0.1"),
]
SIGNED = ("00000000", "02020100", "02030000")
BYTES = {"00": (4, 4), "01": (3, 8), "0201": (2, 2), "02": (3, 3)}
PARTS = 50


def meter_at(address: str) -> Target:
    return target(*POINTS, address=address, blocks=["0001FF00"], ct="400/5")


def size_of(identifier: str) -> tuple[int, int]:
    return next(BYTES[head] for head in (identifier[:4], identifier[:2]) if head in BYTES)


def derived(identifier: str, scale: str, exchanges: list[tuple[bytes, bytes]]) -> Decimal | None:
    """The value that the last good answers justify, by arithmetic of our own; None where they hold none."""
    count, size = size_of(identifier)
    speaking = next((told[1:7] for _, told in exchanges if told), b"")  # where any meter was asked, the first is listened to
    exchanges = [pair for pair in exchanges if pair[1][1:7] == speaking and pair[1]]
    for block in (identifier, "0001FF00") if identifier.startswith("0001") else (identifier,):
        place_in = 0 if block == identifier else int(identifier[4:6]) * size
        for begin in reversed(
            [i for i, (asked, _) in enumerate(exchanges) if asked[12:13] == b"\x11" and block_of(asked) == block]
        ):
            data = exchanges[begin][1][14:-2]
            whole = not exchanges[begin][1][8] & 0x20
            number = 1
            for asked, told in exchanges[begin + 1 :]:
                if asked[12:13] == b"\x11" and block_of(asked) == block:
                    break
                if asked[12:13] == b"\x12" and block_of(asked) == block and not whole and told[-3] == (0x33 + number) % 256:
                    data += told[14:-3]
                    whole, number = not told[8] & 0x20, number + 1
            if whole and (len(data) != size if block == identifier else len(data) % size):
                continue
            raw = bytes((byte - 0x33) % 256 for byte in data[place_in : place_in + count])[::-1]
            if len(raw) < count:
                continue
            negative = identifier in SIGNED and raw[0] & 0x80
            digits = (bytes([raw[0] & 0x7F]) + raw[1:] if identifier in SIGNED else raw).hex()
            if not digits.isdecimal() or raw == b"\xff" * count:
                return None
            return Decimal(digits) * Decimal(scale) * (-1 if negative else 1)
    return None


def block_of(request: bytes) -> str:
    return bytes((byte - 0x33) % 256 for byte in request[14:18])[::-1].hex().upper()


def right_answer(source: random.Random, request: bytes, address: str) -> bytes:
    """An answer such as a meter gives: plain, in parts, refused, or with bytes that are no digits."""
    identifier, control = block_of(request), request[12]
    _, size = size_of(identifier)
    more = source.random() < 0.3
    members = source.choice([1, 4, 5, 5, 6]) if "FF" in identifier[4:6] else 1
    digits = "0123456789" * 3 + source.choice(["", "ABCDEF"])
    values = ["".join(source.choice(digits) for _ in range(2 * size)) for _ in range(members)]
    if source.random() < 0.1:
        values[0] = "FF" * size
    if source.random() < 0.1:
        values[-1] = values[-1][: 2 * source.randrange(1, size + 1)]
    if source.random() < 0.05:
        return frame(address, control | 0xC0, bytes([source.randrange(256)]))
    if control == 0x12:
        return part(identifier, request[18] - 0x33, *values, more=more, address=address)
    return answer(identifier, *values, more=more, address=address)


def mutated(source: random.Random, whole: bytes, request: bytes) -> bytes:
    """The answer as it may arrive: right, behind noise or echo, with bytes changed, lost or put in, or summed up anew."""
    data = bytearray(whole)
    match source.randrange(9):
        case 0 | 1:
            pass
        case 2:
            data[source.randrange(len(data))] = source.randrange(256)
        case 3:
            del data[source.randrange(len(data))]
        case 4:
            data.insert(source.randrange(len(data)), source.randrange(256))
        case 5:
            del data[source.randrange(len(data)) :]
        case 6:  # another address, control, length, identifier or data, and a sum that fits
            at = source.choice([1, 6, 8, 9, 10, 11, 12, 13, *range(14, max(15, len(data) - 2))])
            data[min(at, len(data) - 3)] = source.randrange(256)
            data[-2] = sum(data[:-2]) & 0xFF
        case 7:
            data[:0] = source.choice([request, b"\xfe" * 4, b"\x68", whole, bytes(source.randrange(256) for _ in range(9))])
        case _:
            data += source.choice([whole, b"\xfe\x16", bytes(source.randrange(256) for _ in range(9))])
    return bytes(data)


def talk(source: random.Random, meter: Target, own: str) -> list[tuple[bytes, bytes]]:
    """The exchanges of one poll over a bad line that were accepted; failed ones are masked."""
    points = [each for each in meter.model.points if source.random() < 0.6] or list(meter.model.points)
    made: list[tuple[bytes, bytes]] = []
    for first in dlt645.requests(meter, points, source.choice([None, 0])):
        request: Request | None = first
        while request:
            assert dlt645.prescribes(meter, points, request.data)
            arrived = mutated(source, right_answer(source, request.data, own), request.data)
            pair = b"", b""
            span = dlt645.answer_span(request.data, arrived, "own")
            if span is None:
                assert all(dlt645.fault(request.data, arrived, "own"))
            else:
                pair = accepted(request.data, arrived[slice(*span)])
            made.append(pair)
            request = dlt645.following(meter, *pair) if pair[1] else None
    return made


def accepted(request: bytes, told: bytes) -> tuple[bytes, bytes]:
    assert told[:1] == told[7:8] == b"\x68"
    try:
        dlt645.check(request, told, "own")
    except MeterError:
        return b"", b""
    return request, told


@given(st.integers(0, 2**32), st.sampled_from([METER, "AAAAAAAAAAAA", "AAAAAAAA5670"]))
@settings(max_examples=200)
def test_ten_thousand_frames_over_a_bad_line_give_only_values_that_their_bytes_justify(seed: int, address: str) -> None:
    source = random.Random(seed)
    meter = meter_at(address)
    frames = 0
    while frames < PARTS:
        exchanges = talk(source, meter, METER)
        frames += len(exchanges)
        asked, told = [pair[0] for pair in exchanges], [pair[1] for pair in exchanges]
        for point, declared in zip(meter.model.points, POINTS, strict=True):
            wanted = derived(declared["at"]["id"], declared["scale"], exchanges)
            try:
                outcome = evaluate(dlt645.locate(meter, asked, point, told), told)
            except (KeyError, NoValue):
                assert wanted is None
                continue
            assert outcome.value is None or wanted is not None
            if outcome.value is not None and wanted is not None:
                assert Decimal(outcome.value) == wanted * (80 if "ratio" in declared else 1)


@given(st.binary(max_size=300), st.binary(max_size=40), st.sampled_from([0x11, 0x12, 0x13, 0x01, 0x02]))
@settings(max_examples=500)
def test_bytes_of_any_kind_raise_nothing_but_the_contracts_errors(arrived: bytes, noise: bytes, control: int) -> None:
    data = {0x11: turned("00010000"), 0x12: turned("0001FF00") + "01", 0x13: "", 0x01: "1090", 0x02: "1f90"}[control]
    meter = meter_at(METER)
    for request in (b"\xfe" * 4 + frame(METER, control, data), noise, b""):
        for stream in (arrived, noise + answer("00010000", "00000001")[: len(arrived)] + arrived):
            span = dlt645.answer_span(request, stream, "own")
            dlt645.fault(request, stream, "own")
            dlt645.station(request, "own")
            dlt645.answer_length(request, "own")
            dlt645.prescribes(meter, meter.model.points, request)
            dlt645.following(meter, request, stream)
            if span:
                accepted(request, stream[slice(*span)])
            for whole in (stream, stream[slice(*span)] if span else stream):
                for point in meter.model.points:
                    try:
                        formula = dlt645.locate(meter, [request], point, [whole])
                        assert not whole or evaluate(formula, [whole]).value != ""
                    except (KeyError, NoValue):
                        continue
