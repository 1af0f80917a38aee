"""agent.trace: one value back to its bytes, and a verdict that follows from checks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import checkpoint
from agent.bundle import Bundle
from agent.export import export
from agent.findings import CannotCheck
from agent.merkle import root_from_proof
from agent.model_examples import address_of
from agent.record import leaf_hash, parse, signed_part
from agent.story import leaf_of
from agent.trace import read_time, trace, trace_record
from agent.trace_text import trace_text
from agent.working import marked, places, steps
from drivers import Target, load
from drivers.errors import FormulaError
from drivers.formula import evaluate
from tests.agent.ledgers import EVERY_S, ORIGIN, START, Gateway, MemoryLog, good_gateway, new_key
from tests.agent.plants import models

SHANGHAI = ZoneInfo("Asia/Shanghai")
CHECKED = "the answer to this request of the model, checksum and address ok"


def page(gateway: Gateway, **wanted: Any) -> tuple[str, int]:
    quantity = wanted.pop("quantity", None)
    story = trace(gateway.log, key=wanted.pop("key", gateway.key_line), **wanted)
    return trace_text(story, quantity, SHANGHAI), story.exit_code


# --- a value in order -----------------------------------------------------------------------------------------


def test_the_page_of_a_good_value_tells_every_step() -> None:
    when = read_time("2026-03-01T10:07", SHANGHAI)
    text, code = page(good_gateway(), meter="rtu-1", quantity="active_energy_import", when=when)
    assert code == 0
    for line in (
        "VALUE      14737892.00 kWh   active_energy_import   good",
        "           rtu-1, due 2026-03-01 10:00:00+08:00, first answer 2026-03-01 10:00:00+08:00, record 22",
        "1 METER    rtu-1, serial number EM-77 (from the plate as the installer wrote it, NOT in the frame)",
        "           test-meter revision 2, trust level B, CT 400/5",
        "           declared in record 3, hash the same",
        "2 FRAME    asked     01 03 00 00 00 02 c4 0b",
        f"           answered  01 03 04 [01 19 1a 5d] e0 91   31 ms   {CHECKED}",
        "3 COMPUTE  active_energy_import = 0@3:u32be*0.01*400/5",
        "             0@3:u32be: bytes 01 19 1a 5d = 18422365 x 0.01 = 184223.65 x 400 = 73689460.00 / 5 = 14737892.00",
        "             stated: 14737892.00   SAME",
        "4 CLOCK    synchronized, error at most 8 ms, 7300 s after boot 3f9c1d2a",
        "5 SIGNED   key 7514cebf46edee66 ok; first key confirmed by --key, enrolled in record 0 by wang.li",
        "6 LOG      record 22 of 30; hashes to the records next to it ok",
        "           checkpoint of size 28 of the log itself: inclusion proof of 5 hashes ok",
        "7 AROUND   before: record 20, count 7, reading due 2026-03-01T01:45:00.000Z",
        "           after: record 24, count 9, reading due 2026-03-01T02:15:00.000Z",
        "UNSIGNED   nothing",
    ):
        assert f"{line}\n" in text
    assert text.splitlines()[-1].startswith(
        "VERDICT    TRACEABLE: signed by the confirmed key, recomputed from the meter's bytes"
    )
    assert "WRONG" not in text


def test_the_newest_reading_is_taken_where_no_time_is_given() -> None:
    story = trace(good_gateway().log, meter="tcp-2", key=good_gateway().key_line)
    assert story.fields["due"] == "2026-03-01T02:45:00.000Z"
    assert story.cover is None
    assert "not covered by a checkpoint yet" in trace_text(story)


@pytest.mark.parametrize(
    ("when", "due"),
    [
        ("2026-03-01T08:15", "2026-03-01T00:15:00.000Z"),
        ("2026-03-01T08:29:59", "2026-03-01T00:15:00.000Z"),
        ("2026-03-01T00:15:00Z", "2026-03-01T00:15:00.000Z"),
        ("2026-03-01T09:25:00+09:00", "2026-03-01T00:15:00.000Z"),
        ("2027-01-01", "2026-03-01T02:45:00.000Z"),
    ],
)
def test_the_reading_that_answers_for_the_last_instant_before_a_time_is_taken(when: str, due: str) -> None:
    story = trace(good_gateway().log, meter="tcp-2", when=read_time(when, SHANGHAI), key=None)
    assert story.fields["due"] == due


def test_a_reading_inside_a_gap_is_the_one_before_it_and_the_gap_is_shown() -> None:
    text, code = page(good_gateway(), meter="rtu-1", when=START + timedelta(seconds=5 * EVERY_S))
    assert code == 0
    assert "due 2026-03-01 08:45:00+08:00" in text
    assert "after: record 14, count 4, gap opened, 1 missed since 2026-03-01T01:00:00.000Z: no_answer" in text


def test_every_reading_of_a_log_is_traced_by_its_number() -> None:
    gateway = good_gateway()
    traced = 0
    for n in range(len(gateway.log.records)):
        if gateway.log.fields(n)["kind"] == "reading":
            story = trace(gateway.log, n=n, key=gateway.key_line)
            assert (story.n, story.exit_code, story.problems) == (n, 0, [])
            if story.cover:
                assert root_from_proof(n, story.cover.claim.size, leaf_of(gateway.log.records[n]), story.cover.proof)
            traced += 1
    assert traced == 22


def test_a_value_that_the_meter_did_not_have_is_traced_as_none() -> None:
    gateway = good_gateway()
    n = next(n for n in range(len(gateway.log.records)) if b"not_available" in gateway.log.records[n])
    text, code = page(gateway, n=n, quantity="voltage.l1")
    assert code == 0
    assert "VALUE      no value   voltage.l1   bad: not available" in text
    assert "bytes ff ff = no value (not available)" in text
    assert "stated: no value   SAME" in text


def test_an_outside_checkpoint_is_preferred() -> None:
    gateway = good_gateway()
    text, code = page(gateway, n=8, outside=[gateway.log.notes[5]])
    assert code == 0
    assert "checkpoint of size 17 held elsewhere: inclusion proof" in text
    assert "covered by a checkpoint held elsewhere of size 17" in text


def test_what_stands_in_x_is_shown_as_unsigned() -> None:
    gateway = good_gateway()
    gateway.log.edit(8, lambda f: f.update(x={"note": "\u202eüber", "n": None}))
    text, code = page(gateway, n=8)
    assert code == 0
    assert 'UNSIGNED   {"n": null, "note": "\\u202e\\u00fcber"}' in text


def test_the_last_step_of_the_clock_is_shown() -> None:
    gateway = good_gateway()
    gateway.step(3600)
    gateway.reading("tcp-2", due="2026-03-01T04:00:00.000Z")
    assert "last set in record 30 by 3600000 ms" in page(gateway, meter="tcp-2")[0]


def test_a_key_that_came_by_rotation_is_followed_back_to_the_confirmed_one() -> None:
    gateway = good_gateway()
    gateway.rotate(new_key("second"))
    gateway.reading("rtu-1")
    gateway.checkpoint()
    text, code = page(gateway, meter="rtu-1")
    assert code == 0
    assert f"5 SIGNED   key {new_key('second').name} ok; first key confirmed by --key" in text
    assert "in force since record 31" in text


# --- a value not in order -------------------------------------------------------------------------------------


def _value(fields: dict[str, Any]) -> None:
    fields["values"][0]["value"] = "1.00"


def _frame(fields: dict[str, Any]) -> None:
    fields["frames"][0]["answer"] = "00" * 12


EDITS: dict[str, tuple[Callable[[Gateway], object], set[str]]] = {
    "the value": (lambda g: g.log.edit(9, _value), {"SIGNATURE", "VALUE", "PREV-HASH", "CHECKPOINT"}),
    "its frame": (lambda g: g.log.edit(9, _frame), {"SIGNATURE", "FORMULA", "FRAME", "PREV-HASH", "CHECKPOINT"}),
    "the record in front of it": (lambda g: g.log.edit(8, _value), {"PREV-HASH", "CHECKPOINT"}),
    "the record behind it": (lambda g: g.log.edit(10, lambda f: f.update(prev="A" * 43)), {"PREV-HASH", "CHECKPOINT"}),
    "a record far away": (lambda g: g.log.edit(20, _value), {"CHECKPOINT"}),
    "its meter's declaration": (
        lambda g: g.log.edit(4, lambda f: f["meter"].update(place="x")),
        {"DECLARATION", "CHECKPOINT"},
    ),
    "its meter's model": (lambda g: g.log.files.clear(), {"MODEL"}),
    "the meter's serial number as read": (
        lambda g: g.log.edit(5, lambda f: f.update(found="1")),
        {"VALUE", "DECLARATION", "CHECKPOINT"},
    ),
    "the enrolment": (lambda g: g.log.edit(0, lambda f: f.update(who="me")), {"SIGNATURE", "CHECKPOINT"}),
    "the meter's reading before it": (
        lambda g: g.log.edit(7, lambda f: f["meter"].update(count=9)),
        {"METER-COUNT", "CHECKPOINT"},
    ),
    "a record to nothing readable": (lambda g: g.log.records.__setitem__(2, b"{"), {"CHECKPOINT"}),
    "the checkpoints": (lambda g: g.log.notes.__setitem__(-1, g.log.notes[-1].replace("28", "29", 1)), {"CHECKPOINT"}),
}


@pytest.mark.parametrize("edit", EDITS)
def test_whatever_was_edited_decides_the_verdict(edit: str) -> None:
    gateway = good_gateway()
    change, expected = EDITS[edit]
    change(gateway)
    story = trace(gateway.log, n=9, key=gateway.key_line)
    assert ({kind for kind, _ in story.problems}, story.exit_code) == (expected, 1)
    text = trace_text(story)
    assert f"VERDICT    NOT TRACEABLE: {len(story.problems)} of the checks failed, see WRONG." in text
    assert "WRONG      " in text


def test_history_rewritten_with_the_key_is_found_by_an_outside_checkpoint() -> None:
    gateway = good_gateway()
    kept = gateway.log.notes[-1]
    gateway.log.edit(9, lambda f: (f["values"].pop(2), f["frames"].pop(2)))
    gateway.reseal()
    gateway.log.notes.clear()
    story = trace(gateway.log, n=10, key=gateway.key_line, outside=[kept])
    assert {kind for kind, _ in story.problems} == {"CHECKPOINT"}


def test_without_a_confirmed_key_nothing_is_traceable() -> None:
    text, code = page(good_gateway(), n=9, key=None)
    assert code == 2
    assert "VERDICT    NOT CONFIRMED" in text
    assert "first key NOT CONFIRMED by anybody" in text


def test_another_key_is_not_this_gateways() -> None:
    line = checkpoint.verifier_key(ORIGIN, new_key("other").public)
    text, code = page(good_gateway(), n=9, key=line)
    assert code == 1
    assert "NOT GOOD, see WRONG" in text
    other = checkpoint.verifier_key("meterseal/plant/gw2", new_key().public)
    assert page(good_gateway(), n=9, key=other)[1] == 1


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"meter": "rtu-9"}, "there is no reading of rtu-9; this log has rtu-1, tcp-2"),
        ({"meter": "rtu-1", "when": START - timedelta(1)}, "there is no reading of rtu-1 at or before 2026-02-28"),
        ({"n": 99}, "there is no record 99; the log holds 30"),
        ({"n": 0}, "record 0 is a key record, not a reading"),
        ({"n": 9, "quantity": "frequency"}, "record 9 does not state frequency; it states active_energy_import, active_power"),
    ],
)
def test_what_cannot_be_traced_is_told_in_plain_words(wanted: dict[str, Any], words: str) -> None:
    with pytest.raises(CannotCheck, match=words):
        page(good_gateway(), **wanted)


def test_an_empty_log_has_nothing_to_trace() -> None:
    with pytest.raises(CannotCheck, match="this log has no meters"):
        trace(MemoryLog(), meter="rtu-1", key=None)


@pytest.mark.parametrize("text", ["yesterday", "", "2026-13-01", "08:15"])
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(CannotCheck, match="write 2026-03-01T08:15"):
        read_time(text)


# --- single records and bundles -------------------------------------------------------------------------------


def test_a_single_record_is_traced_as_far_as_it_goes() -> None:
    gateway = good_gateway()
    payload = json.dumps(json.loads(gateway.log.records[9]), indent=2).encode()
    story = trace_record(payload, key=gateway.key_line)
    text = trace_text(story)
    assert story.exit_code == 0
    assert "VERDICT    SIGNED AND RECOMPUTED by the confirmed key" in text
    assert "not checked: no model at hand" in text
    assert "6 LOG      not at hand" in text


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (_value, "VALUE"),
        (lambda f: f["values"][0].update(unit="MWh"), "UNIT"),
        (lambda f: f["values"][0].update(formula="0@900:u8"), "FORMULA"),
        (lambda f: f.pop("sig"), "UNSIGNED"),
        (lambda f: f.update(time="2026-03-01T00:15:00.999Z"), "SIGNATURE"),
    ],
)
def test_an_edited_single_record_is_found(change: Callable[[dict[str, Any]], object], kind: str) -> None:
    gateway = good_gateway()
    gateway.log.edit(9, change)
    story = trace_record(gateway.log.records[9], key=gateway.key_line)
    assert kind in {found for found, _ in story.problems}
    assert story.exit_code == 1
    assert "NOT TRACEABLE" in trace_text(story)


def test_a_single_record_without_key_is_not_confirmed() -> None:
    story = trace_record(good_gateway().log.records[9], key=None)
    assert story.exit_code == 2
    assert "5 SIGNED   NOT CHECKED: no key is at hand" in trace_text(story)


def test_a_single_record_of_another_gateway_or_kind_is_told() -> None:
    other = checkpoint.verifier_key("meterseal/plant/gw2", new_key().public)
    assert trace_record(good_gateway().log.records[9], key=other).exit_code == 1
    with pytest.raises(CannotCheck, match="not a reading"):
        trace_record(good_gateway().log.records[0], key=None)
    with pytest.raises(CannotCheck, match="this is not a record"):
        trace_record(b"{}", key=None)


def test_a_value_is_traced_in_a_bundle_as_in_the_ledger(tmp_path: Path) -> None:
    gateway = good_gateway()
    export(gateway.log, tmp_path / "bundle.zip")
    bundle = Bundle(tmp_path / "bundle.zip")
    here, there = (trace_text(trace(log, n=22, key=gateway.key_line)) for log in (gateway.log, bundle))
    bundle.close()
    assert here == there


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_edit_breaks_the_trace(data: st.DataObject) -> None:
    gateway = good_gateway()
    n = data.draw(st.sampled_from([0, 3, 4, 5, 7, 9, 10, 11]))
    fields = gateway.log.fields(n)
    name = data.draw(st.sampled_from(list(fields)))
    junk: st.SearchStrategy[Any] = st.one_of(
        st.none(), st.integers(), st.text(max_size=4), st.lists(st.integers(), max_size=2), st.just({})
    )
    gateway.log.edit(n, lambda f: f.update({name: data.draw(junk)}))
    try:
        trace_text(trace(gateway.log, n=9, key=gateway.key_line))
    except CannotCheck:
        assert n == 9


# --- the working of a formula ---------------------------------------------------------------------------------

ANSWERS = [
    bytes.fromhex("0c030401191a553d97"),
    bytes.fromhex("0103020002f845"),
    b":010304011900C2A1\r\n",
    bytes.fromhex("ab8967c518f014738101"),
    b"1.8.0(001234.50*kWh)",
    bytes.fromhex("b12eb82e30283030b1b233b42e3530aaebd7e8a9"),
]


@pytest.mark.parametrize(
    ("formula", "lines"),
    [
        ("0@3:u32be", ["0@3:u32be: bytes 01 19 1a 55 = 18422357"]),
        (
            "0@3:i16be*1+0@5:u16be*0.001",
            ["0@3:i16be: bytes 01 19 = 281 x 1 = 281", "0@5:u16be: bytes 1a 55 = 6741 x 0.001 = 6.741"],
        ),
        ("0@3:u16be*10^(1@4:u8-4)", ["0@3:u16be: bytes 01 19 = 281 x 10^(2-4) = 2.81"]),
        ("0@3:u16be*10^(1@4:u8)*2/4", ["0@3:u16be: bytes 01 19 = 281 x 10^(2) = 28100 x 2 = 56200 / 4 = 14050"]),
        ("0@3:u16be[0-3]*-2", ["0@3:u16be[0-3]: bytes 01 19 = 9 x -2 = -18"]),
        ("2h@3:u16be", ["2h@3:u16be: bytes 30 31 31 39 = 281"]),
        ("0@3:u16be!0119*0.1", ["no value (not available) x 0.1 = no value (not available)"]),
        ("3@0:bcd4le33s*0.01", ["3@0:bcd4le33s: bytes ab 89 67 c5 = -12345678 x 0.01 = -123456.78"]),
        ("3@4:bcd2lef*0.1", ["3@4:bcd2lef: bytes 18 f0 = -18 x 0.1 = -1.8"]),
        ("3@2:digits2le33", ["3@2:digits2le33: bytes 67 c5 = 9234"]),
        ("3@6:digits4le", ["3@6:digits4le: bytes 14 73 81 01 = 01817314"]),
        ("4@6:dec9*400/5", ["4@6:dec9: bytes 30 30 31 32 33 34 2e 35 30 = 1234.50 x 400 = 493800.00 / 5 = 98760.00"]),
        (
            "5p@6:dec9/3600",
            ["5p@6:dec9: bytes 30 30 b1 b2 33 b4 2e 35 30 = 1234.50 / 3600 = 0.3429166666666666666666666666666667"],
        ),
        ("4@10:ascii2le", ["4@10:ascii2le: bytes 33 34 = 43"]),
        ("3@6:hex2", ["3@6:hex2: bytes 14 73 = 1473"]),
        ("0@3:u8*1+3@6:bcd1lef*0.01", ["0@3:u8: bytes 01 = 1 x 1 = 1", "3@6:bcd1lef: bytes 14 = 14 x 0.01 = 0.14"]),
    ],
)
def test_the_working_of_a_formula_is_shown_step_by_step(formula: str, lines: list[str]) -> None:
    shown = steps(formula, ANSWERS)
    for line, expected in zip(shown, lines, strict=False):
        assert line.endswith(expected)
    assert len(shown) == len(lines) + (len(lines) > 1)


def test_a_sum_is_shown_last() -> None:
    assert steps("0@3:i16be*1+0@5:u16be*0.001", ANSWERS)[-1] == "sum = 287.741"


def test_a_formula_that_points_nowhere_has_no_working() -> None:
    with pytest.raises(FormulaError):
        steps("9@3:u16be", ANSWERS)


@pytest.mark.parametrize(
    ("formula", "index", "shown"),
    [
        ("0@3:u32be*0.01", 0, "0c 03 04 [01 19 1a 55] 3d 97"),
        ("0@3:i16be*1+0@5:u16be*0.001", 0, "0c 03 04 [01 19] [1a 55] 3d 97"),
        ("0@7:u16be", 0, "0c 03 04 01 19 1a 55 [3d 97]"),
        ("1@4:u8", 0, "0c 03 04 01 19 1a 55 3d 97"),
        ("2h@3:u16be", 2, "3a 30 31 30 33 30 34 [30 31 31 39] 30 30 43 32 41 31 0d 0a"),
        ("3@0:bcd4le33s*0.01+3@6:digits2le", 3, "[ab 89 67 c5] 18 f0 [14 73] 81 01"),
        ("5p@6:dec9*0.1", 5, "b1 2e b8 2e 30 28 [30 30 b1 b2 33 b4 2e 35 30] aa eb d7 e8 a9"),
    ],
)
def test_the_bytes_that_are_read_are_marked(formula: str, index: int, shown: str) -> None:
    assert marked(ANSWERS[index], index, places(formula)) == shown


@pytest.mark.parametrize(
    ("encoding", "length"),
    [
        ("u8", 1),
        ("i16be", 2),
        ("u24le", 3),
        ("u48be", 6),
        ("i64ws", 8),
        ("f32be", 4),
        ("f64le", 8),
        ("bcd4le33s", 4),
        ("bcd16lef", 16),
        ("digits6le33", 6),
        ("dec32", 32),
        ("mod10x3be", 6),
        ("ascii9", 9),
        ("ascii12le", 12),
        ("hex12", 12),
    ],
)
def test_the_length_of_every_encoding_is_known(encoding: str, length: int) -> None:
    assert [place.length for place in places(f"0@3:{encoding}*2+1@5:{encoding}")] == [length, length]


def formulas_of_shipped_models() -> Iterator[tuple[str, list[bytes]]]:
    """The formulas of all values in the examples of all models, with the answers they are taken from."""
    for model in (file.declared for file in models().values()):
        driver = load(model.protocol)
        for example in model.examples:
            requests, answers = ([bytes.fromhex(getattr(f, side)) for f in example.frames] for side in ("request", "answer"))
            framing = "rtu" if model.protocol == "modbus" else "own"
            target = Target(model, address_of(model, requests[0]), framing, ct=example.ct, vt=example.vt)
            for quantity in example.values:
                yield driver.locate(target, requests, model.point(quantity), answers), answers


def test_the_places_of_every_formula_of_the_shipped_models_are_the_bytes_it_is_evaluated_from() -> None:
    seen = 0
    for formula, answers in formulas_of_shipped_models():
        for place in places(formula):
            end = place.span()[1]
            whole, short = (
                [*answers[: place.answer], answers[place.answer][:cut], *answers[place.answer + 1 :]] for cut in (end, end - 1)
            )
            if len(places(formula)) == 1:
                assert evaluate(formula, whole) == evaluate(formula, answers), formula
            with pytest.raises(FormulaError, match="past the end"):
                evaluate(formula, short)
            seen += 1
        shown = steps(formula, answers)
        assert shown[-1].endswith(f"= {evaluate(formula, answers).value}")
    assert seen > 500


def test_the_quick_leaf_is_the_leaf() -> None:
    for payload in good_gateway().log.records:
        expected = leaf_hash(signed_part(parse(payload)))
        assert leaf_of(payload) == expected
        pretty = json.dumps({**json.loads(payload), "x": 1.5}, indent=1).encode()
        assert leaf_of(pretty) == expected
    assert leaf_of(b"{") == b""
