"""What an audit finds of lies about a meter's life: the owner of the key tells them, so only the content gives them away."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from agent.prune import BLOCK, Blocks
from agent.seal import base64url
from agent.standing import agrees
from tests.agent.both import verify
from tests.agent.ledgers import MODEL, Gateway, stamp

PERSON = {"who": "wang.li", "account": "operator"}
# The model of the test ledgers, with a setting; and one whose map nobody has confirmed.
WATCHED = MODEL.replace(b"points:", b"attest:\n  - {name: wiring, at: {address: 110, type: u16}, expect: [3]}\npoints:", 1)
COMMUNITY = MODEL.replace(b"level: B", b"level: C")


class Plant(Gateway):
    """A gateway whose first meter has another model than usual."""

    def __init__(self, model: bytes = MODEL, trust: str = "B") -> None:
        super().__init__()
        digest = hashlib.sha256(model).hexdigest()
        self.log.files[digest] = model
        self.plate = {"serial": "EM-77", "framing": "rtu", "address": "1", "ct": "400/5", "digest": digest, "trust": trust}
        self.begin()
        self.after(0.3)

    def told(self, wiring: int) -> dict[str, Any]:
        """The setting as the meter tells it, and the frame."""
        setting = {"name": "wiring", "value": str(wiring), "formula": "0@3:u16be"}
        return {"settings": [setting], "frames": [self.exchange("rtu-1", 110, wiring.to_bytes(2, "big"))]}

    def declared_anew(self, wiring: int | None = None, **changes: Any) -> None:
        """The meter's declaration with this plant's model, with or without its setting."""
        plate = self.plate | changes
        if wiring is None:
            self.declare("rtu-1", **plate)
            return
        told = self.told(wiring)
        fields = self.log.fields(self.log.find("meter", 0))["meter"] | plate | {"settings": told["settings"]}
        record = self.append("meter", meter=fields, frames=told["frames"])
        self.declared["rtu-1"] = base64url(record.leaf)
        self.sources["rtu-1"] = {"id": "rtu-1", "serial": plate["serial"], "serial_from": "plate"}

    def alarm(self, wiring: int) -> int:
        return self.append("alarm", meter=self.source("rtu-1"), cause="settings_changed", **self.told(wiring)).n

    def confirm(self, n: int) -> None:
        self.append("audit", command="confirm", meter={"id": "rtu-1"}, record=n, reason="meant so", **PERSON)

    def replace(self, old: str = "EM-77", new: str = "EM-78", last: tuple[dict[str, Any], ...] = ()) -> None:
        fields = {"old": old, "new": new, "last": list(last), "first": [], "reason": "display dead"}
        self.append("replacement", meter={"id": "rtu-1"}, **fields, **PERSON)

    def paired(self, value: str, agrees: bool = True, quantity: str = "active_energy_import", **changes: Any) -> None:
        fields = {"quantity": quantity, "value": value, "unit": "kWh", "read_at": stamp(self.now), "reference": "display"}
        fields |= {"compared": len(self.log.records) - 1, "agrees": agrees}
        self.append("manual", meter={"id": "rtu-1"}, **(fields | changes), **PERSON)

    def spot(self, **changes: Any) -> None:
        frames = self.frames("rtu-1", 18422357, 1873, 2311)
        fields = {"nonce": "k3Jd8sPq", "frames": frames, "values": self.values("rtu-1", 18422357, 1873, 2311)}
        self.append("spot", meter=self.source("rtu-1"), **(fields | changes), **PERSON)

    def found(self) -> set[str]:
        """What both verifiers name; the second one leaves to the first what needs a model."""
        report = verify(self.log, key=self.key_line)
        return set(report.findings.counts)


def watched() -> Plant:
    plant = Plant(WATCHED)
    plant.declared_anew()
    return plant


def test_a_spot_of_a_meter_of_which_nothing_is_declared_to_be_read_is_judged() -> None:
    plant = Plant()
    plant.declared_anew(schedules=[{"every_ms": 900_000, "quantities": []}])
    plant.spot()
    assert plant.found() >= {"DECLARATION", "REQUEST"}


def pinned() -> Plant:
    plant = watched()
    plant.declared_anew(3)
    return plant


# --- the truth ------------------------------------------------------------------------------------------------


def a_whole_life() -> Plant:
    """Settings pinned, changed, confirmed; the meter replaced and pinned anew; spots and readings by hand between."""
    plant = watched()
    plant.reading("rtu-1", doubt="settings_unread")
    plant.after(900).declared_anew(3)
    plant.reading("rtu-1")
    plant.after(900)
    n = plant.alarm(5)
    plant.reading("rtu-1", doubt="settings_changed")
    plant.confirm(n)
    plant.declared_anew(5)
    plant.after(900).reading("rtu-1")
    last = {"quantity": "active_energy_import", "value": "14737885.60", "record": len(plant.log.records) - 1}
    plant.replace(last=(last,))
    plant.declared_anew(serial="EM-78")
    plant.after(900).reading("rtu-1", doubt="settings_unread")
    plant.declared_anew(3, serial="EM-78")
    plant.after(900).reading("rtu-1")
    plant.spot()
    plant.append("manual", meter={"id": "rtu-1"}, quantity="voltage.l1", value="231", unit="V", **BY_HAND, **PERSON)
    return plant


BY_HAND = {"read_at": "2026-03-01T00:00:00.000Z", "reference": "book 3, page 7"}


def test_a_whole_life_of_a_meter_is_in_order_and_the_report_tells_of_it() -> None:
    plant = a_whole_life()
    assert plant.found() == set()
    text = verify(plant.log, key=plant.key_line).text()
    assert "1 replacement, 1 alarm of changed settings (0 not confirmed), 1 value read by hand, 1 spot reading" in text
    assert "3 readings without evidence grade" in text


def test_a_community_map_is_confirmed_by_a_display_that_agrees_and_doubted_again_when_one_does_not() -> None:
    plant = Plant(COMMUNITY, "C")
    plant.declared_anew()
    plant.reading("rtu-1", doubt="map_unconfirmed")
    plant.paired("14737885")
    plant.after(900).reading("rtu-1")
    plant.spot()
    plant.paired("14737999", agrees=False)
    plant.after(900).reading("rtu-1", doubt="map_unconfirmed")
    assert plant.found() == set()


def test_an_alarm_that_ends_because_the_settings_are_back_is_confirmed_as_well() -> None:
    plant = pinned()
    plant.alarm(5)
    plant.confirm(plant.alarm(3))
    plant.reading("rtu-1")
    assert plant.found() == set()


# --- lies -----------------------------------------------------------------------------------------------------


def another_serial_without_a_replacement(plant: Plant) -> None:
    plant.declared_anew(serial="EM-78")


def a_replacement_of_a_number_that_was_not_there(plant: Plant) -> None:
    plant.replace(old="EM-70")


def a_declaration_of_another_number_than_the_replacements(plant: Plant) -> None:
    plant.replace()
    plant.declared_anew(serial="EM-79")


def a_last_value_that_the_reading_does_not_state(plant: Plant) -> None:
    plant.reading("rtu-1")
    last = {"quantity": "active_energy_import", "value": "14737000.00", "record": len(plant.log.records) - 1}
    plant.replace(last=(last,))


def a_last_value_from_a_record_that_is_no_reading(plant: Plant) -> None:
    plant.reading("rtu-1")
    plant.replace(last=({"quantity": "active_energy_import", "value": "14737885.60", "record": 2},))


def a_display_that_agrees_only_by_word(plant: Plant) -> None:
    plant.reading("rtu-1")
    plant.paired("14737000")


def a_display_that_disagrees_only_by_word(plant: Plant) -> None:
    plant.reading("rtu-1")
    plant.paired("14737885", agrees=False)


def a_display_read_at_another_time(plant: Plant) -> None:
    plant.reading("rtu-1")
    plant.paired("14737885", read_at=stamp(plant.now + timedelta(seconds=90)))


def a_display_compared_with_nothing(plant: Plant) -> None:
    plant.paired("14737885", compared=2)


def agreement_with_no_record(plant: Plant) -> None:
    plant.append("manual", meter={"id": "rtu-1"}, quantity="voltage.l1", value="231", unit="V", agrees=True, **BY_HAND, **PERSON)


def a_hand_read_value_in_another_unit(plant: Plant) -> None:
    plant.append("manual", meter={"id": "rtu-1"}, quantity="active_energy_import", value="1", unit="MWh", **BY_HAND, **PERSON)


def a_hand_read_value_of_no_quantity(plant: Plant) -> None:
    plant.append("manual", meter={"id": "rtu-1"}, quantity="energy", value="1", unit="kWh", **BY_HAND, **PERSON)


def a_reading_in_doubt_without_a_reason(plant: Plant) -> None:
    plant.reading("rtu-1", doubt="map_unconfirmed")


def a_confirmation_of_nothing(plant: Plant) -> None:
    plant.confirm(3)


def a_spot_with_another_value(plant: Plant) -> None:
    values = plant.values("rtu-1", 18422357, 1873, 2311)
    values[0]["value"] = "14737885.70"
    plant.spot(values=values)


def a_spot_that_leaves_out_a_quantity(plant: Plant) -> None:
    plant.spot(values=plant.values("rtu-1", 18422357, 1873, 2311)[:2])


def a_word_about_a_meter_that_was_never_declared(plant: Plant) -> None:
    plant.append("manual", meter={"id": "EM-9"}, quantity="voltage.l1", value="231", unit="V", **BY_HAND, **PERSON)


@pytest.mark.parametrize(
    ("lie", "kind"),
    [
        (another_serial_without_a_replacement, "REPLACEMENT"),
        (a_replacement_of_a_number_that_was_not_there, "REPLACEMENT"),
        (a_declaration_of_another_number_than_the_replacements, "REPLACEMENT"),
        (a_last_value_that_the_reading_does_not_state, "REPLACEMENT"),
        (a_last_value_from_a_record_that_is_no_reading, "REPLACEMENT"),
        (a_display_that_agrees_only_by_word, "PAIR"),
        (a_display_that_disagrees_only_by_word, "PAIR"),
        (a_display_read_at_another_time, "PAIR"),
        (a_display_compared_with_nothing, "PAIR"),
        (agreement_with_no_record, "PAIR"),
        (a_hand_read_value_in_another_unit, "UNIT"),
        (a_hand_read_value_of_no_quantity, "DECLARATION"),
        (a_reading_in_doubt_without_a_reason, "GRADE"),
        (a_confirmation_of_nothing, "SETTINGS"),
        (a_spot_with_another_value, "VALUE"),
        (a_spot_that_leaves_out_a_quantity, "VALUE"),
        (a_word_about_a_meter_that_was_never_declared, "DECLARATION"),
    ],
)
def test_a_lie_about_a_meters_life_is_named(lie: Callable[[Plant], None], kind: str) -> None:
    plant = Plant()
    lie(plant)
    assert plant.found() == {kind}


def a_setting_that_the_frame_does_not_give(plant: Plant) -> None:
    told = plant.told(5)
    told["settings"][0]["value"] = "7"
    plant.append("alarm", meter=plant.source("rtu-1"), cause="settings_changed", **told)


def a_setting_left_out(plant: Plant) -> None:
    told = plant.told(5) | {"settings": []}
    plant.append("alarm", meter=plant.source("rtu-1"), cause="settings_changed", **told)


def a_setting_hidden_behind_a_cause(plant: Plant) -> None:
    told = plant.told(5) | {"settings": [{"name": "wiring", "cause": "no_answer"}]}
    plant.append("alarm", meter=plant.source("rtu-1"), cause="settings_changed", **told)


def an_alarm_about_nothing(plant: Plant) -> None:
    plant.alarm(3)


def other_settings_pinned_unconfirmed(plant: Plant) -> None:
    plant.declared_anew(5)


def other_settings_pinned_while_their_alarm_is_open(plant: Plant) -> None:
    plant.alarm(5)
    plant.declared_anew(5)


def an_older_alarm_confirmed(plant: Plant) -> None:
    first = plant.alarm(5)
    plant.alarm(7)
    plant.confirm(first)


@pytest.mark.parametrize(
    "lie",
    [
        a_setting_that_the_frame_does_not_give,
        a_setting_left_out,
        a_setting_hidden_behind_a_cause,
        an_alarm_about_nothing,
        other_settings_pinned_unconfirmed,
        other_settings_pinned_while_their_alarm_is_open,
        an_older_alarm_confirmed,
    ],
)
def test_a_lie_about_a_meters_settings_is_named(lie: Callable[[Plant], None]) -> None:
    plant = pinned()
    lie(plant)
    assert plant.found() == {"SETTINGS"}


def test_settings_asked_for_at_another_register_are_named() -> None:
    plant = pinned()
    told = plant.told(5) | {"frames": [plant.exchange("rtu-1", 111, b"\0\5")]}
    plant.append("alarm", meter=plant.source("rtu-1"), cause="settings_changed", **told)
    assert plant.found() == {"REQUEST", "SETTINGS"}


def test_settings_under_which_the_map_is_not_valid_cannot_be_pinned_without_a_person() -> None:
    plant = watched()
    plant.declared_anew(5)
    assert plant.found() == {"SETTINGS"}


def test_a_reading_that_hides_an_open_alarm_is_named() -> None:
    plant = pinned()
    plant.alarm(5)
    plant.reading("rtu-1")
    assert plant.found() == {"GRADE"}


def test_a_reading_of_a_community_map_that_claims_evidence_grade_is_named() -> None:
    plant = Plant(COMMUNITY, "C")
    plant.declared_anew()
    plant.reading("rtu-1")
    assert plant.found() == {"GRADE"}


def test_a_replaced_meters_paired_reading_is_not_the_new_ones() -> None:
    plant = Plant(COMMUNITY, "C")
    plant.declared_anew()
    plant.reading("rtu-1", doubt="map_unconfirmed")
    plant.paired("14737885")
    plant.replace()
    plant.declared_anew(serial="EM-78")
    plant.after(900).reading("rtu-1")
    assert plant.found() == {"GRADE"}


# --- the identity ladder ----------------------------------------------------------------------------------------

CODED = MODEL.replace(b"points:", b"  - {name: model_code, at: {address: 110, type: u16}}\npoints:", 1)


def coded(serial_from: str, alarm: bool = False) -> set[str]:
    """What is found where a meter's declaration pins its type, and a reading says how its number is known."""
    plant = Plant(CODED)
    plant.declared_anew()
    plant.reading("rtu-1", doubt="settings_unread")
    settings = [{"name": "model_code", "value": "71", "formula": "0@3:u16be"}]
    fields = plant.log.fields(plant.log.find("meter", 0))["meter"] | plant.plate | {"settings": settings}
    record = plant.append("meter", meter=fields, frames=[plant.exchange("rtu-1", 110, b"\0G")])
    plant.declared["rtu-1"] = base64url(record.leaf)
    doubt = {}
    if alarm:
        other = [{"name": "model_code", "value": "72", "formula": "0@3:u16be"}]
        frames = [plant.exchange("rtu-1", 110, b"\0H")]
        plant.append("alarm", meter=plant.source("rtu-1"), cause="settings_changed", settings=other, frames=frames)
        doubt = {"doubt": "settings_changed"}
    plant.sources["rtu-1"]["serial_from"] = serial_from
    plant.after(900).reading("rtu-1", **doubt)
    return plant.found()


def test_a_number_is_known_by_the_fingerprint_while_the_meter_tells_the_type_it_was_declared_with() -> None:
    assert coded("fingerprint") == set()
    assert coded("plate") == {"DECLARATION"}
    assert coded("fingerprint", alarm=True) == {"DECLARATION"}
    assert coded("plate", alarm=True) == set()


def test_a_fingerprint_that_was_never_pinned_is_named() -> None:
    plant = Plant()
    plant.sources["rtu-1"]["serial_from"] = "fingerprint"
    plant.reading("rtu-1")
    assert plant.found() == {"DECLARATION"}


# --- the rest -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "decoded", "same"),
    [
        ("184223", "184223.57", True),
        ("184224", "184223.57", True),
        ("184223.5", "184223.57", True),
        ("184225", "184223.57", False),
    ],
)
def test_a_display_agrees_within_one_unit_of_its_last_digit(shown: str, decoded: str, same: bool) -> None:
    assert agrees(shown, decoded) is same


def pruned(leaves: list[bytes], **fields: Any) -> list[tuple[str, str]]:
    blocks = Blocks()
    for n, leaf in enumerate(leaves):
        blocks.take(n, leaf)
    return list(blocks.pruned(len(leaves), fields))


LEAVES = [hashlib.sha256(bytes([n % 256, n // 256])).digest() for n in range(2 * BLOCK + 3)]


def tree_root(leaves: list[bytes]) -> bytes:
    """RFC 9162, section 2.1, of a power of two."""
    while len(leaves) > 1:
        leaves = [hashlib.sha256(b"\1" + one + two).digest() for one, two in zip(leaves[::2], leaves[1::2], strict=True)]
    return leaves[0]


def test_kept_hashes_are_the_roots_of_their_blocks() -> None:
    roots = [base64url(tree_root(LEAVES[k * BLOCK : (k + 1) * BLOCK])) for k in range(2)]
    assert pruned(LEAVES, first=0, end=2 * BLOCK, blocks=roots) == []
    assert pruned(LEAVES, first=BLOCK, end=2 * BLOCK, blocks=roots[1:]) == []
    assert [kind for kind, _ in pruned(LEAVES, first=0, end=2 * BLOCK, blocks=roots[::-1])] == ["PRUNE", "PRUNE"]
    for first, end in ((0, BLOCK), (1, BLOCK + 1), (BLOCK, 0), (0, 4 * BLOCK)):
        assert [kind for kind, _ in pruned(LEAVES, first=first, end=end, blocks=roots)] == ["PRUNE"]


def test_a_prune_record_in_a_log_that_still_has_the_records_is_judged_by_them() -> None:
    plant = Plant()
    plant.append("prune", first=0, end=256, blocks=["A" * 43])
    assert plant.found() == {"PRUNE"}
