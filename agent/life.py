"""The lives of a log's meters while its records go by: what each record means for its meter's standing. Pure.

What this file does not know: how a standing is made up (`agent.standing`), how frames are judged (`agent.evidence`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from agent.declaration import Declaration
from agent.settings import codes, watched
from agent.standing import Standing
from config.language import _

Problem = tuple[str, str]


class Lives:
    """The standings of all meters of a log."""

    def __init__(self) -> None:
        self.standings: dict[str, Standing] = {}
        self.told: Counter[str] = Counter()

    def torn(self) -> None:
        """Records of the log are gone: readings that people compared or quoted may be among them."""
        for standing in self.standings.values():
            standing.torn()

    def summary(self) -> dict[str, int]:
        """What became of the meters, in numbers."""
        return {
            "readings_without_evidence_grade": self.told["doubt"],
            "replacements": self.told["replacement"],
            "alarms": self.told["alarm"],
            "alarms_open": sum(standing.alarm is not None for standing in self.standings.values()),
            "read_by_hand": self.told["manual"],
            "spots": self.told["spot"],
        }

    def take(self, n: int, fields: Mapping[str, Any], declaration: Declaration | None) -> Iterator[Problem]:
        """Takes a record that names a meter; problems with it. `declaration`: in force for it, the record itself included."""
        meter = fields["meter"]["id"]
        standing = self.standings.setdefault(meter, Standing())
        model = declaration.target.model if declaration and declaration.target else None
        self.told[fields["kind"]] += 1
        self.told["doubt"] += "doubt" in fields
        if fields["kind"] == "meter":
            standing.watched, standing.codes = (watched(model), codes(model)) if model else ({}, frozenset())
        elif declaration is None:
            yield "DECLARATION", _("this meter was never declared")
        if fields["kind"] == "reading" and model and fields.get("doubt", "") != standing.doubt:
            yield (
                "GRADE",
                _(
                    "says {grade}, from the records before it follows {grade_2}",
                    grade=_grade(fields.get("doubt", "")),
                    grade_2=_grade(standing.doubt),
                ),
            )
        if fields["kind"] in ("reading", "spot") and model:
            yield from _proof(fields["meter"], standing)
        yield from standing.take(n, fields)


def _proof(source: Mapping[str, Any], standing: Standing) -> Iterator[Problem]:
    right = "fingerprint" if standing.fingerprint and source["serial"] else "plate"
    if source["serial_from"] in ("plate", "fingerprint") and source["serial_from"] != right:
        yield (
            "DECLARATION",
            _(
                "states that its serial number is known from the {serial_from}, it is from the {right}",
                serial_from=source["serial_from"],
                right=right,
            ),
        )


def _grade(doubt: str) -> str:
    return _("that it is not evidence grade ({doubt})", doubt=doubt) if doubt else _("that it is evidence grade")
