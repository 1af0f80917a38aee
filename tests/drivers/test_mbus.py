"""The M-Bus driver: what it sends, which answers it takes, and how a conversation goes on."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.mbus import mbus_address, mbus_findings
from drivers import Request, Target, load, mbus
from drivers.errors import BadFrame, NoValue, Refused
from drivers.formula import evaluate
from drivers.mbus_frame import fits, pattern_of
from tests.drivers.mbus_frames import ACK, FRAMES, PUBLISHED, TELEGRAMS, long, model, point, resealed, short, target, telegram

ENERGY = point("thermal_energy", "energy")
BEGIN, DATA, MORE = short(0x40, 5), short(0x7B, 5), short(0x5B, 5)
BEGIN_FD, DATA_FD, MORE_FD = short(0x40, 0xFD), short(0x7B, 0xFD), short(0x5B, 0xFD)
SELECT = long(0x73, 0xFD, 0x52, bytes.fromhex("78563412ffffffff"))
ANSWER = telegram("040664000000")


def sent(requests: list[Request]) -> list[bytes]:
    return [request.data for request in requests]


def value(meter: Target, requests: list[bytes], answers: list[bytes]) -> str | None:
    return evaluate(mbus.locate(meter, requests, ENERGY, answers), answers).value


# --- what is sent ---------------------------------------------------------------------------------------------


def test_a_poll_by_primary_address_begins_anew_and_asks_for_data() -> None:
    (begin,) = mbus.requests(target(), [ENERGY])
    assert begin.data == BEGIN == bytes.fromhex("1040054516")
    assert not begin.silent
    asking = mbus.following(target(), begin.data, ACK)
    assert asking is not None
    assert asking.data == DATA == bytes.fromhex("107b058016")  # as libmbus sends it
    assert asking.again is None  # a repeat keeps its frame count bit, so no telegram is skipped
    assert mbus.following(target(), DATA, ANSWER) is None


def test_a_poll_by_secondary_address_selects_first_and_deselects_at_the_end() -> None:
    meter = target(address="12345678")
    select, begin = mbus.requests(meter, [ENERGY])
    assert select.data == SELECT
    assert not select.silent  # the answer to it shows that a meter which was silent is back
    assert begin.data == BEGIN_FD == bytes.fromhex("1040fd3d16")  # as libmbus sends it
    assert begin.silent  # only a meter that is selected answers
    assert mbus.following(meter, BEGIN_FD, ACK) is None
    asking = mbus.following(meter, SELECT, ACK)
    assert asking is not None
    assert asking.data == DATA_FD


@pytest.mark.parametrize(("address", "asked", "other"), [("5", DATA, MORE), ("12345678", DATA_FD, MORE_FD)])
def test_more_telegrams_are_asked_for_with_the_other_frame_count_bit(address: str, asked: bytes, other: bytes) -> None:
    meter, more = target(address=address), telegram("0406640000001f")
    following = mbus.following(meter, asked, more)
    assert following is not None
    assert following.data == other
    following = mbus.following(meter, other, more)
    assert following is not None
    assert following.data == asked
    assert mbus.following(meter, other, ANSWER) is None


@pytest.mark.parametrize("name", [one["name"] for one in PUBLISHED if one.get("more")])
def test_the_published_telegrams_that_have_more_behind_them_are_continued(name: str) -> None:
    assert mbus.following(target(), DATA, TELEGRAMS[name]) is not None


def test_nothing_is_sent_for_nothing() -> None:
    assert mbus.requests(target(), []) == []
    assert mbus.following(target(), b"", b"") is None
    assert mbus.following(target(), b"\x01\x03", ACK) is None


def test_the_limits_of_the_model_stand_in_every_request() -> None:
    meter = target(timeout_ms=700, pause_ms=50, longest_answer_ms=3000)
    (begin,) = mbus.requests(meter, [ENERGY])
    for request in (begin, mbus.following(meter, BEGIN, ACK)):
        assert request is not None
        assert (request.timeout_s, request.pause_s, request.longest_answer_s, request.longest_bytes) == (0.7, 0.05, 3, 261)
    assert mbus.requests(target(timeout_ms=700), [ENERGY])[0].longest_answer_s == 1.4


ALL_REQUESTS = [BEGIN, DATA, MORE, BEGIN_FD, SELECT, DATA_FD, MORE_FD]


@pytest.mark.parametrize(
    ("address", "prescribed"),
    [
        ("5", [BEGIN, DATA, MORE]),
        ("12345678", [BEGIN_FD, SELECT, DATA_FD, MORE_FD]),
        ("6", []),
        ("12345679", [BEGIN_FD, DATA_FD, MORE_FD]),
        ("123456782D2C0804", [BEGIN_FD, DATA_FD, MORE_FD]),
    ],
)
def test_exactly_the_requests_of_a_poll_are_prescribed(address: str, prescribed: list[bytes]) -> None:
    meter = target(address=address)
    assert [one for one in ALL_REQUESTS if mbus.prescribes(meter, [ENERGY], one)] == prescribed
    assert not any(mbus.prescribes(meter, [], one) for one in ALL_REQUESTS)


def test_a_frame_that_would_change_a_meter_is_none_of_ours() -> None:
    writing = FRAMES["set primary address 0x40"]
    assert not mbus.prescribes(target(address="254"), [ENERGY], writing)
    with pytest.raises(BadFrame, match="not an M-Bus read"):
        mbus.check(writing, ACK)


@given(st.integers(1, 250), st.booleans())
def test_no_other_control_field_than_the_four_that_read_is_ever_sent(address: int, secondary: bool) -> None:
    meter = target(address=f"{address:08d}" if secondary else str(address))
    pending, seen = mbus.requests(meter, [ENERGY]), set()
    while pending:
        request = pending.pop()
        if request.data in seen:
            continue
        seen.add(request.data)
        control = request.data[4] if request.data[0] == 0x68 else request.data[1]
        assert control in (0x40, 0x73, 0x7B, 0x5B)
        assert control != 0x73 or request.data[6] == 0x52
        answer = telegram("1f", address=address) if control in (0x7B, 0x5B) else ACK
        following = mbus.following(meter, request.data, answer)
        pending += [following] if following else []
    assert len(seen) == (4 if secondary else 3)


# --- addresses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("5", "5"),
        ("005", "5"),
        ("250", "250"),
        ("12345678", "12345678"),
        ("00032629", "00032629"),
        ("1234 5678", "12345678"),
        ("12345678FFFFFFFF", "12345678"),
        ("123456782d2c0804", "123456782D2C0804"),
        ("12345678-2D2C-08-FF", "123456782D2C08FF"),
    ],
)
def test_an_address_has_one_spelling(text: str, address: str) -> None:
    assert mbus_address(text) == address
    assert mbus_address(address) == address


@pytest.mark.parametrize(
    "text", ["", "0", "251", "255", "1234", "1234567", "123456789", "1234567F", "abcdefgh", "12345678FFFF", "-5"]
)
def test_what_is_no_address_is_refused_with_what_to_write(text: str) -> None:
    if text == "-5":
        assert mbus_address(text) == "5"  # dashes only part the digits
        return
    with pytest.raises(ValueError, match="address"):
        mbus_address(text)


def test_a_pattern_fits_the_meters_it_says_and_no_others() -> None:
    own = bytes.fromhex("785634122d2c0804")
    for address in ("12345678", "123456782D2C0804", "12345678FFFF08FF", "12345678FFFFFF04"):
        assert fits(pattern_of(address), own), address
    for address in ("12345679", "02345678", "123456782D2D0804", "123456782D2C0904", "123456782D2C0807"):
        assert not fits(pattern_of(address), own), address
    assert fits(bytes.fromhex("ffffff12ffffffff"), own)
    assert not fits(bytes.fromhex("ff4fffffffffffff"), own)
    assert fits(bytes.fromhex("fff6ffffffffffff"), own)


# --- which answer is taken ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TELEGRAMS)
def test_every_published_telegram_answers_the_request_for_it(name: str) -> None:
    frame = TELEGRAMS[name]
    mbus.check(short(0x7B, frame[5]), frame)
    mbus.check(short(0x5B, frame[5]), frame)
    mbus.check(DATA_FD, frame)


@pytest.mark.parametrize(
    ("request_", "answer", "cause"),
    [
        (DATA, ACK, "no_data"),
        (BEGIN, ANSWER, "wrong_function"),
        (SELECT, ANSWER, "wrong_function"),
        (BEGIN, b"", "wrong_function"),
        (DATA, telegram("040664000000", address=6), "wrong_unit"),
        (DATA, telegram("040664000000", address=0xFD), "wrong_unit"),
        (DATA, ANSWER[:-2] + bytes([ANSWER[-2] ^ 1]) + ANSWER[-1:], "bad_checksum"),
        (DATA, ANSWER[:-1], "bad_checksum"),
        (DATA, ANSWER + b"\x16", "bad_checksum"),
        (DATA, ANSWER[:1] + b"\x14\x14" + ANSWER[3:], "bad_checksum"),
        (DATA, DATA, "bad_checksum"),
        (DATA, long(0x53, 5, 0x51, b"\1"), "wrong_function"),
        (DATA, long(8, 5, 0x72, bytes(11)), "bad_records"),
        (DATA, long(8, 5, 0x73, bytes(15)), "bad_records"),
        (b"\x10", ACK, "bad_request"),
        (b"", ANSWER, "bad_request"),
        (short(0x08, 5), ACK, "bad_request"),
    ],
)
def test_what_does_not_answer_this_request_is_refused(request_: bytes, answer: bytes, cause: str) -> None:
    with pytest.raises(BadFrame) as raised:
        mbus.check(request_, answer)
    assert raised.value.cause == cause


@pytest.mark.parametrize(
    ("body", "cause", "words"),
    [
        (long(8, 5, 0x70), "unspecified_error", "does not say which"),
        (long(8, 5, 0x70, 0), "unspecified_error", "does not say which"),
        (long(8, 5, 0x70, 8), "application_busy", "too busy"),
        (long(8, 5, 0x70, 9), "too_many_readouts", "saves its battery"),
        (long(8, 5, 0x70, 77), "application_error_77", "its error 77"),
        (long(8, 5, 0x71, 1), "alarm", "alarm"),
        (long(8, 5, 0x76, bytes(20)), "high_byte_first", "CI 76H"),
        (long(8, 5, 0x77, bytes(20)), "high_byte_first", "CI 77H"),
        (long(8, 5, 0x78, bytes(20)), "unknown_telegram", "CI 78H"),
    ],
)
def test_the_meters_own_no_is_told_in_words(body: bytes, cause: str, words: str) -> None:
    with pytest.raises(Refused) as raised:
        mbus.check(DATA, body)
    assert raised.value.cause == cause
    assert words in str(raised.value)


@pytest.mark.parametrize("request_", [BEGIN, SELECT, BEGIN_FD])
def test_one_character_acknowledges_what_needs_no_telegram(request_: bytes) -> None:
    mbus.check(request_, ACK)


def test_nobody_need_answer_a_beginning_that_is_meant_for_the_selected_meter() -> None:
    mbus.check(BEGIN_FD, b"")
    for request_ in (BEGIN, SELECT, DATA_FD):
        with pytest.raises(BadFrame):
            mbus.check(request_, b"")


def test_the_station_is_what_a_telegram_repeats() -> None:
    assert mbus.station(DATA, "own") == b"\x05"
    assert mbus.station(DATA_FD, "own") == b""  # a selected meter may answer with its primary address
    assert mbus.station(BEGIN, "own") == b""
    assert mbus.station(b"", "own") == b""
    assert ANSWER[5:6] == mbus.station(DATA, "own")


# --- where an answer lies -------------------------------------------------------------------------------------

SPANS: list[tuple[str, bytes, bytes, bytes | None]] = [
    ("nothing", DATA, b"", None),
    ("the answer", DATA, ANSWER, ANSWER),
    ("behind the request's echo", DATA, DATA + ANSWER, ANSWER),
    ("behind noise", DATA, b"\x00\xff\x68\x03" + ANSWER, ANSWER),
    ("behind noise that begins like a frame of another length", DATA, b"\x68\x68" + ANSWER, ANSWER),
    ("behind a late acknowledgement", DATA, ACK + ANSWER, ANSWER),
    ("in front of noise", DATA, ANSWER + b"\x16\x68", ANSWER),
    ("only an acknowledgement", DATA, ACK, None),
    ("only the echo", DATA, DATA, None),
    ("half an echo", DATA, DATA[:3], None),
    ("an acknowledgement", BEGIN, ACK, ACK),
    ("an acknowledgement behind the echo", BEGIN, BEGIN + ACK, ACK),
    ("an acknowledgement behind the echo of a selection", SELECT, SELECT + ACK, ACK),
    ("a selection with an acknowledging byte in its echo", long(0x73, 0xFD, 0x52, b"\x78\x56\x34\x12\xe5\xe5\xe5\xe5"),
     long(0x73, 0xFD, 0x52, b"\x78\x56\x34\x12\xe5\xe5\xe5\xe5")[:13], None),
    ("a wrong checksum", DATA, ANSWER[:-2] + b"\x00\x16", None),
    ("a telegram in place of an acknowledgement", BEGIN, ANSWER, ANSWER),
]  # fmt: skip


@pytest.mark.parametrize(("what", "request_", "buffer", "found"), SPANS, ids=[what for what, *_ in SPANS])
def test_an_answer_is_found(what: str, request_: bytes, buffer: bytes, found: bytes | None) -> None:
    span = mbus.answer_span(request_, buffer, "own")
    assert (buffer[span[0] : span[1]] if span else None) == found, what


INSIDE = telegram("0d061a" + long(8, 5, 0x72, bytes(12)).hex()[:52])


@pytest.mark.parametrize(
    "answer", [ANSWER, TELEGRAMS["kamstrup_multical_601"], TELEGRAMS["EDC"], INSIDE, telegram("0c0616681016" + "04066808e516")]
)
@pytest.mark.parametrize("front", [b"", b"\xe5", b"\x00\x68\x16"])
def test_byte_by_byte_no_part_of_an_answer_is_taken_for_one(answer: bytes, front: bytes) -> None:
    request_ = short(0x7B, answer[5])
    buffer = request_ + front + answer
    for length in range(len(buffer)):
        assert mbus.answer_span(request_, buffer[:length], "own") is None
    assert mbus.answer_span(request_, buffer, "own") == (len(request_ + front), len(buffer))


@pytest.mark.parametrize(
    ("request_", "buffer", "cause"),
    [
        (DATA, b"", "no_answer"),
        (DATA, DATA, "only_echo"),
        (DATA, ACK, "no_data"),
        (DATA, DATA + ACK, "no_data"),
        (DATA, ANSWER[:-1], "short_answer"),
        (DATA, ANSWER[:2], "short_answer"),
        (DATA, DATA + ANSWER[:20], "short_answer"),
        (DATA, ANSWER[:-2] + b"\x00\x16", "bad_checksum"),
        (DATA, b"\x00\x01\x02", "noise"),
        (BEGIN, b"\xff", "noise"),
    ],
)
def test_what_came_instead_of_an_answer_is_named(request_: bytes, buffer: bytes, cause: str) -> None:
    assert mbus.fault(request_, buffer, "own")[0] == cause


# --- whose telegram -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "number", "matches"),
    [
        ("5", "11111111", True),
        ("12345678", "78563412", True),
        ("12345678", "79563412", False),
        ("123456782D2C0804", "78563412", True),
        ("123456782D2CFF04", "78563412", True),
        ("123456782D2C0904", "78563412", False),
        ("12345678AE4C0804", "78563412", False),
    ],
)
def test_a_selected_meters_telegram_must_carry_its_number(address: str, number: str, matches: bool) -> None:
    meter, answer = target(address=address), telegram("040664000000", number=number)
    asked = DATA if address == "5" else DATA_FD
    assert mbus.own_number_matches(meter, [ACK, answer, b""]) is matches
    if matches:
        assert value(meter, [b"", asked], [b"", answer]) == "100"
    else:
        with pytest.raises(NoValue, match="other_meter"):
            mbus.locate(meter, [b"", asked], ENERGY, [b"", answer])


def test_the_number_of_the_fixed_structure_is_compared_too() -> None:
    frame = FRAMES["manual_frame2"]
    assert mbus.own_number_matches(target(address="12345678"), [frame])
    assert mbus.own_number_matches(target(address="12345678FFFFFF07"), [frame])
    assert not mbus.own_number_matches(target(address="12345678FFFFFF04"), [frame])
    assert not mbus.own_number_matches(target(address="12345679"), [frame])


def test_the_meters_own_number_stands_in_every_telegram() -> None:
    meter = target(address="12345678")
    formula = mbus.frame_serial(meter, [BEGIN_FD, SELECT, DATA_FD], [b"", ACK, ANSWER])
    assert formula == "2@7:digits4le"
    assert evaluate(formula, [b"", ACK, ANSWER]).value == "12345678"
    assert mbus.frame_serial(meter, [BEGIN_FD, SELECT, b""], [b"", ACK, b""]) is None
    assert mbus.frame_serial(meter, [], []) is None


@pytest.mark.parametrize("number", ["7856341a", "ffffffff"])
def test_a_number_with_letters_in_it_is_no_serial_number(number: str) -> None:
    assert mbus.frame_serial(target(), [DATA], [telegram("040664000000", number=number)]) is None


def test_identification_says_number_maker_version_and_medium() -> None:
    assert mbus.identification_request(target()) is None
    said, more = mbus.identification(ANSWER, "own")
    assert said == {"number": "12345678", "maker": "KAM", "version": "8", "medium": "4"}
    assert more is None


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0x00, []),
        (0x01, ["application_busy"]),
        (0x02, ["application_error"]),
        (0x03, ["abnormal_condition"]),
        (0x04, ["low_battery"]),
        (0x08, ["permanent_error"]),
        (0x10, ["temporary_error"]),
        (0x1C, ["low_battery", "permanent_error", "temporary_error"]),
        (0xE0, []),
    ],
)
def test_the_status_byte_is_told_in_words_and_takes_no_value_away(status: int, words: list[str]) -> None:
    answer = telegram("040664000000", status=status)
    assert [word for word, _ in mbus.status_words([ACK, answer])] == words
    assert value(target(), [DATA], [answer]) == "100"


def test_the_fixed_structures_low_status_bits_are_no_errors() -> None:
    frame = long(8, 5, 0x73, bytes.fromhex("78563412"), 1, 0x0B, bytes(10))
    assert [word for word, _ in mbus.status_words([frame])] == ["permanent_error"]


# --- several telegrams ----------------------------------------------------------------------------------------

FIRST, SECOND = telegram("0c78785634121f"), telegram("040664000000")


def test_a_value_may_stand_in_any_telegram_of_a_conversation() -> None:
    assert mbus.locate(target(), [BEGIN, DATA, MORE], ENERGY, [ACK, FIRST, SECOND]) == "2@21:i32le!80000000"


def test_records_are_counted_over_all_telegrams() -> None:
    one, two = telegram("0bfd470000231f"), telegram("0bfd47010023")
    voltage = point("voltage.l1", "voltage", nth=2)
    assert mbus.locate(target(), [DATA, MORE], voltage, [one, two]) == "1@22:bcd3lef*0.01"
    with pytest.raises(NoValue, match="ambiguous_record"):
        mbus.locate(target(), [DATA, MORE], point("voltage.l1", "voltage"), [one, two])


def test_the_repeat_of_a_telegram_never_counts_twice() -> None:
    one = telegram("0406640000001f")
    assert value(target(), [DATA, DATA], [one, one]) == "100"
    assert value(target(), [b"", DATA, DATA, MORE], [b"", one, one, telegram("04136e000000")]) == "100"


def test_a_meter_that_does_not_heed_the_frame_count_bit_is_read_all_the_same() -> None:
    one = telegram("0406640000001f")
    again = resealed(one[:15] + b"\x02" + one[16:])  # counted on by one access
    assert value(target(), [DATA, MORE, DATA], [one, again, one]) == "100"


def test_a_value_of_a_telegram_that_did_not_arrive_is_that_failures() -> None:
    with pytest.raises(KeyError):
        mbus.locate(target(), [BEGIN, DATA, b""], ENERGY, [ACK, FIRST, b""])
    with pytest.raises(KeyError):
        mbus.locate(target(), [BEGIN, b""], ENERGY, [ACK, b""])
    with pytest.raises(NoValue, match="no_record"):
        mbus.locate(target(), [BEGIN, DATA], ENERGY, [ACK, telegram("0c7878563412")])


def test_the_answers_of_another_meter_on_the_line_are_not_looked_into() -> None:
    with pytest.raises(KeyError):
        mbus.locate(target(), [short(0x7B, 6)], ENERGY, [telegram("040664000000", address=6)])
    with pytest.raises(KeyError):
        mbus.locate(target(address="12345678"), [DATA], ENERGY, [ANSWER])


# --- the rest of the contract ---------------------------------------------------------------------------------


def test_the_driver_is_found_by_its_name_and_has_every_function() -> None:
    driver = load("mbus")
    for name in ("requests", "following", "prescribes", "numbered", "station", "answer_span", "check", "fault", "locate"):
        assert callable(getattr(driver, name))
    request = driver.requests(target(), [ENERGY])[0]
    assert driver.numbered(request, 7, "own") is request


@pytest.mark.parametrize(
    ("points", "sentence"),
    [
        ([{"quantity": "volume_forward", "at": {"kind": "energy"}}], "energy is not told in m3"),
        ([{"quantity": "thermal_energy", "at": {"kind": "date"}}], None),
        ([{"quantity": "thermal_energy", "at": {"kind": "fabrication_number"}}], "fabrication_number is not told in kWh"),
        ([{"quantity": "frequency", "at": {"kind": "manufacturer"}}], "needs the bytes behind the maker's mark"),
        ([{"quantity": "frequency", "at": {"kind": "text"}}], "go together"),
        ([{"quantity": "frequency", "at": {"kind": "frequency", "text": "Hz"}}], "go together"),
        ([{"quantity": "thermal_energy", "at": {"kind": "energy"}}, {"quantity": "cooling_energy", "at": {"kind": "energy"}}],
         "the same record as entry 1"),
        ([{"quantity": "thermal_energy", "at": {"kind": "energy"}}], ""),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_right_is_found_out(points: list[dict[str, object]], sentence: str | None) -> None:
    if sentence is None:
        with pytest.raises(ValueError, match="kind"):
            model(*points)
        return
    found = [text for _, text in mbus_findings(model(*points))]
    assert found == [] if not sentence else any(sentence in text for text in found), found


def test_no_name_in_the_drivers_files_speaks_of_writing() -> None:
    folder = Path(__file__).parents[2] / "drivers"
    for path in folder.glob("mbus*.py"):
        words = path.read_text("utf-8").lower()
        assert not any(word in words for word in ("snd_ud2", "set_address", "baud_rate =", "0x51", "0x53")), path.name


def checks(one: Callable[[], None]) -> str:
    try:
        one()
    except (BadFrame, Refused) as error:
        return error.cause
    return ""


def test_a_changed_bit_anywhere_in_an_answer_is_found_by_its_checks() -> None:
    for place in range(len(ANSWER)):
        for bit in range(8):
            changed = bytearray(ANSWER)
            changed[place] ^= 1 << bit
            assert checks(lambda frame=bytes(changed): mbus.check(DATA, frame))  # type: ignore[misc]  # a lambda's default


def test_two_meters_of_one_address_are_told_apart_by_nothing_but_their_number() -> None:
    other = resealed(ANSWER[:7] + bytes.fromhex("11111111") + ANSWER[11:])
    mbus.check(DATA, other)
    formulas = [mbus.frame_serial(target(), [DATA], [answer]) for answer in (ANSWER, other)]
    told = [evaluate(str(formula), [answer]).value for formula, answer in zip(formulas, (ANSWER, other), strict=True)]
    assert all(one != two for one, two in pairwise(told))
