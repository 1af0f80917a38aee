"""Every register map against what each public source says of the same meter: address, type, order of words, scale.

`sources.csv` was extracted from the sources that the model files name, by a program of its own, one line for each
place that a source gives. Where sources contradict each other, the model leaves the quantity out and says so under
`trust.questions`, or follows the sources named in `CHOSEN`. The table of differences stands at the end of the tests' output.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from config.check import load_models
from config.modbus import ModbusModel, ModbusPoint
from config.quantity import quantity_of

TYPES = {
    "float32": "f32", "float64": "f64", "int16": "i16", "uint16": "u16", "int32": "i32", "uint32": "u32", "int64": "i64",
    "uint64": "u64",
}  # fmt: skip
INTO_OURS = {("kW", "W"): Decimal(1000), ("W", "kW"): Decimal("0.001"), ("Wh", "kWh"): Decimal("0.001")}
MODELS = {name: file.declared for name, file in load_models().items() if isinstance(file.declared, ModbusModel)}

# Where the model follows another source than those of the table, and why.
CHOSEN = {("siemens-pac3200", "frequency"): "the maker's manual and two programs have 55; the table's one source has 46"}

Place = tuple[int, int, str, str, Decimal]


def told() -> dict[str, dict[str, list[tuple[Place, str]]]]:
    """Model, quantity, and the places that sources give for it, each with the sources' keys."""
    found: dict[str, dict[str, list[tuple[Place, str]]]] = defaultdict(lambda: defaultdict(list))
    with (Path(__file__).parent / "sources.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            quantity = row["quantity"]
            try:
                unit = quantity_of(quantity).unit
            except KeyError:
                continue  # a quantity that meterseal has no name for
            scale = Decimal(row["scale"]) * INTO_OURS.get((row["unit"], unit), 1)
            kind = TYPES.get(row["type"], row["type"])
            order = "" if kind in ("u16", "i16") else row["word_order"]
            place = (int(row["function"]), int(row["address"]), kind, order, scale.normalize())
            found[row["model"]][quantity].append((place, row["sources"]))
    return found


TOLD = told()


def place_of(model: ModbusModel, point: ModbusPoint) -> Place:
    at, limits = point.at, model.modbus
    order = "" if at.type in ("u16", "i16") else at.word_order or limits.word_order
    return at.function or limits.function, at.address, at.type, order, point.scale.normalize()


def same(ours: Place, theirs: Place) -> bool:
    """Alike; most meters answer functions 3 and 4 with the same registers, so the function alone is no difference."""
    return ours[1:] == theirs[1:]


def words_of(place: Place) -> str:
    function, address, kind, order, scale = place
    return " ".join(filter(None, (f"function {function} at {address} {kind}", order, f"x {scale:f}" if scale != 1 else "")))


@pytest.mark.parametrize("name", sorted(TOLD))
def test_a_register_map_says_what_its_sources_say(name: str, record_property: Callable[[str, object], None]) -> None:
    model = MODELS[name]
    lines, missing, agreeing = [], [], 0
    for point in model.points:
        given = TOLD[name].get(point.quantity, [])
        ours = place_of(model, point)
        for place, sources in given:
            agreeing += same(ours, place)
            if not same(ours, place):
                lines.append(f"{name} {point.quantity}: ours {words_of(ours)}; {sources}: {words_of(place)}")
        if given and not any(same(ours, place) for place, _ in given):
            missing.append(point.quantity)
    missing = [quantity for quantity in missing if (name, quantity) not in CHOSEN]
    record_property("agrees", f"{name}: {agreeing} places as in its sources, {len(lines)} otherwise")
    record_property("differences", lines)
    assert missing == [], f"no source gives these places:\n{chr(10).join(lines)}"


def test_what_was_chosen_against_a_source_is_still_against_it() -> None:
    for name, quantity in CHOSEN:
        model = MODELS[name]
        ours = place_of(model, model.point(quantity))  # type: ignore[arg-type]  # a Modbus model's points are Modbus points
        assert not any(same(ours, place) for place, _ in TOLD[name][quantity])
