"""Both verifiers over one log: whatever a test lets `verify` judge, docs/second_verifier.py judges too, and has to agree.

The second one knows no meter models, and nobody who vouches for a log. What only these can tell (`BY_MODEL`) it may leave
unseen; what it names must be found by the first one as well, and all else both must name.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from agent import verify as first
from agent.report import Report

BY_MODEL = {"MODEL", "DECLARATION", "REQUEST", "FRAME", "FORMULA", "VALUE", "QUALITY", "GAP", "COUNTER", "DAY"}
BY_MODEL |= {"REPLACEMENT", "SETTINGS", "GRADE", "PAIR", "PRUNE", "WITNESS", "TIME-WINDOW", "TIMESTAMP"}
BY_MODEL |= {"SETTINGS", "GRADE", "REPLACEMENT", "PAIR", "PRUNE"}  # of a meter's life it reads only the form


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
    other = second.verify([payload for _, payload in rows], log.checkpoints(), log.models(), key, outside, log.kept())
    agree(report, other)
    return report


def agree(report: Report, other: object) -> None:
    """Raises AssertionError where the second verifier's report is at odds with the first one's."""
    named, told = set(report.findings.counts), other.classes  # type: ignore[attr-defined]  # the module has no types here
    shown = f"first: {sorted(named)}, second: {sorted(told)}\n{report.text()}\n{other.text()}"  # type: ignore[attr-defined]  # the same
    if "FORMULA" in named:  # the first one evaluates the model's formula, the second one the stated formula
        told = told - {"VALUE"}
    if "FORMAT" in named:  # over a record that cannot be read, the second one still knows the root
        named = named - ({"CHECKPOINT"} - told)
    assert told <= named, shown
    assert named - told <= BY_MODEL, shown
    assert other.exit_code == report.exit_code or named <= BY_MODEL - told, shown  # type: ignore[attr-defined]  # the same
