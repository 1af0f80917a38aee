"""Whether the changes in a reading say what their bytes say (`agent.changes`), each recomputed by the declared model.

 1. Their answer answers their request; the tables in front of it are those of one of the reading's own good answers.
 2. There is one entry for each change, in order: none is hidden, none is added. Each is of the node of the quantity that
    it names, and that quantity is declared for this schedule.
 3. Each states exactly what the model gives for it: formula, value, unit, quality and cause.
 4. `overflow` counts the changes that carry the server's word that others were lost.

Pure. What this file does not know: what the gateway did not seal. `begun`, `dropped` and `cause` are its word.
"""

from __future__ import annotations

from collections.abc import Iterator

from agent.changes import change_value
from agent.declaration import Declaration, Fields, Frames
from config.language import _
from drivers.errors import BadFrame, FormulaError
from drivers.formula import evaluate
from drivers.opcua import check
from drivers.opcua_changes import overflows, tables_of
from drivers.opcua_read import TABLES, nodes_of

Problem = tuple[str, str]


def wrong_changes(declaration: Declaration | None, frames: Frames, fields: Fields) -> Iterator[Problem]:
    """Problems with the changes in a reading.

    Args:
        declaration: of its meter; without it only the entries' own formulas are recomputed.
        frames: the reading's own.
        fields: the reading.
    """
    changes = fields.get("changes")
    if changes is None:
        return
    request, answer = bytes.fromhex(changes["request"]), bytes.fromhex(changes["answer"])
    if declaration is None or declaration.target is None:
        yield from _by_themselves(changes, answer)
        return
    if declaration.target.model.protocol != "opcua":
        yield "DECLARATION", _("changes: the declared model's protocol tells none")
        return
    if not any((request, answer, changes["values"], "overflow" in changes)):
        return
    try:
        yield from _as_a_whole(frames, changes, request, answer)
    except BadFrame as error:
        yield "FRAME", _("changes: {error}", error=error)
        return
    declared = declaration.quantities(fields["every_ms"])
    for place, stated in enumerate(changes["values"][: len(nodes_of(request)) - TABLES]):
        for kind, what in _wrong(declaration, declared, request, answer, place, stated):
            yield kind, _("change {place}, {quantity}: {what}", place=place, quantity=stated["quantity"], what=what)


def _as_a_whole(frames: Frames, changes: Fields, request: bytes, answer: bytes) -> Iterator[Problem]:
    """Problems with how many there are and what stands in front of them. Raises BadFrame."""
    check(request, answer, "own")
    if tables_of(answer) not in {tables_of(each) for each in frames.usable if each}:
        yield "FRAME", _("changes: the server's tables are not those of this reading's own answer")
    count, lost = len(nodes_of(request)) - TABLES, overflows(answer)
    if count != len(changes["values"]):
        yield (
            "VALUE",
            _("changes: {values} are stated, the bytes hold {count}", values=len(changes["values"]), count=count),
        )
    if changes.get("overflow", 0) != lost:
        yield (
            "VALUE",
            _("changes: overflow is said to be {changes}, the bytes give {lost}", changes=changes.get("overflow", 0), lost=lost),
        )


def _wrong(
    declaration: Declaration, declared: list[str], request: bytes, answer: bytes, place: int, stated: Fields
) -> Iterator[Problem]:
    point = declaration.points.get(stated["quantity"])
    if point is None or declaration.target is None or stated["quantity"] not in declared:
        yield "DECLARATION", _("is not among the quantities declared for this schedule")
        return
    try:
        right = change_value(declaration.target, point, request, answer, place).fields()
    except KeyError:
        yield "REQUEST", _("the bytes are of another node")
        return
    if stated.get("formula") != right.get("formula"):
        yield (
            "FORMULA",
            _(
                "states formula {stated}, the model gives {right}",
                stated=stated.get("formula", "none"),
                right=right.get("formula", "none"),
            ),
        )
    elif stated.get("value") != right.get("value"):
        yield (
            "VALUE",
            _(
                "states {stated}, the bytes give {right}",
                stated=stated.get("value", _("no value")),
                right=right.get("value", "none"),
            ),
        )
    elif stated.get("unit") != right.get("unit"):
        yield (
            "UNIT",
            _(
                "is stated in {stated}, its unit is {right}",
                stated=stated.get("unit", _("no unit")),
                right=right.get("unit", _("none, without a value")),
            ),
        )
    elif stated != right:
        yield "QUALITY", _("is marked {marked}, it follows {marked_2}", marked=_marked(stated), marked_2=_marked(right))


def _marked(value: Fields) -> str:
    return f"{value.get('quality', 'good')} {value.get('cause', '')}".strip()


def _by_themselves(changes: Fields, answer: bytes) -> Iterator[Problem]:
    for place, stated in enumerate(changes["values"]):
        if "formula" not in stated:
            if "value" in stated:
                yield "VALUE", _("change {place}: states {value} without a formula", place=place, value=stated["value"])
            continue
        try:
            outcome = evaluate(stated["formula"], [answer])
        except FormulaError as error:
            yield "FORMULA", _("change {place}: {error}", place=place, error=error)
            continue
        if outcome.value != stated.get("value"):
            yield (
                "VALUE",
                _(
                    "change {place}: states {stated}, the bytes give {value}",
                    place=place,
                    stated=stated.get("value", _("no value")),
                    value=outcome.value or _("none"),
                ),
            )
