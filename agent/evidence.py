"""Whether a record says what its frames say: requests, answers, formulas and values against the declared model.

 1. A declaration quotes its meter model by digest; the model's text is at hand and has that digest.
 2. A reading belongs to the declaration in force for its meter, and was asked for with the model's own requests.
 3. Every frame without a fault is an answer to its request (the driver's `check`); frames with a fault are evidence of
    a failed try only: no value may come from them.
 4. Every declared quantity is stated once. Its formula is the one the driver locates in the good frames; where it
    gives a number, the record states that number, in the quantity's unit, doubted exactly if the answer itself says
    so (the driver's `doubt`) or it is out of the model's range; where it gives none, the record states none, bad, with
    the formula's own cause.
Pure. What this file does not know: signatures, the order of records, time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from agent.declaration import Declaration, Fields, Frames, frames_of
from agent.evidence_changes import wrong_changes
from agent.evidence_value import Problem, evaluated, own_number, stated_problems, unit_problems
from agent.settings import wrong_settings
from config.language import _
from config.mistake import ConfigError
from config.model import MeterModel, ModelFile, Point, Watch, ratio_applied
from config.plate import same_serial
from drivers import Driver, Target
from drivers.errors import MeterError

OTHER_METER = "other_meter"
LEFT_OUT = "left_out"
_MOST_CACHED = 4096


class Evidence:
    """The declarations of a log as they come, and the checks of what records say by them.

    Args:
        models: the model files by digest.
        driver_of: the driver of a protocol's name; raises KeyError.
        model_of: the model in a file's bytes and a name for messages; raises ConfigError.
        alone: only some of a log's readings are looked at: what a meter refused before is not known.
    """

    def __init__(
        self,
        models: Mapping[str, bytes],
        driver_of: Callable[[str], Driver],
        model_of: Callable[[bytes, str], ModelFile],
        *,
        alone: bool = False,
    ) -> None:
        self._models = models
        self._driver_of = driver_of
        self._model_of = model_of
        self._read: dict[str, MeterModel | str] = {}
        self._located: dict[tuple[str, tuple[bytes, ...]], dict[str, str | None]] = {}
        self._found: dict[str, tuple[str, str]] = {}
        self.alone = alone
        self._refused: set[tuple[str, str]] = set()
        self.in_force: dict[str, Declaration] = {}

    # --- declarations -----------------------------------------------------------------------------------------

    def declare(self, n: int, fields: Fields, leaf: str) -> Iterator[Problem]:
        """Takes a `meter` record; problems with its model."""
        meter: Fields = fields["meter"]
        model = self._model(meter["digest"])
        if isinstance(model, str):
            self.in_force[meter["id"]] = Declaration(n, leaf, meter)
            yield "MODEL", model
            return
        declared = (meter["model"], meter["revision"], meter["trust"])
        if declared != (model.model, model.revision, model.trust.level):
            yield (
                "DECLARATION",
                _("declares {model} revision {revision}, its model file is another", model=declared[0], revision=declared[1]),
            )
        told = {point.quantity for point in model.points}
        missing = [name for name in Declaration(n, leaf, meter).quantities() if name not in told]
        if missing:
            yield "DECLARATION", _("declares {missing}, which the model does not tell", missing=", ".join(missing))
        told_ratios = (point.ratio for point in model.points if point.quantity in Declaration(n, leaf, meter).quantities())
        if "ratio_applied" in meter and meter["ratio_applied"] != ratio_applied(told_ratios):
            yield (
                "DECLARATION",
                _("says that the {who} applies the ratio, which its model does not", who=meter["ratio_applied"]),
            )
        try:
            self.in_force[meter["id"]] = self._declaration(n, leaf, meter, model)
        except (KeyError, ValueError) as error:
            self.in_force[meter["id"]] = Declaration(n, leaf, meter)
            yield "DECLARATION", _("nothing can be asked of a meter declared like this: {error}", error=error)
            return
        if "settings" in meter or "frames" in fields:
            yield from self._settings({"frames": [], **fields}, meter.get("settings", ()))

    def _model(self, digest: str) -> MeterModel | str:
        """The model of a digest, or why there is none."""
        if digest not in self._read:
            text = self._models.get(digest)
            if text is None:
                self._read[digest] = _("the model file {digest}… is not in this log", digest=digest[:16])
            elif hashlib.sha256(text).hexdigest() != digest:
                self._read[digest] = _(
                    "the model file kept under {digest}… is altered: it has another SHA-256", digest=digest[:16]
                )
            else:
                try:
                    self._read[digest] = self._model_of(text, "model").declared
                except ConfigError as error:
                    self._read[digest] = _(
                        "the model file {digest}… cannot be read: {error}", digest=digest[:16], error=str(error)[:200]
                    )
        return self._read[digest]

    def _declaration(self, n: int, leaf: str, meter: Fields, model: MeterModel) -> Declaration:
        driver = self._driver_of(model.protocol)
        server = meter.get("server", {}).get("uri")
        target = Target(model, meter["address"], meter["framing"], meter.get("ct"), meter.get("vt"), server)
        wanted = Declaration(n, leaf, meter).quantities()
        points = {point.quantity: point for point in model.points if point.quantity in wanted}
        serial = next((watch for watch in model.identity if watch.name == "serial"), None)
        driver.requests(target, list(points.values()))  # a meter of which nothing can be asked is told here
        return Declaration(n, leaf, meter, driver, target, points, serial)

    def _source(self, fields: Fields) -> Iterator[Problem]:
        """Problems with whose record this is."""
        source: Fields = fields["meter"]
        declaration = self.in_force.get(source["id"])
        if declaration is None:
            yield "DECLARATION", _("this meter was never declared")
            return
        if source["declared"] != declaration.leaf:
            yield "DECLARATION", _("quotes another declaration than the one in force (record {n})", n=declaration.n)
        declared, stated = declaration.fields["serial"], source["serial"]
        if declared and stated != declared:
            yield (
                "DECLARATION",
                _("states serial number {stated}, declared is {declared}", stated=stated or _("none"), declared=declared),
            )
        if fields["kind"] not in ("reading", "spot"):
            return
        found, found_under = self._found.get(source["id"], ("", ""))
        if source["serial_from"] == "frame":
            yield from own_number(declaration, frames_of(fields, declaration), stated)
        if source["serial_from"] not in ("plate", "fingerprint") or (stated and not declared):
            if not found or not same_serial(stated, found):
                told = _("the meter told {found}", found=found) if found else _("no record shows that the meter told it")
                yield (
                    "DECLARATION",
                    _("states serial number {stated} as read from the meter, but {told}", stated=stated or _("none"), told=told),
                )
        elif found_under == declaration.leaf and stated and not same_serial(stated, found):
            yield (
                "DECLARATION",
                _("states serial number {stated} from the plate, but the meter told {found}", stated=stated, found=found),
            )

    # --- records ----------------------------------------------------------------------------------------------

    def reading(self, fields: Fields) -> Iterator[Problem]:
        """Problems with a reading."""
        yield from self._source(fields)
        declaration = self.in_force.get(fields["meter"]["id"])
        frames = frames_of(fields, declaration)
        if declaration and declaration.target:
            yield from self._frames(declaration, frames, declaration.reads)
        stated = [value["quantity"] for value in fields["values"]]
        for name in sorted({name for name in stated if stated.count(name) > 1}):
            yield "VALUE", _("{name} is stated twice", name=name)
        if declaration:
            declared = declaration.quantities(fields.get("every_ms"))
            if not declared and "every_ms" in fields:
                yield (
                    "DECLARATION",
                    _("is read every {every_ms} ms, which is not declared for this meter", every_ms=fields["every_ms"]),
                )
            for name in declared:
                if name not in stated:
                    yield "VALUE", _("{name} is declared, yet nothing is said about it", name=name)
        yield from self._values(declaration, frames, fields)
        yield from wrong_changes(declaration, frames, fields)

    spot = reading  # of all that is declared, at no scheduled instant

    def alarm(self, fields: Fields) -> Iterator[Problem]:
        """Problems with a record of a meter's settings."""
        yield from self._source(fields)
        yield from self._settings(fields, fields["settings"])

    def _settings(self, fields: Fields, stated: Sequence[Fields]) -> Iterator[Problem]:
        declaration = self.in_force.get(fields["meter"]["id"])
        if declaration and declaration.target:
            frames = frames_of(fields, declaration)
            yield from self._frames(declaration, frames, declaration.sets)
            yield from (("SETTINGS", what) for what in wrong_settings(declaration, frames, stated))

    def values(self, fields: Fields) -> Iterator[Problem]:
        """Problems with a reading's values as far as its own frames show, without its meter's declaration."""
        yield from self._values(None, frames_of(fields), fields)
        yield from wrong_changes(None, frames_of(fields), fields)

    def _values(self, declaration: Declaration | None, frames: Frames, fields: Fields) -> Iterator[Problem]:
        for value in fields["values"]:
            for kind, what in self._value(declaration, frames, value):
                yield kind, f"{value['quantity']}: {what}"

    def identity(self, fields: Fields) -> Iterator[Problem]:
        """Problems with a record of a serial number read from a meter; takes the number."""
        yield from self._source(fields)
        source, found = fields["meter"], fields["found"]
        declaration = self.in_force.get(source["id"])
        frames = frames_of(fields, declaration)
        if declaration and declaration.target:
            yield from self._frames(declaration, frames, declaration.asks if declaration.tells_number else declaration.identifies)
            prescribed = (self._formula(declaration, frames, declaration.serial), declaration.number_formula(frames))
            if fields["formula"] not in prescribed:
                right = _(" or ").join(filter(None, prescribed)) or _("none")
                yield "FORMULA", _("states {stated}, the model gives {right}", stated=fields["formula"], right=right)
        outcome = evaluated(fields["formula"], frames.usable)
        if isinstance(outcome, str):
            yield "FORMULA", outcome
        elif outcome.value != found:
            yield (
                "VALUE",
                _("states serial number {found}, the bytes give {value}", found=found, value=outcome.value or _("none")),
            )
        if fields["match"] != (not fields["expected"] or same_serial(fields["expected"], found)):
            match, differ = _("says that {found} and {expected} match"), _("says that {found} and {expected} do not match")
            said = match if fields["match"] else differ
            yield "VALUE", said.format(found=found, expected=fields["expected"])
        if declaration and declaration.fields["serial"] and fields["expected"] != declaration.fields["serial"]:
            expected, serial = fields["expected"], declaration.fields["serial"]
            yield "DECLARATION", _("expects serial number {expected}, declared is {serial}", expected=expected, serial=serial)
        self._found[source["id"]] = (found, source["declared"])

    def gap(self, fields: Fields) -> Iterator[Problem]:
        """Problems with the frames of a gap: a poll that was answered is no missed poll."""
        yield from self._source(fields)
        declaration = self.in_force.get(fields["meter"]["id"])
        if declaration is None or declaration.target is None or declaration.driver is None:
            return
        frames = frames_of(fields, declaration)
        yield from self._frames(declaration, frames, declaration.asks)
        if fields["cause"] != OTHER_METER and any(
            any(declaration.located(frames, point)) for point in declaration.points.values()
        ):
            yield "GAP", _("a poll that the meter answered properly is counted as missed")

    def _frames(self, declaration: Declaration, frames: Frames, prescribed: Callable[[bytes], bool]) -> Iterator[Problem]:
        driver, target = declaration.driver, declaration.target
        if driver is None or target is None:
            return
        for index, (request, answer, fault) in enumerate(zip(frames.requests, frames.answers, frames.faults, strict=True)):
            if not prescribed(frames.plain[index]):
                yield (
                    "REQUEST",
                    _(
                        "frame {index}: {request} is not a request that the model prescribes for this meter",
                        index=index,
                        request=request.hex(" "),
                    ),
                )
            try:
                driver.check(request, answer, target.framing)
            except MeterError as error:
                if not fault:
                    yield "FRAME", f"{_('frame {number}', number=index)}: {error}"
            else:
                if fault:
                    yield (
                        "FRAME",
                        _(
                            "frame {index}: is marked {fault}, yet it is a good answer: a value may be hidden",
                            index=index,
                            fault=fault,
                        ),
                    )

    def _value(self, declaration: Declaration | None, frames: Frames, value: Fields) -> Iterator[Problem]:
        name, stated = value["quantity"], value.get("formula")
        formula = stated
        point = None
        if declaration and declaration.target:
            point = declaration.points.get(name)
            if point is None:
                yield "DECLARATION", _("is not among the quantities declared for this meter")
            formula = self._formula(declaration, frames, point)
        if stated != formula or (stated is None and "value" in value):
            yield (
                "FORMULA",
                _(
                    "states formula {stated}, the model gives {formula}",
                    stated=stated or _("none"),
                    formula=formula or _("none: no good frame holds it"),
                ),
            )
        yield from unit_problems(name, value)
        if formula is None:
            yield from self._absent(declaration, frames, value, point)
            return
        outcome = evaluated(formula, frames.usable)
        if isinstance(outcome, str):
            yield "FORMULA", outcome
        else:
            yield from stated_problems(value, outcome, point, declaration.doubted(frames, point) if declaration and point else "")

    def _absent(self, declaration: Declaration | None, frames: Frames, value: Fields, point: Point | None) -> Iterator[Problem]:
        """Problems with a value that no good frame holds."""
        if "value" in value:
            yield "VALUE", _("states {value}, but no good frame holds it", value=value["value"])
            return
        cause = value.get("cause", "")
        why = declaration.located(frames, point)[1] if declaration and point else ""
        meter = declaration.fields["id"] if declaration else ""
        if cause == LEFT_OUT:
            right = self.alone or (meter, value["quantity"]) in self._refused
        elif why:
            right = cause == why
        elif declaration is None:
            right = bool(cause)  # what an answer means, and so why it holds no value, is the declared model's matter
        else:
            right = cause in {*frames.faults, "no_answer"}
            self._refused.add((meter, value["quantity"]))
        if value.get("quality") != "bad" or not right:
            words = _("it is bad, {why}", why=why) if why else _("it must be bad, with the fault of a frame as the cause")
            yield "QUALITY", _("no good frame holds it: {words}", words=words)

    def _formula(self, declaration: Declaration, frames: Frames, point: Point | Watch | None) -> str | None:
        """The formula that the model gives over the good frames, None where none of them holds the point."""
        if point is None or declaration.driver is None or declaration.target is None:
            return None
        if declaration.target.framing == "own":  # where a value stands follows from the answer's own content
            return declaration.located(frames, point)[0]
        if len(self._located) > _MOST_CACHED:
            self._located.clear()
        located = self._located.setdefault((declaration.leaf, frames.asked), {})
        name = point.name if isinstance(point, Watch) else point.quantity
        if name not in located:
            located[name] = declaration.located(frames, point)[0]
        return located[name]
