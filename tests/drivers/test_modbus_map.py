"""Reads are planned as few as the meter bears, never beyond its limits, and never through a forbidden register."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

import pytest

from config.modbus import ModbusLimits, ModbusPoint
from drivers import modbus
from drivers.formula import evaluate
from drivers.modbus_map import Read, plan, words_of
from tests.peers.registers import place, target


def limits(**more: object) -> ModbusLimits:
    return ModbusLimits.model_validate(more)


def reads(points: Sequence[ModbusPoint], **more: object) -> list[tuple[int, int, int]]:
    return [(read.function, read.address, read.count) for read in plan(limits(**more), points)]


def u16(*addresses: int) -> list[ModbusPoint]:
    return [place("u16", address) for address in addresses]


def test_neighbours_are_fetched_in_one_read() -> None:
    assert reads([place("u32", 10), place("u16", 12), place("f64", 13)]) == [(3, 10, 7)]


def test_the_order_in_which_points_are_named_does_not_matter() -> None:
    assert reads(u16(3, 1, 2, 1, 0)) == [(3, 0, 4)]


def test_a_gap_is_bridged_only_as_far_as_the_meter_bears_it() -> None:
    assert reads(u16(0, 3)) == [(3, 0, 1), (3, 3, 1)]
    assert reads(u16(0, 3), max_gap=1) == [(3, 0, 1), (3, 3, 1)]
    assert reads(u16(0, 3), max_gap=2) == [(3, 0, 4)]


def test_a_read_is_never_longer_than_the_meter_bears() -> None:
    assert reads(u16(*range(125))) == [(3, 0, 125)]
    assert reads(u16(*range(126))) == [(3, 0, 125), (3, 125, 1)]
    assert reads([place("u32", address) for address in range(0, 8, 2)], max_registers=3) == [
        (3, 0, 2),
        (3, 2, 2),
        (3, 4, 2),
        (3, 6, 2),
    ]


def test_functions_are_never_mixed() -> None:
    assert reads([place("u16", 0), place("u16", 1, function=4), place("bit", 2, function=1), place("bit", 2, function=2)]) == [
        (1, 2, 1),
        (2, 2, 1),
        (3, 0, 1),
        (4, 1, 1),
    ]
    assert reads(u16(0), function=4) == [(4, 0, 1)]


def test_coils_are_fetched_by_the_thousand() -> None:
    assert reads([place("bit", address, function=1) for address in range(2001)]) == [(1, 0, 2000), (1, 2000, 1)]


def test_a_meter_of_even_registers_is_asked_for_even_starts_and_counts() -> None:
    assert reads(u16(1), align=2) == [(3, 0, 2)]
    assert reads(u16(1, 2), align=2) == [(3, 0, 4)]
    assert reads([place("u32", 3)], align=2) == [(3, 2, 4)]
    assert reads([place("bit", 3, function=1)], align=2) == [(1, 3, 1)]


def test_a_register_that_answers_only_alone_is_read_alone() -> None:
    assert reads(u16(0, 1, 2), single=(1,)) == [(3, 0, 1), (3, 1, 1), (3, 2, 1)]
    assert reads(u16(0, 1, 2, 3), single=(1,), max_gap=10) == [(3, 0, 1), (3, 1, 1), (3, 2, 2)]
    assert reads([place("u32", 2), place("u32", 4)], single=(2,), align=2) == [(3, 2, 2), (3, 4, 2)]


def test_no_gap_is_bridged_over_a_register_that_answers_only_alone() -> None:
    assert reads(u16(0, 2), single=(1,), max_gap=10) == [(3, 0, 1), (3, 2, 1)]


def test_a_block_that_answers_only_whole_is_read_whole_and_once() -> None:
    assert reads(u16(11, 13, 15), whole=({"address": 10, "count": 8},)) == [(3, 10, 8)]
    assert reads(u16(9, 11, 18), whole=({"address": 10, "count": 8},), max_gap=10) == [(3, 9, 1), (3, 10, 8), (3, 18, 1)]
    assert reads(u16(9, 18), whole=({"address": 10, "count": 8},), max_gap=10) == [(3, 9, 1), (3, 18, 1)]
    assert reads(u16(11), whole=({"address": 10, "count": 8, "function": 4},)) == [(3, 11, 1)]


def test_no_gap_is_bridged_over_a_forbidden_register() -> None:
    assert reads(u16(0, 3), max_gap=10, forbid=({"address": 2, "count": 1},)) == [(3, 0, 1), (3, 3, 1)]
    assert reads(u16(0, 3), max_gap=10, forbid=({"address": 2, "count": 1, "function": 4},)) == [(3, 0, 4)]


def test_even_addresses_do_not_reach_into_a_forbidden_register() -> None:
    assert reads(u16(4), align=2, forbid=({"address": 5, "count": 1},)) == [(3, 4, 1)]


def test_a_point_in_a_forbidden_register_is_not_read_and_not_located() -> None:
    meter = target({"quantity": "voltage", "at": {"address": 0, "type": "u16"}}, forbid=({"address": 5, "count": 2},))
    points = [place("u16", 4), place("u32", 6)]
    requests = [request.data for request in modbus.requests(meter, points)]
    assert [request[2:6].hex() for request in requests] == ["00040001"]
    with pytest.raises(KeyError):
        modbus.locate(meter, requests, points[1])


def test_the_parts_of_one_value_are_never_split_over_two_reads() -> None:
    # Integer part and fraction at 124 and 126: the first 125 registers in one read would tear them apart.
    value = place("u32", 124, plus=[{"at": {"address": 126, "type": "u16"}}])
    assert reads([*u16(*range(124)), value]) == [(3, 0, 124), (3, 124, 3)]
    assert reads(
        [*u16(*range(5)), place("u16", 5, exponent={"at": {"address": 8, "type": "u16"}})], max_registers=8, max_gap=3
    ) == [
        (3, 0, 5),
        (3, 5, 4),
    ]


def test_the_parts_of_one_value_are_joined_only_within_the_limits() -> None:
    value = place("u16", 0, plus=[{"at": {"address": 9, "type": "u16"}}])
    assert reads([value], max_gap=20, max_registers=5) == [(3, 0, 1), (3, 9, 1)]
    assert reads([value], max_gap=20, forbid=({"address": 4, "count": 1},)) == [(3, 0, 1), (3, 9, 1)]
    assert reads([value], max_gap=20, single=(9,)) == [(3, 0, 1), (3, 9, 1)]
    assert reads([value], max_gap=20, whole=({"address": 8, "count": 4},)) == [(3, 0, 1), (3, 8, 4)]


# --- thousands of made-up maps ------------------------------------------------------------------------------


def made_up(chance: random.Random) -> tuple[ModbusLimits, list[ModbusPoint]]:
    """Limits and points that a meter could have: nothing wanted is forbidden, no block or single is cut through."""
    align = chance.choice((1, 1, 2))
    most = chance.choice((8, 16, 40, 124, 125))
    forbid = [{"address": address, "count": chance.randint(1, 3)} for address in chance.sample(range(200), chance.randint(0, 3))]
    single = tuple(address - address % align for address in chance.sample(range(200), chance.randint(0, 3)))
    whole = [{"address": 220, "count": 8}] if chance.random() < 0.3 else []
    made = limits(
        align=align, max_registers=most, max_gap=chance.choice((0, 1, 4, 30)), forbid=forbid, single=single, whole=whole
    )
    points = []
    for _ in range(chance.randint(1, 25)):
        kind = chance.choice(("u16", "u32", "f32", "u64", "i16"))
        address = chance.randrange(0, 240, align)
        more = {}
        if chance.random() < 0.2:
            more = {"plus": [{"at": {"address": address + chance.choice((4, 6, 20)), "type": "u16"}}]}
        points.append(place(kind, address, **more))
    return made, [point for point in points if bearable(made, point)]


def spans_of(point: ModbusPoint) -> list[Read]:
    places = [point.at, *(part.at for part in point.plus)]
    return [Read(3, at.address, words_of(at)) for at in places]


def touched(made: ModbusLimits, read: Read) -> set[int]:
    """Registers a read of one place needs: even ones in pairs where the meter is asked in pairs."""
    first, end = read.address, read.end
    return set(range(first - first % made.align, end + end % made.align))


def bearable(made: ModbusLimits, point: ModbusPoint) -> bool:
    for read in spans_of(point):
        registers = touched(made, read)
        if len(registers) > made.max_registers:
            return False
        if any(set(range(span.address, span.address + span.count)) & registers for span in made.forbid):
            return False
        if any(address in registers and address != read.address for address in made.single):
            return False
        if any(address == read.address and len(registers) > 4 for address in made.single):
            return False
        for block in made.whole:
            inside = set(range(block.address, block.address + block.count))
            if registers & inside and not registers <= inside:
                return False
    return True


def test_in_thousands_of_maps_every_register_is_covered_and_no_limit_is_broken() -> None:
    chance = random.Random(7)
    planned = 0
    for _ in range(4000):
        made, points = made_up(chance)
        reads_made = plan(made, points)
        planned += len(reads_made)
        for point in points:
            for wanted in spans_of(point):
                assert any(read.covers(wanted) for read in reads_made)
        for read in reads_made:
            registers = set(range(read.address, read.end))
            block = any((span.address, span.count) == (read.address, read.count) for span in made.whole)
            assert read.count <= made.max_registers or block
            assert not any(set(range(span.address, span.address + span.count)) & registers for span in made.forbid)
            assert block or made.align == 1 or (read.address % 2 == 0 and read.count % 2 == 0) or read.address in made.single
            assert len(registers & set(made.single)) <= 1
            if registers & set(made.single):
                assert read.address in made.single
            for span in made.whole:
                inside = set(range(span.address, span.address + span.count))
                assert not registers & inside or registers == inside
            assert longest_hole(made, read, points) <= made.max_gap or block
    assert planned > 10_000


def longest_hole(made: ModbusLimits, read: Read, points: list[ModbusPoint]) -> int:
    wanted = set().union(*(touched(made, span) for point in points for span in spans_of(point)))
    longest = run = 0
    for register in range(read.address, read.end):
        run = 0 if register in wanted else run + 1
        longest = max(longest, run)
    return longest


def test_no_plan_with_fewer_reads_exists() -> None:
    """Against every way to cut the wanted registers into runs, for maps small enough to try them all."""
    chance = random.Random(11)
    for _ in range(1500):
        made = limits(
            max_registers=chance.randint(4, 12),
            max_gap=chance.randint(0, 4),
            forbid=[{"address": address, "count": 1} for address in chance.sample(range(30), 2)],
        )
        points = [place(chance.choice(("u16", "u32", "u64")), chance.randrange(28)) for _ in range(chance.randint(1, 8))]
        points = [point for point in points if bearable(made, point)]
        assert len(plan(made, points)) == fewest(made, points)


def fewest(made: ModbusLimits, points: list[ModbusPoint]) -> int:
    units = sorted({(span.address, span.end) for point in points for span in spans_of(point)})

    def borne(some: tuple[tuple[int, int], ...]) -> bool:
        first, end = some[0][0], max(unit[1] for unit in some)
        wanted = {register for unit in some for register in range(*unit)}
        holes = "".join("x" if register in wanted else " " for register in range(first, end)).split("x")
        forbidden = any(span.address in range(first, end) for span in made.forbid)
        return end - first <= made.max_registers and not forbidden and max(map(len, holes)) <= made.max_gap

    @cache
    def least(done: int) -> int:
        if done == len(units):
            return 0
        return 1 + min(least(stop) for stop in range(done + 1, len(units) + 1) if borne(tuple(units[done:stop])))

    return least(0)


def test_in_hundreds_of_maps_every_point_is_located_where_its_register_was_read() -> None:
    chance = random.Random(13)
    for _ in range(500):
        made, points = made_up(chance)
        meter = target({"quantity": "voltage", "at": {"address": 0, "type": "u16"}}, **made.model_dump(mode="json"))
        requests = [request.data for request in modbus.requests(meter, points)]
        answers = [answer_of(request) for request in requests]
        for request, answer in zip(requests, answers, strict=True):
            modbus.check(request, answer, "rtu")
        for point in points:
            if point.at.type.startswith("f") or point.plus:
                continue
            words = words_of(point.at)
            expected = int.from_bytes(
                b"".join(word.to_bytes(2, "big") for word in range(point.at.address, point.at.address + words)), "big"
            )
            assert evaluate(modbus.locate(meter, requests, point), answers).value == str(expected)


def answer_of(request: bytes) -> bytes:
    """Registers that hold their own address."""
    first, count = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
    data = b"".join(register.to_bytes(2, "big") for register in range(first, first + count))
    frame = request[:2] + bytes([len(data)]) + data
    return frame + modbus.crc(frame)
