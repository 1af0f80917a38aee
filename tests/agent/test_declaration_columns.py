"""The columns of the plant's meter ledger in a sealed declaration."""

from __future__ import annotations

from typing import Any

import pytest

from agent import draft
from agent.schema import check_record
from config.library import load_models
from config.site import Meter
from tests.agent.both import verify
from tests.agent.gateway import StillClock
from tests.agent.ledgers import Gateway, classes
from tests.config.test_plate import PLATE


def declared(model: str, *quantities: str, **keys: Any) -> dict[str, Any]:
    meter = Meter.model_validate({"id": "EM-1", "link": "line1", "model": model, "address": "1", "ct": "400/5"} | keys)
    return draft.declaration(meter, load_models()[model], "rtu", [(900_000, quantities or ("active_energy_import",))])


def test_a_declaration_holds_every_column_that_the_site_file_has() -> None:
    made = declared("acrel-dtsd1352", **PLATE)
    columns = {name: made[name] for name in PLATE}
    assert columns == PLATE | {"verification_months": 72}
    head = {"meterseal": 1, "gateway": "a/b", "n": 0, "prev": "A" * 43, "key": "0" * 16}
    check_record(draft.declared(StillClock(), made) | head)


def test_maker_type_and_medium_come_from_the_model_where_the_site_file_has_none() -> None:
    made = declared("eastron-sdm630", ct=None)
    assert (made["maker"], made["medium"]) == ("Eastron", "electricity")
    assert "seal" not in made


@pytest.mark.parametrize(("model", "applied"), [("acrel-dtsd1352", "agent"), ("eastron-sdm630", "meter")])
def test_who_applies_the_ratio_is_declared(model: str, applied: str) -> None:
    assert declared(model)["ratio_applied"] == applied


def test_a_ratio_said_to_be_applied_by_the_meter_when_it_is_not_is_found() -> None:
    gateway = Gateway().begin()
    gateway.declare("rtu-1", serial="EM-77", framing="rtu", address="1", ct="400/5", ratio_applied="agent")
    assert verify(gateway.log, key=gateway.key_line).exit_code == 0
    gateway.declare("rtu-1", serial="EM-77", framing="rtu", address="1", ct="400/5", ratio_applied="meter")
    assert classes(gateway.log, gateway.key_line) == {"DECLARATION"}
