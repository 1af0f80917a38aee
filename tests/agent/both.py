"""Both verifiers over one log: whatever a test lets `verify` judge, docs/second_verifier.py judges too, and has to agree.

The second one has no drivers: which registers a formula must point at, whether an answer of another protocol than Modbus is one.
What only these can tell (`BY_DRIVER`), and timestamps, it may leave unseen; what it names must be found by the first one as well,
and all else both must name.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from agent import verify as first
from agent.report import Report

# Of each class the findings, by their words, that follow only from what a protocol's driver knows, or an RFC 3161 library.
BY_DRIVER = {
    "REQUEST": r".*",
    "FORMULA": r"(.*: )?states formula .*, the model gives .*|states \S+, the model gives .*|.*cannot read the formula.*",
    "MODEL": r".*cannot be read.*",
    "DECLARATION": r"nothing can be asked.*|states serial number .* as carried by its frames.*",
    "SETTINGS": r"states .* as .*, its frames give .*",
    "GAP": r"a poll that the meter answered properly.*",
}
NONE: Mapping[str, str] = {}
_BY_AUTHORITIES = {"TIMESTAMP": r".*", "TIME-WINDOW": r".*"}


def load() -> ModuleType:
    """docs/second_verifier.py as a module: it belongs to no package, as nothing of meterseal may lean on it."""
    path = Path(__file__).parents[2] / "docs" / "second_verifier.py"
    spec = importlib.util.spec_from_file_location("second_verifier", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["second_verifier"] = module
    spec.loader.exec_module(module)
    return module


second = load()


def verify(log: first.Log, *, key: str | None, outside: Sequence[str] = (), fast: bool = False, **options: Any) -> Report:
    """`agent.verify.verify`, after both verifiers were found to agree on the log."""
    report = first.verify(log, key=key, outside=outside, fast=fast, **options)
    rows = list(log.payloads())
    kept = {first: size for first, size, _ in log.kept()}
    if fast or [n for n, _ in rows] != list(islice(second._places({n: (size, b"") for n, size in kept.items()}), len(rows))):
        return report  # a ledger's row numbers are no part of a bundle
    notes, files, witnesses = log.checkpoints(), log.models(), options.get("witnesses", ())
    other = second.verify([payload for _, payload in rows], notes, files, key, outside, log.kept(), witnesses)
    others = _protocols((payload for _, payload in rows), files)
    agree(report, other, others, stamped=bool(options.get("authorities")))
    return report


def _protocols(payloads: Iterable[bytes], models: Mapping[str, bytes]) -> dict[str, str]:
    """The protocols of the meters that were ever declared with another one than Modbus."""
    found = {}
    for payload in payloads:
        with contextlib.suppress(ValueError, KeyError, TypeError, second.Wrong):
            meter = json.loads(payload)["meter"] if b'"kind":"meter"' in payload else {}
            if meter.get("framing") == "own":
                found[meter["id"]] = second.read_model(models[meter["digest"]]).protocol
    return found


def agree(report: Report, other: object, others: Mapping[str, str] = NONE, *, stamped: bool = False) -> None:
    """Raises AssertionError where the second verifier's report is at odds with the first one's.

    `others`: the protocols of meters that do not speak Modbus, what their answers say is for drivers to judge.
    `stamped`: timestamps were judged too.
    """
    named, told = set(report.findings.counts), other.classes  # type: ignore[attr-defined]  # the module has no types here
    shown = f"first: {sorted(named)}, second: {sorted(told)}\n{report.text()}\n{other.text()}"  # type: ignore[attr-defined]  # the same
    if "FORMULA" in named:  # the first one evaluates the model's formula, the second one the stated formula
        told = told - {"VALUE", "QUALITY"}
        named = named - ({"VALUE", "QUALITY"} - told)
    if "FORMAT" in named:  # over a record that cannot be read, the second one still knows the root
        named = named - ({"CHECKPOINT"} - told)
    of_driver = BY_DRIVER | (_BY_AUTHORITIES if stamped else {})
    unseen = {kind for kind in named - told if not _by_driver(report, kind, others, of_driver)}
    assert told <= named, shown
    assert not unseen, f"the second one does not name {sorted(unseen)}; {shown}"
    assert other.exit_code == report.exit_code or (named and not told), shown  # type: ignore[attr-defined]  # the same


def _by_driver(report: Report, kind: str, others: Mapping[str, str], of_driver: Mapping[str, str]) -> bool:
    """Whether all that was found of a class is a driver's to find."""
    kept = report.findings.kept[kind]
    if kind == "FRAME":
        return all(others.get(found.meter, "opcua") != "opcua" for found in kept)
    if kind == "QUALITY":
        return all(found.meter in others for found in kept)
    return kind in of_driver and all(re.fullmatch(of_driver[kind], found.what) for found in kept)
