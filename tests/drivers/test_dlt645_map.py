"""DL/T 645 identifiers: which reads are planned, how blocks and following frames are put together, what a model may say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from config.dlt645 import dlt645_address, dlt645_findings
from config.dlt645_identifiers import item_of, members_of
from config.mistake import path_text
from drivers import Request, Target, dlt645
from drivers.dlt645_frame import asked_in
from drivers.errors import BadFrame, NoValue
from drivers.formula import evaluate
from tests.peers.dlt645 import METER, answer, frame, model, part, place, target, turned

TARIFFS = [place(f"0001{tariff:02X}00", f"active_energy_import.ch{tariff}") for tariff in range(64)]
PHASES = [place(f"0201{phase:02X}00", f"voltage.l{phase}", "0.1") for phase in (1, 2, 3)]
BLOCK = "0001FF00"


def asked(meter: Target, points: Sequence[Any], hole: int | None = None) -> list[str]:
    """The identifiers of the requests for points, in their order."""
    found = [asked_in(request.data) for request in dlt645.requests(meter, points, hole)]
    return [each.identifier for each in found if each]


def value(meter: Target, quantity: str, exchanges: Sequence[tuple[bytes, bytes]]) -> str | None:
    requests, answers = [pair[0] for pair in exchanges], [pair[1] for pair in exchanges]
    formula = dlt645.locate(meter, requests, meter.model.point(quantity), answers)
    return evaluate(formula, answers).value


def no_value(meter: Target, quantity: str, exchanges: Sequence[tuple[bytes, bytes]]) -> str:
    with pytest.raises(NoValue) as raised:
        value(meter, quantity, exchanges)
    return raised.value.cause


# --- what is read -------------------------------------------------------------------------------------------


def test_a_block_is_read_where_it_brings_several_points_and_the_model_says_the_meter_answers_it() -> None:
    meter = target(*TARIFFS[:5], *PHASES, blocks=[BLOCK, "0201FF00"])
    points = meter.model.points
    assert asked(meter, points) == [BLOCK, "0201FF00"]
    assert asked(meter, points[:6]) == [BLOCK, "02010100"]
    assert asked(meter, [points[0], points[5], points[2]]) == [BLOCK, "02010100"]
    assert asked(meter, [points[7], points[0]]) == ["02010300", "00010000"]
    assert asked(meter, points, hole=0) == [point.at.id for point in points]  # type: ignore[attr-defined]  # Dlt645Points
    plain = target(*TARIFFS[:5], *PHASES)
    assert asked(plain, plain.model.points) == [point["at"]["id"] for point in (*TARIFFS[:5], *PHASES)]


def test_of_two_blocks_with_the_same_point_the_one_that_brings_more_is_read() -> None:
    days = [place("00010001", "active_energy_import.ch70"), place("00010002", "active_energy_import.ch71")]
    meter = target(*TARIFFS[:2], *days, blocks=[BLOCK, "000100FF"])
    assert asked(meter, meter.model.points) == ["000100FF", "00010100"]
    assert asked(meter, meter.model.points[:2]) == [BLOCK]


def test_two_points_of_one_identifier_are_read_once() -> None:
    when = place("01010000", "active_power_demand", "1", offset=3, length=5)
    meter = target(place("01010000", "active_power_demand_max", "0.1"), when)
    assert asked(meter, meter.model.points) == ["01010000"]


def test_every_request_and_following_request_is_prescribed_and_nothing_else_is() -> None:
    meter = target(*TARIFFS[:5], *PHASES, blocks=[BLOCK])
    points = meter.model.points
    made = [*dlt645.requests(meter, points), *dlt645.requests(meter, points, 0), *dlt645.requests(meter, points[2:4])]
    block = made[0].data
    following = dlt645.following(meter, block, answer(BLOCK, "00000001", more=True))
    assert following
    made.append(following)
    assert all(dlt645.prescribes(meter, points, request.data) for request in made)
    others = [
        b"",
        block[1:],  # a wake-up byte fewer
        block[:-1],
        b"\xfe" * 4 + frame("000012345671", 0x11, turned("00010000")),
        b"\xfe" * 4 + frame(METER, 0x11, turned("00020000")),
        b"\xfe" * 4 + frame(METER, 0x11, turned("0201FF00")),  # a block the model does not name
        b"\xfe" * 4 + frame(METER, 0x12, turned(BLOCK) + "00"),
        b"\xfe" * 4 + frame(METER, 0x12, turned(BLOCK) + "ff"),
        b"\xfe" * 4 + frame(METER, 0x12, turned("0201FF00") + "01"),
        b"\xfe" * 4 + frame(METER, 0x13),
        b"\xfe" * 4 + frame(METER, 0x14, turned("00010000")),
        b"\xfe" * 4 + frame(METER, 0x01, turned("0001")),
        b"\xfe" * 4 + frame("A" * 12, 0x11, turned("00010000")),
        b"\xfe" * 4 + frame("9" * 12, 0x11, turned("00010000")),
    ]
    assert [each.hex() for each in others if dlt645.prescribes(meter, points, each)] == []
    assert not dlt645.prescribes(meter, points[1:2], block)  # one tariff alone is no reason for a block
    assert dlt645.prescribes(meter, points[1:3], block)


# --- where values stand -------------------------------------------------------------------------------------


def request_of(meter: Target) -> bytes:
    return dlt645.requests(meter, meter.model.points)[0].data


def test_members_of_a_block_are_found_in_their_order() -> None:
    meter = target(*TARIFFS[:7], blocks=[BLOCK])
    pair = (request_of(meter), answer(BLOCK, "00000100", "00000001", "FFFFFFFF", "00000003", "00000096"))
    assert [value(meter, f"active_energy_import.ch{each}", [pair]) for each in (0, 1, 3, 4)] == ["1.00", "0.01", "0.03", "0.96"]
    assert value(meter, "active_energy_import.ch2", [pair]) is None
    assert no_value(meter, "active_energy_import.ch5", [pair]) == "not_in_answer"  # a meter with four tariffs
    for values in (("00000100", "0000"), ("00000100", "00000001", "00")):
        assert no_value(meter, "active_energy_import.ch0", [(request_of(meter), answer(BLOCK, *values))]) == "wrong_length"


def test_members_of_phase_blocks_begin_with_the_total_or_with_the_first_phase() -> None:
    powers = [place(f"0203{phase:02X}00", f"active_power.ch{phase}", "0.1") for phase in range(4)]
    meter = target(*powers, *PHASES, blocks=["0203FF00", "0201FF00"])
    requests = [request.data for request in dlt645.requests(meter, meter.model.points)]
    answers = [answer("0203FF00", "033120", "811321", "011201", "010988"), answer("0201FF00", "2305", "2298", "2311")]
    pairs = list(zip(requests, answers, strict=True))
    assert [value(meter, f"active_power.ch{phase}", pairs) for phase in range(4)] == ["3312.0", "-1132.1", "1120.1", "1098.8"]
    assert [value(meter, f"voltage.l{phase}", pairs) for phase in (1, 2, 3)] == ["230.5", "229.8", "231.1"]


def test_a_demand_is_the_value_in_front_of_its_time_alone_or_in_a_block() -> None:
    points = [place(f"0101{tariff:02X}00", f"active_power_demand_max.ch{tariff}", "0.1") for tariff in range(2)]
    when = {"name": "when", "at": {"id": "01010000", "type": "digits", "offset": 3, "length": 5}}
    meter = target(*points, blocks=["0101FF00"], identity=[when])
    single = [request.data for request in dlt645.requests(meter, meter.model.points, 0)]
    alone = answer("01010000", "123456", "2601081430")
    assert value(meter, "active_power_demand_max.ch0", [(single[0], alone)]) == "12345.6"
    formula = dlt645.locate(meter, single[:1], meter.model.identity[0], [alone])
    assert evaluate(formula, [alone]).value == "2601081430"
    block = answer("0101FF00", "123456", "2601081430", "023400", "2601090815")
    assert value(meter, "active_power_demand_max.ch1", [(request_of(meter), block)]) == "2340.0"
    assert no_value(meter, "active_power_demand_max.ch0", [(single[0], answer("01010000", "123456"))]) == "wrong_length"


def conversation(meter: Target, answers: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """The requests that the driver makes one after the other until it says that the answer is complete."""
    request: Request | None = dlt645.requests(meter, meter.model.points)[0]
    pairs: list[tuple[bytes, bytes]] = []
    for each in answers:
        assert request is not None, "it asked for no more"
        dlt645.check(request.data, each, "own")
        pairs.append((request.data, each))
        request = dlt645.following(meter, request.data, each)
    assert request is None, "it asks for more"
    return pairs


COUNTERS = [f"{1000 + tariff:08d}" for tariff in range(64)]


def test_following_frames_are_asked_for_by_number_and_put_together() -> None:
    meter = target(*TARIFFS, blocks=[BLOCK])
    answers = [
        answer(BLOCK, *COUNTERS[:30], more=True),
        part(BLOCK, 1, *COUNTERS[30:60], more=True),
        part(BLOCK, 2, *COUNTERS[60:]),
    ]
    pairs = conversation(meter, answers)
    assert [pair[0][4:].hex(" ") for pair in pairs[1:]] == [
        frame(METER, 0x12, turned(BLOCK) + "01").hex(" "),
        frame(METER, 0x12, turned(BLOCK) + "02").hex(" "),
    ]
    read = [value(meter, f"active_energy_import.ch{tariff}", pairs) for tariff in range(64)]
    assert read == [f"{int(counter) // 100}.{int(counter) % 100:02d}" for counter in COUNTERS]
    for pair in pairs[1:]:
        request = dlt645.following(meter, pairs[0][0], pairs[0][1])
        assert request
        assert request.again
        assert request.again.data == pairs[0][0]
        assert dlt645.prescribes(meter, meter.model.points, pair[0])


def test_a_part_with_another_number_or_identifier_is_refused() -> None:
    request = frame(METER, 0x12, turned(BLOCK) + "02")
    for wrong, cause in ((part(BLOCK, 1, "00000001"), "wrong_sequence"), (part("0002FF00", 2, "00000001"), "wrong_identifier"),
                         (answer(BLOCK, "00000001"), "wrong_function"), (part(BLOCK, 2), "wrong_length")):  # fmt: skip
        with pytest.raises(BadFrame) as raised:
            dlt645.check(request, wrong, "own")
        assert raised.value.cause == cause
    dlt645.check(request, part(BLOCK, 2, "00000001"), "own")


def test_a_value_across_two_frames_is_put_together_with_its_sign() -> None:
    meter = target(*TARIFFS[:3], blocks=[BLOCK])
    first = frame(METER, 0xB1, turned(BLOCK) + turned("00000001") + turned("12345678")[:6])
    pairs = conversation(meter, [first, part(BLOCK, 1, "12", "00000003")])
    assert dlt645.locate(meter, [p[0] for p in pairs], meter.model.points[1], [p[1] for p in pairs]) == (
        "0@18:bcd3le33*0.01+1@14:bcd1le33*1000000*0.01"
    )
    assert [value(meter, f"active_energy_import.ch{each}", pairs) for each in range(3)] == ["0.01", "123456.78", "0.03"]
    signed = target(place("00000000", "active_energy_net"), place("00000100", "active_energy_net.t1"), blocks=["0000FF00"])
    first = frame(METER, 0xB1, turned("0000FF00") + turned("00000001") + turned("00345678")[:6])
    for high, wanted in (("80", "-3456.78"), ("00", "3456.78"), ("92", "-123456.78")):
        pairs = conversation(signed, [first, part("0000FF00", 1, high)])
        assert value(signed, "active_energy_net.t1", pairs) == wanted


def test_a_text_across_two_frames_is_no_value() -> None:
    number = {"name": "number", "at": {"id": "04000402", "type": "digits"}}
    meter = target(place("00010000"), identity=[number])
    (request,) = dlt645.requests(meter, meter.model.identity)
    first = frame(METER, 0xB1, turned("04000402") + "705634")
    following = dlt645.following(meter, request.data, first)
    assert following
    with pytest.raises(NoValue, match="split"):
        dlt645.locate(meter, [request.data, following.data], meter.model.identity[0], [first, part("04000402", 1, "000012")])


def test_a_conversation_that_broke_off_gives_what_came_and_hides_nothing_of_the_rest() -> None:
    meter = target(*TARIFFS[:4], blocks=[BLOCK])
    first, second = answer(BLOCK, *COUNTERS[:2], more=True), part(BLOCK, 1, *COUNTERS[2:4])
    ask, again = conversation(meter, [first, second])
    broken = [(ask[0], first), (b"", b"")]
    assert value(meter, "active_energy_import.ch1", broken) == "10.01"
    with pytest.raises(KeyError):
        value(meter, "active_energy_import.ch2", broken)
    newer = answer(BLOCK, "00002000", "00002001", more=True)
    renewed = [*broken, (ask[0], newer), again]
    assert value(meter, "active_energy_import.ch1", renewed) == "20.01"
    assert value(meter, "active_energy_import.ch2", renewed) == "10.02"
    with pytest.raises(KeyError):
        value(meter, "active_energy_import.ch3", [again])  # a part without its beginning has no place


def test_a_meter_that_never_ends_is_asked_no_more_after_a_while() -> None:
    meter = target(*TARIFFS, blocks=[BLOCK])
    request: Request | None = dlt645.requests(meter, meter.model.points)[0]
    asked_for = 0
    while request:
        asked_for += 1
        each = asked_in(request.data)
        assert each
        told = part(BLOCK, each.sequence, "00000001", more=True) if each.sequence else answer(BLOCK, "00000001", more=True)
        request = dlt645.following(meter, request.data, told)
    assert asked_for == 33


def test_parts_of_1997_have_no_numbers_and_count_only_while_none_between_them_failed() -> None:
    points = [place(f"901{tariff:X}", f"active_energy_import.ch{tariff}") for tariff in range(5)]
    meter = target(*points, edition=1997, blocks=["901F"])
    ask = request_of(meter)
    first = answer("901F", *COUNTERS[:2], control=0xA1)
    request = dlt645.following(meter, ask, first)
    assert request
    assert request.data[4:] == frame(METER, 0x02, "1f90")
    second, third = answer("901F", *COUNTERS[2:4], control=0xA2), answer("901F", COUNTERS[4], control=0x82)
    pairs = conversation(meter, [first, second, third])
    assert [value(meter, f"active_energy_import.ch{each}", pairs) for each in range(5)] == [
        "10.00",
        "10.01",
        "10.02",
        "10.03",
        "10.04",
    ]
    damaged = [pairs[0], (b"", b""), pairs[2]]  # which part the third answer is, nobody knows
    with pytest.raises(KeyError):
        value(meter, "active_energy_import.ch2", damaged)


def test_the_separator_of_1997_behind_a_block_is_no_data() -> None:
    points = [place(f"901{tariff:X}", f"active_energy_import.ch{tariff}") for tariff in range(6)]
    meter = target(*points, edition=1997, blocks=["901F"])
    pair = (request_of(meter), answer("901F", *COUNTERS[:5], "AA"))
    assert value(meter, "active_energy_import.ch4", [pair]) == "10.04"
    assert no_value(meter, "active_energy_import.ch5", [pair]) == "not_in_answer"


def test_a_failed_exchange_is_masked_and_another_ones_answer_is_taken() -> None:
    meter = target(*TARIFFS[:2], *PHASES[:1])
    requests = [request.data for request in dlt645.requests(meter, meter.model.points)]
    good = answer("00010100", "00000005")
    pairs = [(b"", b""), (requests[0], answer("00010000", "00000004")), (b"", b""), (requests[1], good)]
    assert value(meter, "active_energy_import.ch0", pairs) == "0.04"
    assert value(meter, "active_energy_import.ch1", pairs) == "0.05"
    with pytest.raises(KeyError):
        value(meter, "voltage.l1", pairs)
    far = target(*TARIFFS, blocks=[BLOCK])
    unanswered = dlt645.locate(far, [request_of(far)], far.model.point("active_energy_import.ch63"), [b""])
    assert unanswered == "0@266:bcd4le33*0.01"
    # Asked before anything was answered: where it will stand, so that a fault can be told of this point.
    assert dlt645.locate(meter, [requests[2]], meter.model.point("voltage.l1"), [b""]) == "0@14:bcd2le33*0.1"


def test_an_answer_that_is_none_to_its_request_holds_nothing() -> None:
    meter = target(*TARIFFS[:1])
    request = request_of(meter)
    for wrong in (answer("00020000", "00000001"), answer("00010000"), b"\x68", answer("00010000", "00000001")[:-1]):
        with pytest.raises(KeyError):
            value(meter, "active_energy_import.ch0", [(request, wrong)])


def test_where_any_meter_was_asked_only_one_is_listened_to() -> None:
    meter = target(*TARIFFS[:2], address="A" * 12)
    requests = [request.data for request in dlt645.requests(meter, meter.model.points)]
    one, other = answer("00010000", "00000001"), answer("00010100", "00000002", address="000012345671")
    pairs = list(zip(requests, (one, other), strict=True))
    assert value(meter, "active_energy_import.ch0", pairs) == "0.01"
    with pytest.raises(KeyError):
        value(meter, "active_energy_import.ch1", pairs)


# --- identifiers and models ---------------------------------------------------------------------------------


LENGTHS = [
    ("00000000 00003F00 0000000C 00030000 00040100 00170000 002B0000 00400000", 4, 4, True),
    ("00010000 00010400 00010001 00020000 00050000 00080000 000A3F0C 00150000 00460000 00940000", 4, 4, False),
    ("01010000 01020400 01090000 010A000C 01150000", 3, 8, False),
    ("01030000 01040000", 3, 8, True),
    ("02010100 02010300 02070100 02080200 02090300 020C0100 020A0101 020B0315 02800002", 2, 2, False),
    ("02020100 02030000 02030300 02040000 02050100 02800001 02800003 02800004 02800006", 3, 3, True),
    ("02060000 02060300 02800007", 2, 2, True),
    ("0280000A 0280000B 04000101", 4, 4, False),
    ("04000401 04000402 C032 C034", 6, 6, False),
    ("04000102 04000409 0400040A 03300000 03300D00 C011 C030", 3, 3, False),
    ("04000601 04000603 C020", 1, 1, False),
    ("9000 9010 9020 9110 9130 9014 9410 9890 B010 C010 B210", 4, 4, False),
    ("A010 A120 A411 B214", 3, 3, False),
    ("B611 B613 B621 B693", 2, 2, False),
    ("B630 B633", 3, 3, True),
    ("B640 B650", 2, 2, True),
]


@pytest.mark.parametrize(("identifiers", "value_bytes", "size", "signed"), LENGTHS)
def test_the_tables_say_how_long_an_identifiers_data_is(identifiers: str, value_bytes: int, size: int, signed: bool) -> None:
    for identifier in identifiers.split():
        item = item_of(identifier)
        assert item is not None, identifier
        assert (item.value, item.size, item.signed) == (value_bytes, size, signed), identifier


NOT_IN_THE_TABLES = "0001FF00 00FF0000 0001000D 00014000 02010000 02010400 06000001 901F B61F B610 FFFF"


@pytest.mark.parametrize("identifier", NOT_IN_THE_TABLES.split())
def test_the_tables_say_nothing_of_blocks_and_of_what_the_standard_does_not_have(identifier: str) -> None:
    assert item_of(identifier) is None


@pytest.mark.parametrize(
    ("block", "first", "last", "count"),
    [
        ("0001FF00", "00010000", "00013F00", 64),
        ("0001FF02", "00010002", "00013F02", 64),
        ("000100FF", "00010000", "0001000C", 13),
        ("0101FF00", "01010000", "01013F00", 64),
        ("0201FF00", "02010100", "02010300", 3),
        ("0202FF00", "02020100", "02020300", 3),
        ("0203FF00", "02030000", "02030300", 4),
        ("0206FF00", "02060000", "02060300", 4),
        ("0207FF00", "02070100", "02070300", 3),
        ("901F", "9010", "901E", 15),
        ("A01F", "A010", "A01E", 15),
        ("B61F", "B611", "B613", 3),
        ("B63F", "B630", "B633", 4),
    ],
)
def test_a_block_brings_its_members_in_the_order_of_the_standard(block: str, first: str, last: str, count: int) -> None:
    members = members_of(block)
    assert (members[0], members[-1], len(members)) == (first, last, count)
    items = {item_of(member) for member in members}
    assert len(items) == 1
    assert None not in items


def test_what_is_no_block_has_no_members() -> None:
    assert [
        each for each in ("00010000", "00FFFF00", "02FF0000", "0400FF01", "9010", "C03F", "FFFFFFFF") if members_of(each)
    ] == []


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("000012345670", "000012345670"),
        ("12345670", "000012345670"),
        ("202311045678", "202311045678"),
        ("161", "000000000161"),
        ("aaaaaaaaaaaa", "AAAAAAAAAAAA"),
        ("AAAAAA005678", "AAAAAA005678"),
    ],
)
def test_an_address_is_the_number_on_the_plate_in_one_spelling(text: str, address: str) -> None:
    assert dlt645_address(text) == address


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "address is missing"),
        ("2023110456780", "is not a DL/T 645 address"),
        ("12-34", "is not a DL/T 645 address"),
        ("A23456789012", "is not a DL/T 645 address"),
        ("12AA34567890", "is not a DL/T 645 address"),
        ("AA12", "is not a DL/T 645 address"),
        ("999999999999", "calls all meters at once and is never used"),
    ],
)
def test_what_is_no_address_is_refused_in_plain_words(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        dlt645_address(text)


NUMBER = {"id": "04000402", "type": "digits"}


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"points": [place("9010")]}, "points[0].at.id: 9010 has not 8 digits, as identifiers of the edition of 2007 have"),
        ({"points": [place("0001FF00")]}, "points[0].at.id: 0001FF00 is a block"),
        ({"points": [place("06000001")]}, "points[0].at.length: is missing: the standard's tables have no 06000001"),
        ({"points": [place("01010000", offset=6)]}, "points[0].at.offset: the value ends behind byte 8"),
        ({"points": [place("00010000", type="digits")]}, "points[0].at.type: digits is text, not a number"),
        ({"blocks": ["901F"]}, "dlt645.blocks[0]: 901F has not 8 digits"),
        ({"blocks": ["00010000"]}, "dlt645.blocks[0]: 00010000 is no block"),
        ({"blocks": [BLOCK, BLOCK]}, "dlt645.blocks[1]: 0001FF00 stands twice"),
        ({"edition": 1997, "points": [place("00010000")]}, "points[0].at.id: 00010000 has not 4 digits"),
        ({"identity": [{"name": "number", "at": NUMBER, "scale": "2"}]}, "identity[0].scale: digits is text"),
        ({"identity": [{"name": "number", "at": NUMBER | {"signed": True}}]}, "identity[0].at.signed: text has no sign"),
    ],
)
def test_a_model_that_cannot_be_read_so_is_told_its_mistake(keys: dict[str, Any], told: str) -> None:
    points = keys.pop("points", [place("00010000")])
    found = [f"{path_text(path)}: {message}" for path, message in dlt645_findings(model(*points, **keys))]
    assert len(found) == 1
    assert found[0].startswith(told)


def test_a_length_of_its_own_stands_for_a_meter_that_deviates() -> None:
    meter = target(place("B611", "voltage.l1", "0.1", length=3), edition=1997)
    assert list(dlt645_findings(meter.model)) == []  # type: ignore[arg-type]  # a Dlt645Model
    pair = (request_of(meter), answer("B611", "002305"))
    assert value(meter, "voltage.l1", [pair]) == "230.5"
    freeze = target(place("05060101", length=4, offset=4, size=20))
    pair = (request_of(freeze), answer("05060101", "00000001", "00000002", "00000003", "00000004", "00000005"))
    assert value(freeze, "active_energy_import", [pair]) == "0.02"
