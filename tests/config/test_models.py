"""Every shipped meter model: well formed, proven by its own example frames, and readable within the meter's limits.

Also makes `docs/models.md`: `python -m tests.config.test_models` writes it anew.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent.model_examples import example_findings, frames_of, target_of, unproven, values_of
from config.check import load_models
from config.modbus import At, ModbusLimits, ModbusModel, ModbusPoint, ModbusWatch
from config.model import TRUST_WORDS, MeterModel
from config.protocols import PROTOCOLS
from config.quantity import quantity_of
from drivers import Target, load, modbus

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "config" / "models"
TABLE = ROOT / "docs" / "models.md"
FILES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
MODELS = {name: model.declared for name, model in load_models().items()}
MODBUS = [name for name in FILES if MODELS[name].protocol == "modbus"]
REGISTERS = {"u16": 1, "i16": 1, "u32": 2, "i32": 2, "f32": 2, "u64": 4, "i64": 4, "f64": 4}

# Where a value stands, in a word, by protocol.
PLACES: dict[str, Callable[[Any], str]] = {
    "opcua": lambda at: f"node {at.node}",
    "dlt645": lambda at: f"identifier {at.id}",
    "cjt188": lambda at: f"{at.identifier}, byte {at.first}",
    "iec62056_21": lambda at: f"line {at.obis}",
    "mbus": lambda at: f"record of {at.kind.replace('_', ' ')}{f', tariff {at.tariff}' if at.tariff else ''}",
}

each_model = pytest.mark.parametrize("name", FILES)
each_modbus_model = pytest.mark.parametrize("name", MODBUS)


def places_of(item: ModbusPoint | ModbusWatch) -> list[At]:
    return [item.at] if isinstance(item, ModbusWatch) else [item.at, *(part.at for part in item.plus)]


def length_of(at: At) -> int:
    return REGISTERS.get(at.type) or at.count or 1


def test_every_model_file_is_among_the_shipped_models_under_its_own_name() -> None:
    assert FILES
    assert set(FILES) == set(MODELS)
    assert [MODELS[name].model for name in FILES] == FILES


@each_model
def test_no_quantity_stands_twice(name: str) -> None:
    quantities = [point.quantity for point in MODELS[name].points]
    assert sorted(set(quantities)) == sorted(quantities)


@each_model
def test_each_example_holds_exactly_the_values_it_states_in_answers_to_its_requests(name: str) -> None:
    assert list(example_findings(MODELS[name])) == []


@each_model
def test_every_point_is_proven_by_an_example(name: str) -> None:
    assert unproven(MODELS[name]) == []


@each_model
def test_every_ratio_of_a_model_is_applied_in_an_example(name: str) -> None:
    wanted = {part for point in MODELS[name].points for part in point.ratio.split("_") if part in ("ct", "vt")}
    given = {part for example in MODELS[name].examples for part in ("ct", "vt") if getattr(example, part)}
    assert given == wanted


@each_model
def test_values_in_examples_lie_within_the_ranges_of_their_points(name: str) -> None:
    model = MODELS[name]
    for example in model.examples:
        for quantity, value in example.values.items():
            if (limits := model.point(quantity).range) is not None:
                assert limits[0] <= Decimal(value) <= limits[1], quantity


def test_examples_prove_what_a_meter_says_when_it_has_no_value() -> None:
    silent = {name for name in FILES for example in MODELS[name].examples if None in values_of(MODELS[name], example).values()}
    told = {name for name in FILES if any(getattr(point.at, "missing", ()) for point in MODELS[name].points)}
    assert silent >= told


# --- what is sent -------------------------------------------------------------------------------------------


def reads_of(model: ModbusModel, items: list[ModbusPoint | ModbusWatch]) -> list[tuple[int, int, int]]:
    """Function, first address and count of the reads that are sent for points or watches."""
    target = Target(model, "1", "rtu")
    return [struct.unpack(">BHH", request.data[1:6]) for request in modbus.requests(target, items)]


def breaches(limits: ModbusLimits, read: tuple[int, int, int], wanted: list[tuple[int, int, int]]) -> Iterator[str]:
    """How a read goes beyond what the model file says its meter bears."""
    function, first, count = read
    touched = range(first, first + count)
    if count > limits.max_registers:
        yield "too many registers"
    if limits.align == 2 and (first % 2 or count % 2) and first not in limits.single:
        yield "odd start or count"
    for span in limits.forbid:
        if span.function in (None, function) and set(touched) & set(range(span.address, span.address + span.count)):
            yield f"reads {span.address}, which is forbidden"
    for span in limits.whole:
        block = range(span.address, span.address + span.count)
        if span.function in (None, function) and set(touched) & set(block) and touched != block:
            yield f"reads the block at {span.address} in part"
    if (alone := set(limits.single) & set(touched)) and (function, first, count) not in wanted:
        yield f"reads {alone} together with others"
    named = {first + offset for _, first, length in wanted for offset in range(length)}
    whole = {address for span in limits.whole for address in range(span.address, span.address + span.count)}
    gap = 0
    for address in touched:
        gap = 0 if address in named | whole else gap + 1
        if gap > (limits.max_gap or 0) + (limits.align == 2):
            yield f"bridges more than {(limits.max_gap or 0)} registers at {address}"


@each_modbus_model
@pytest.mark.parametrize("chosen", ["defaults", "all points", "identity and settings"])
def test_reads_stay_within_the_meters_limits_and_fetch_everything(name: str, chosen: str) -> None:
    model = MODELS[name]
    choices: dict[str, list[ModbusPoint | ModbusWatch]] = {
        "defaults": [point for point in model.points if point.default],
        "all points": list(model.points),
        "identity and settings": [*model.identity, *model.attest],
    }
    items = choices[chosen]
    wanted: list[tuple[int, int, int]] = [
        (at.function or model.modbus.function, at.address, length_of(at)) for item in items for at in places_of(item)
    ]
    reads = reads_of(model, items)
    for read in reads:
        assert list(breaches(model.modbus, read, wanted)) == [], read
    for function, first, length in wanted:
        assert any(function == f and a <= first and first + length <= a + n for f, a, n in reads), first


@each_modbus_model
def test_the_parts_of_one_value_are_fetched_in_one_answer(name: str) -> None:
    model = MODELS[name]
    reads = reads_of(model, list(model.points))
    for point in model.points:
        first = min(at.address for at in places_of(point))
        end = max(at.address + length_of(at) for at in places_of(point))
        assert any(a <= first and end <= a + n for _, a, n in reads), point.quantity


@each_modbus_model
def test_a_sentinel_is_as_long_as_the_value_it_stands_for(name: str) -> None:
    for point in MODELS[name].points:
        for at in places_of(point):
            assert {len(bytes.fromhex(text)) for text in at.missing} <= {2 * length_of(at)}, point.quantity


@each_model
def test_only_counters_say_how_they_count(name: str) -> None:
    said = [point.quantity for point in MODELS[name].points if point.counter]
    assert [quantity for quantity in said if quantity_of(quantity).kind != "counter"] == []


@each_model
def test_a_model_has_the_sources_its_trust_level_claims(name: str) -> None:
    trust = MODELS[name].trust
    kinds = [source.kind for source in trust.sources]
    assert trust.level != "A" or ("maker" in kinds and {"implementation", "community", "extraction"} & set(kinds))
    assert trust.level != "B" or len(kinds) >= 2
    assert trust.level in "AB" or trust.questions


# --- the table in the documentation -------------------------------------------------------------------------


def main_counter(model: MeterModel) -> str:
    """The first counter of a model as a table cell: where it stands and what one count is worth."""
    if model.model.startswith("generic-"):
        return "from the site file"
    if not isinstance(model, ModbusModel):
        counter = next(point for point in model.points if quantity_of(point.quantity).kind == "counter")
        return f"`{counter.quantity}`: {PLACES[model.protocol](counter.at)}"
    point = next((point for point in model.points if quantity_of(point.quantity).kind == "counter"), None)
    if point is None:
        return "none"
    parts = " + ".join(f"{at.type} at {at.address}" for at in places_of(point))
    scale = "" if point.scale == 1 else f" × {point.scale}"
    ratio = "".join(f" × {part}" for part in point.ratio.split("_") if part in ("ct", "vt"))
    function = point.at.function or model.modbus.function
    unit = "" if point.unit == "1" else f" {point.unit}"
    return f"`{point.quantity}`: function {function}, {parts}{scale}{unit}{ratio}"


def identity(model: MeterModel) -> str:
    """What a meter says of itself, as a table cell."""
    watched = ", ".join(watch.name for watch in model.identity)
    if model.protocol == "modbus":
        return watched or "none: plate and seal only"
    driver = load(model.protocol)
    told = [driver.frame_serial(target_of(model, example), *frames_of(example)) is not None for example in model.examples]
    own = "number in every answer" if all(told) else "number in the answers of most" if any(told) else "none: plate and seal only"
    return f"{own}; {watched}" if watched else own


def rendered() -> str:
    """The page `docs/models.md`, made from the model files."""
    pages = "[DL/T 645](protocols/dlt645.md), [CJ/T 188](protocols/cjt188.md), [M-Bus](protocols/mbus.md)"
    lines = [
        "# Meter models",
        "",
        "Made from `config/models` by `python -m tests.config.test_models`; edit the model files, not this page.",
        "Registers count from 0 as on the wire. What is not sure about a model stands in its file under `trust.questions`.",
        f"How protocols other than Modbus are read: {pages}, [IEC 62056-21](protocols/iec62056_21.md).",
        "",
        "| model | protocol | maker | product | trust | main counter | identity read from the meter |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in FILES:
        model = MODELS[name]
        protocol = PROTOCOLS[model.protocol].title
        cells = (name, protocol, model.maker, model.product, model.trust.level, main_counter(model), identity(model))
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Trust levels:", ""]
    lines += [f"- {level}: {words}" for level, words in TRUST_WORDS.items()]
    return "\n".join(lines) + "\n"


def test_the_list_of_models_in_the_documentation_is_not_stale() -> None:
    assert TABLE.read_text(encoding="utf-8") == rendered(), "write it anew: python -m tests.config.test_models"


if __name__ == "__main__":
    TABLE.write_text(rendered(), encoding="utf-8")
