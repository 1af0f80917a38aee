"""Modbus frames: published ones are built and accepted byte for byte, and everything else is refused by its own cause."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drivers import Target, load, modbus
from drivers.errors import BadFrame, MeterError, NoAnswer, Refused
from drivers.formula import evaluate
from tests.peers.registers import place, target

FRAMINGS = ("rtu", "tcp", "ascii")


def h(text: str) -> bytes:
    return bytes.fromhex(text)


def framed(unit: int, pdu: bytes, framing: str, transaction: int = 1) -> bytes:
    """A frame by arithmetic of our own: nothing of the program under test."""
    data = bytes([unit]) + pdu
    if framing == "tcp":
        return transaction.to_bytes(2, "big") + b"\0\0" + len(data).to_bytes(2, "big") + data
    if framing == "ascii":
        return b":" + (data + bytes([-sum(data) & 0xFF])).hex().upper().encode() + b"\r\n"
    register = 0xFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0xA001 if register & 1 else 0)
    return data + register.to_bytes(2, "little")


# Requests and answers of the MODBUS Application Protocol Specification V1.1b3 (modbus.org), sections as named: PDUs.
PUBLISHED = {
    "6.1 read coils 20 to 38": ("01 0013 0013", "01 03 CD6B05"),
    "6.2 read discrete inputs 197 to 218": ("02 00C4 0016", "02 03 ACDB35"),
    "6.3 read holding registers 108 to 110": ("03 006B 0003", "03 06 022B 0000 0064"),
    "6.4 read input register 9": ("04 0008 0001", "04 02 000A"),
    # Section 6.21, lengths counted again: 22, 15 and 5 characters.
    "6.21 read device identification": (
        "2B 0E 01 00",
        "2B 0E 01 01 00 00 03 00 16"
        + b"Company identification".hex()
        + "01 0F"
        + b"Product code XX".hex()
        + "02 05"
        + b"V2.11".hex(),
    ),
}

# The same as whole frames; checksums by two independent implementations (libmodbus 3.1.6, pymodbus 3.16.1).
WHOLE = [
    ("rtu", "11 01 0013 0013 8E92", "11 01 03 CD6B05 4012"),
    ("rtu", "11 02 00C4 0016 BAA9", "11 02 03 ACDB35 2018"),
    ("rtu", "11 03 006B 0003 7687", "11 03 06 022B 0000 0064 C8BA"),
    ("rtu", "11 04 0008 0001 B298", "11 04 02 000A F8F4"),
    ("tcp", "0001 0000 0006 11 03 006B 0003", "0001 0000 0009 11 03 06 022B 0000 0064"),
    ("ascii", b":1103006B00037E\r\n".hex(), b":110306022B0000006455\r\n".hex()),
    # Measured: these bytes came alike from libmodbus, pymodbus, modbus-tk, pyModbusTCP, modbus-serial and jsmodbus.
    ("rtu", "01 03 0000 000B 040D", "01 03 16 43668000 80004366 00BC614E FF85 00000002DFDC1C35 AA54"),
]


def test_the_checksum_is_the_published_one() -> None:
    assert modbus.crc(h("02 07")) == h("41 12")  # MODBUS over Serial Line V1.02, appendix B


@pytest.mark.parametrize(("framing", "request_", "answer"), WHOLE)
def test_published_frames_are_found_and_accepted(framing: str, request_: str, answer: str) -> None:
    asked, told = h(request_), h(answer)
    assert modbus.answer_span(asked, told, framing) == (0, len(told))
    modbus.check(asked, told, framing)


@pytest.mark.parametrize(
    ("function", "kind", "address", "count", "frame"),
    [
        (3, "hex", 0x6B, 3, "11 03 006B 0003 7687"),
        (4, "u16", 0x08, None, "11 04 0008 0001 B298"),
    ],
)
def test_requests_are_built_as_published(function: int, kind: str, address: int, count: int | None, frame: str) -> None:
    meter = target({"quantity": "voltage", "at": {"address": 0, "type": "u16"}}, address=17)
    requests = modbus.requests(meter, [place(kind, address, function=function, **({"count": count} if count else {}))])
    assert [request.data for request in requests] == [h(frame)]


@pytest.mark.parametrize("framing", FRAMINGS)
def test_coils_side_by_side_are_asked_for_as_published(framing: str) -> None:
    meter = meter_with(framing)
    points = [place("bit", address, function=1) for address in range(0x13, 0x13 + 0x13)]
    (request,) = modbus.requests(meter, points)
    assert modbus.numbered(request, 1, framing).data == framed(17, h(PUBLISHED["6.1 read coils 20 to 38"][0]), framing)


def meter_with(framing: str, unit: int = 17) -> Target:
    return target({"quantity": "voltage", "at": {"address": 0, "type": "u16"}}, address=unit, framing=framing)


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_exchanges_are_accepted_in_every_framing(name: str, framing: str) -> None:
    request, answer = (framed(17, h(pdu), framing) for pdu in PUBLISHED[name])
    assert modbus.answer_span(request, answer, framing) == (0, len(answer))
    modbus.check(request, answer, framing)


@pytest.mark.parametrize("framing", FRAMINGS)
def test_published_registers_and_coils_give_the_published_values(framing: str) -> None:
    meter = meter_with(framing)
    request, answer = (framed(17, h(pdu), framing) for pdu in PUBLISHED["6.3 read holding registers 108 to 110"])
    found = [evaluate(modbus.locate(meter, [request], place("u16", address)), [answer]).value for address in (0x6B, 0x6C, 0x6D)]
    assert found == ["555", "0", "100"]
    request, answer = (framed(17, h(pdu), framing) for pdu in PUBLISHED["6.1 read coils 20 to 38"])
    coils = [place("bit", address, function=1) for address in range(0x13, 0x13 + 0x13)]
    found = [evaluate(modbus.locate(meter, [request], coil), [answer]).value for coil in coils]
    assert "".join(map(str, found)) == "1011001111010110101"  # CD, 6B and 05, each from its lowest bit on


# --- where an answer lies -----------------------------------------------------------------------------------


IN_FRONT = [("tcp", "nothing"), ("tcp", "another transaction")] + [
    (framing, what) for framing in ("rtu", "ascii") for what in ("nothing", "echo", "noise", "noise and echo")
]


@pytest.mark.parametrize(("framing", "in_front"), IN_FRONT)
@pytest.mark.parametrize("name", PUBLISHED)
def test_an_answer_is_found_byte_by_byte_and_at_once_in_the_same_place(name: str, framing: str, in_front: str) -> None:
    request, answer = (framed(17, h(pdu), framing) for pdu in PUBLISHED[name])
    noise = h("FF 00 3A 0D") if framing == "ascii" else h("FF 00 11 03")
    before = {
        "nothing": b"",
        "echo": request,
        "noise": noise,
        "noise and echo": noise + request,
        "another transaction": framed(17, h(PUBLISHED[name][1]), framing, 9),
    }[in_front]
    buffer = before + answer + b"\x11"
    expected = (len(before), len(before) + len(answer))
    assert modbus.answer_span(request, buffer, framing) == expected
    for length in range(expected[1]):
        assert modbus.answer_span(request, buffer[:length], framing) is None
    assert modbus.answer_span(request, buffer[: expected[1]], framing) == expected


def test_an_echo_behind_noise_is_not_an_answer_though_its_bytes_have_the_shape_of_one() -> None:
    # Seventeen coils from 0300H: the request's third byte, 03, is just the byte count that the answer must have.
    request = framed(17, h("01 0300 0011"), "rtu")
    modbus.check(request, request, "rtu")  # from the frame alone it cannot be told
    answer = framed(17, h("01 03 AABB01"), "rtu")
    assert modbus.answer_span(request, request, "rtu") is None
    assert modbus.answer_span(request, b"\xff" + request, "rtu") is None
    assert modbus.answer_span(request, b"\xff" + request + answer, "rtu") == (9, 17)


def test_bytes_inside_an_answer_that_form_a_frame_of_their_own_do_not_count_before_it_is_complete() -> None:
    request = framed(17, h("03 0000 0005"), "rtu")
    answer = framed(17, h("03 0A") + framed(17, h("83 02"), "rtu") + bytes(5), "rtu")
    assert modbus.answer_span(request, answer[:9], "rtu") is None
    assert modbus.answer_span(request, b"\xff" + answer[:9], "rtu") is None
    assert modbus.answer_span(request, answer, "rtu") == (0, len(answer))


def test_on_tcp_bytes_of_another_protocol_are_handed_to_the_check_at_once() -> None:
    request = framed(1, h("03 0000 0001"), "tcp", 7)
    for stranger in (b"HTTP/1.1 400 Bad Request\r\n\r\n", framed(1, b"\x03" + bytes(300), "tcp", 9), h("0009 0000 0002 01 03")):
        span = modbus.answer_span(request, stranger, "tcp")
        assert span == (0, len(stranger))
        assert cause_of(request, stranger, "tcp") in {"not_modbus", "wrong_transaction"}


# --- whose answer it is -------------------------------------------------------------------------------------


def cause_of(request: bytes, answer: bytes, framing: str) -> str:
    try:
        modbus.check(request, answer, framing)
    except MeterError as error:
        return error.cause if str(error) and error.hint else "an error without words"
    return ""


WRONG = {
    "03 04 00010002": "",
    "03 02 0001": "wrong_length",
    "03 06 000100020003": "wrong_length",
    "03 04 0001": "wrong_length",
    "03 04 000100": "wrong_length",
    "03 03 000100": "wrong_length",
    "03 00": "wrong_length",
    "03": "wrong_length",
    "04 04 00010002": "wrong_function",
    "06 0000 0001": "wrong_function",
    "84 02": "wrong_function",
    "83": "wrong_function",
    "83 02 00": "wrong_function",
}


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("pdu", WRONG)
def test_an_answer_of_another_shape_is_refused(pdu: str, framing: str) -> None:
    request = framed(5, h("03 0010 0002"), framing)
    assert cause_of(request, framed(5, h(pdu), framing), framing) == WRONG[pdu]
    assert cause_of(request, framed(6, h(pdu), framing), framing) == "wrong_unit"


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize(
    ("code", "cause", "kind"),
    [
        (1, "illegal_function", Refused),
        (2, "illegal_address", Refused),
        (3, "illegal_value", Refused),
        (4, "device_failure", Refused),
        (5, "acknowledge", Refused),
        (6, "busy", Refused),
        (8, "memory_parity", Refused),
        (10, "gateway_path", NoAnswer),
        (11, "gateway_target", NoAnswer),
        (0x7B, "exception_123", Refused),
    ],
)
def test_a_refusal_is_named_by_its_code(code: int, cause: str, kind: type[MeterError], framing: str) -> None:
    request = framed(5, h("04 0010 0002"), framing)
    answer = framed(5, bytes([0x84, code]), framing)
    assert modbus.answer_span(request, answer, framing) == (0, len(answer))
    with pytest.raises(kind) as caught:
        modbus.check(request, answer, framing)
    assert caught.value.cause == cause


@pytest.mark.parametrize("framing", ["rtu", "ascii"])
def test_every_single_changed_bit_of_an_answer_is_noticed(framing: str) -> None:
    request = framed(5, h("03 0010 0002"), framing)
    answer = framed(5, h("03 04 12345678"), framing)
    for position in range(8 * len(answer)):
        spoilt = bytearray(answer)
        spoilt[position // 8] ^= 1 << position % 8
        if framing == "ascii" and bytes(spoilt).upper() == answer:
            continue  # a letter in the other case is the same digit
        with pytest.raises(BadFrame):
            modbus.check(request, bytes(spoilt), framing)


def test_on_tcp_an_answer_with_another_transaction_number_is_refused() -> None:
    request = framed(5, h("03 0010 0002"), "tcp", 0x0102)
    assert cause_of(request, framed(5, h("03 04 12345678"), "tcp", 0x0102), "tcp") == ""
    assert cause_of(request, framed(5, h("03 04 12345678"), "tcp", 0x0201), "tcp") == "wrong_transaction"


@pytest.mark.parametrize(
    "request_", ["", "05 06 0010 0002", "05 03 0010 0000", "05 03 0010 007E", "05 01 0010 07D1", "05 2B 0D 01 00"]
)
def test_a_request_that_is_none_is_never_answered(request_: str) -> None:
    request = framed(5, h(request_)[1:], "rtu") if request_ else b""
    assert cause_of(request, framed(5, h("03 02 0001"), "rtu"), "rtu") == "bad_request"


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 17, 2000])
def test_coils_come_in_as_many_bytes_as_their_number_needs(count: int, framing: str) -> None:
    request = framed(5, h("02 0010") + count.to_bytes(2, "big"), framing)
    whole = -(-count // 8)
    assert cause_of(request, framed(5, bytes([2, whole]) + bytes(whole), framing), framing) == ""
    assert cause_of(request, framed(5, bytes([2, whole - 1]) + bytes(whole - 1), framing), framing) == "wrong_length"


# --- what an unfinished answer is called --------------------------------------------------------------------


def fault_of(buffer: bytes, framing: str) -> str:
    cause, words = modbus.fault(framed(5, h("03 0010 0002"), framing), buffer, framing)
    assert words
    return cause


@pytest.mark.parametrize("framing", FRAMINGS)
def test_silence_is_no_answer(framing: str) -> None:
    assert fault_of(b"", framing) == "no_answer"


@pytest.mark.parametrize("framing", ["rtu", "ascii"])
def test_an_echo_alone_is_named(framing: str) -> None:
    assert fault_of(framed(5, h("03 0010 0002"), framing), framing) == "only_echo"


@pytest.mark.parametrize("framing", FRAMINGS)
def test_an_answer_cut_short_is_named_wherever_it_was_cut(framing: str) -> None:
    answer = framed(5, h("03 04 12345678"), framing)
    refusal = framed(5, h("83 02"), framing)
    echo = b"" if framing == "tcp" else framed(5, h("03 0010 0002"), framing)
    for told in (answer, refusal):
        for length in range(1, len(told)):
            assert fault_of(told[:length], framing) == "short_answer"
            assert fault_of(echo + told[:length], framing) == "short_answer"


def test_a_wrong_checksum_is_named() -> None:
    assert fault_of(framed(5, h("03 04 12345678"), "rtu")[:-1] + b"\0", "rtu") == "bad_checksum"
    assert fault_of(framed(5, h("83 02"), "rtu")[:-1] + b"\0", "rtu") == "bad_checksum"


def test_bytes_that_are_no_frame_are_noise() -> None:
    assert fault_of(h("FF FE 00"), "rtu") == "noise"
    assert fault_of(h("FF FE 00"), "ascii") == "noise"


def test_on_tcp_answers_to_other_requests_alone_are_named() -> None:
    assert fault_of(framed(5, h("03 04 12345678"), "tcp", 99), "tcp") == "wrong_transaction"


# --- identification -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", FRAMINGS)
def test_the_published_identification_is_asked_for_and_read(framing: str) -> None:
    request, answer = (framed(17, h(pdu), framing) for pdu in PUBLISHED["6.21 read device identification"])
    asked = modbus.numbered(modbus.identification_request(meter_with(framing)), 1, framing)
    assert asked.data == request
    modbus.check(request, answer, framing)
    objects = {"maker": "Company identification", "product": "Product code XX", "revision": "V2.11"}
    assert modbus.identification(answer, framing) == (objects, None)


def test_an_identification_in_several_answers_says_where_to_go_on() -> None:
    answer = framed(17, h("2B 0E 02 82 FF 04 01 03 02 4142"), "rtu")
    assert modbus.identification(answer, "rtu") == ({"web page": "AB"}, 4)
    assert modbus.identification_request(meter_with("rtu"), 4, 2).data == framed(17, h("2B 0E 02 04"), "rtu")


@pytest.mark.parametrize(
    ("pdu", "cause"),
    [
        ("2B 0E 02 01 00 00 01 00 01 41", "wrong_function"),  # an answer to "regular" for a request for "basic"
        ("2B 0D 01 01 00 00 01 00 01 41", "wrong_function"),
        ("03 02 0001", "wrong_function"),
        ("2B 0E 01 01 00 00 02 00 01 41", "wrong_length"),
        ("2B 0E 01 01 00 00 01 00 02 41", "wrong_length"),
        ("2B 0E 01 01 00 00 01 00 01 41 42", "wrong_length"),
        ("2B 0E 01 01", "wrong_length"),
        ("AB 01", "illegal_function"),
    ],
)
def test_another_identification_than_the_one_asked_for_is_refused(pdu: str, cause: str) -> None:
    request = framed(17, h("2B 0E 01 00"), "rtu")
    assert cause_of(request, framed(17, h(pdu), "rtu"), "rtu") == cause


# --- where a value stands -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "more", "registers", "text"),
    [
        ("u8", {}, "FF7B", "123"),
        ("i8", {}, "0085", "-123"),
        ("u16", {}, "FF85", "65413"),
        ("i16", {}, "FF85", "-123"),
        ("i16", {"byte_order": "little"}, "85FF", "-123"),
        ("i16", {"word_order": "little"}, "FF85", "-123"),
        ("u16", {"bits": "4-7"}, "00A0", "10"),
        ("bit", {"bits": "3", "function": 3}, "0008", "1"),
        ("u32", {}, "00BC614E", "12345678"),
        ("u32", {"word_order": "little"}, "614E00BC", "12345678"),
        ("u32", {"byte_order": "little"}, "BC004E61", "12345678"),
        ("u32", {"word_order": "little", "byte_order": "little"}, "4E61BC00", "12345678"),
        ("u48", {"word_order": "little"}, "DC1C02DF0000", "48225308"),
        ("i64", {}, "FFFFFFFFFFFFFF85", "-123"),
        ("u64", {}, "00000002DFDC1C35", "12345678901"),
        ("f32", {}, "43668000", "230.5"),
        ("f32", {"word_order": "little"}, "80004366", "230.5"),
        ("f32", {"byte_order": "little"}, "66430080", "230.5"),
        ("f32", {"word_order": "little", "byte_order": "little"}, "00806643", "230.5"),
        ("f64", {}, "406CD00000000000", "230.5"),
        ("bcd", {"count": 2}, "12345678", "12345678"),
        ("bcd", {"count": 1, "byte_order": "little"}, "3412", "1234"),
        ("mod10", {"count": 2}, "00010002", "10002"),
        ("mod10", {"count": 2, "word_order": "little"}, "00020001", "10002"),
        ("mod10", {"count": 2, "byte_order": "little"}, "01000200", "10002"),
        ("ascii", {"count": 3}, "413132200000", "A12"),
        ("hex", {"count": 1}, "00AB", "00ab"),
    ],
)
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("before", [0, 3])
def test_every_type_is_found_in_its_registers(
    kind: str, more: dict[str, str], registers: str, text: str, framing: str, before: int
) -> None:
    meter = meter_with(framing)
    point = place(kind, 100, **more)
    count = len(h(registers)) // 2
    request = framed(17, bytes([3]) + (100 - before).to_bytes(2, "big") + (count + before).to_bytes(2, "big"), framing)
    data = bytes(2 * before) + h(registers)
    answer = framed(17, bytes([3, len(data)]) + data, framing)
    modbus.check(request, answer, framing)
    assert evaluate(modbus.locate(meter, [request], point), [answer]).value == text


def test_a_value_is_never_located_in_another_units_functions_or_masked_answer() -> None:
    meter = meter_with("rtu")
    point = place("u16", 100)
    strangers = [
        framed(18, h("03 0064 0001"), "rtu"),
        framed(17, h("04 0064 0001"), "rtu"),
        framed(17, h("03 0063 0001"), "rtu"),
        framed(17, h("2B 0E 01 00"), "rtu"),
        b"",
        b"\x11\x03",
    ]
    with pytest.raises(KeyError):
        modbus.locate(meter, strangers, point)
    assert modbus.locate(meter, [*strangers, framed(17, h("03 0064 0001"), "rtu")], point) == "6@3:u16be"


def test_points_of_different_meters_in_the_same_registers_each_have_their_own_formula() -> None:
    request = framed(17, h("03 0064 0002"), "tcp")
    for number in range(1000):  # the points and models of meters that are gone are gone too, and their places are used again
        scale = f"0.{number + 1}".rstrip("0")
        point = place("u32", 100, scale=scale)
        meter = meter_with("tcp")
        for transaction in (b"\0\1", b"\0\2"):
            found = modbus.locate(meter, [transaction + request[2:]], point)
            assert found == f"0@9:u32be*{scale}"
    rated = place("u32", 100, ratio="ct")
    ratios = [replace(meter_with("tcp"), ct=ratio) for ratio in ("400/5", "100/5")]
    assert [modbus.locate(meter, [request], rated) for meter in ratios] == ["0@9:u32be*400/5", "0@9:u32be*100/5"]


def test_a_number_is_never_taken_from_bits() -> None:
    # One coil answers one byte; sixteen bits from there would reach into the checksum.
    with pytest.raises(KeyError):
        modbus.locate(meter_with("rtu"), [framed(17, h("01 0064 0001"), "rtu")], place("u16", 100, function=1))


def test_scale_sentinels_parts_exponent_and_ratios_stand_in_the_formula() -> None:
    meter = target({"quantity": "voltage", "at": {"address": 0, "type": "u16"}}, address=1, ct="400/5", vt="10000/100")
    (request,) = modbus.requests(meter, [place("u16", 0), place("u32", 1), place("i16", 3), place("u16", 4)])
    located = [
        place("u32", 1, missing=["FFFF FFFF"], scale="0.010"),
        place("u32", 1, ratio="ct", scale="0.01"),
        place("u32", 1, ratio="ct_vt"),
        place("u32", 1, ratio="already_primary"),
        place("u32", 1, plus=[{"at": {"address": 4, "type": "u16"}, "scale": "0.001"}]),
        place("u32", 1, exponent={"at": {"address": 3, "type": "i16"}, "offset": -4}, ratio="vt"),
    ]
    assert [modbus.locate(meter, [request.data], point) for point in located] == [
        "0@5:u32be!ffffffff*0.010",
        "0@5:u32be*0.01*400/5",
        "0@5:u32be*400/5*10000/100",
        "0@5:u32be",
        "0@5:u32be+0@11:u16be*0.001",
        "0@5:u32be*10^(0@9:i16be-4)*10000/100",
    ]


def test_only_reading_functions_can_be_sent() -> None:
    for function in (1, 2, 3, 4):
        meter = meter_with("rtu")
        kind = "bit" if function < 3 else "u16"
        assert [request.data[1] for request in modbus.requests(meter, [place(kind, 7, function=function)])] == [function]
    assert modbus.identification_request(meter_with("rtu")).data[1] == 0x2B


def test_a_driver_is_found_by_its_name_and_an_unknown_one_is_a_key_error() -> None:
    assert load("modbus") is modbus
    with pytest.raises(KeyError):
        load("os")
