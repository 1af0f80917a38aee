"""The report of an audit: what is there, what is wrong, what was not checked, and the verdict.

As text for a person and as one JSON object for a program, with the same content. The verdict follows from the
findings and from whether somebody confirmed the key; it is never printed on its own account.

What this file does not know: how anything is checked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from agent.account import MeterAccount, Tally, interval
from agent.anchors import Anchor
from agent.columns import columns, filled
from agent.findings import CLASSES, Findings, printable
from config.language import N_, _

NOT_CHECKED = (
    N_("whether each meter itself told the truth (a wrong current transformer, a manipulated meter, another device on the line)"),
    N_("whether somebody had a copy of the private key: only checkpoints held outside bound what it could rewrite"),
)


@dataclass(slots=True)
class Report:
    """The result of an audit.

    Attributes:
        gateway: `site/gateway`, empty where no record tells it.
        records: how many records were there; `size`: with those that are gone.
        time_from, time_to: times of the first and last record.
        key: name of the enrolled key; `keys`: how many keys the log has had.
        confirmed: whether somebody gave the key from elsewhere.
        fast: whether only chain and checkpoints were checked.
        checkpoint: size of the newest good checkpoint of the log, None without one.
        checkpoints: how many checkpoints the log brought; `outside`: how many were held elsewhere.
        starts, crashes: how often the gateway's agent started, and how often after a crash.
        anchors: by whom these records are vouched for, up to which size and since when.
        gone: how many records are not there any more, `pruned` and `lost`, as signed records state.
        lost_ranges: which of them are lost, first and end.
        unproven: checkpoints that cannot be held against what is there.
        with_x: records that carry unsigned additions.
        life: what became of the meters, in numbers (`agent.life`).
        meters: by meter id.
    """

    gateway: str = ""
    records: int = 0
    size: int = 0
    time_from: str = ""
    time_to: str = ""
    key: str = ""
    keys: int = 0
    confirmed: bool = False
    fast: bool = False
    checkpoint: int | None = None
    checkpoints: int = 0
    outside: int = 0
    starts: int = 0
    crashes: int = 0
    anchors: dict[str, Anchor] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)
    lost_ranges: list[tuple[int, int]] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    with_x: int = 0
    life: dict[str, int] = field(default_factory=dict)
    meters: dict[str, MeterAccount] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)

    @property
    def exit_code(self) -> int:
        """0: in order. 1: there are findings. 2: nothing wrong found, but nobody has confirmed the key."""
        if self.findings.total:
            return 1
        return 0 if self.confirmed else 2

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        if self.findings.total:
            found = _plural(self.findings.total, "finding")
            return _("NOT IN ORDER: {found}. Do not rely on the records named until each is explained.", found=found)
        if not self.confirmed:
            return _(
                "NOT CONFIRMED: the records agree with each other, but nobody has confirmed the key, so anybody can have "
                "made them. Repeat with --key and the key line of the signed enrolment form."
            )
        if self.fast:
            return _(
                "IN ORDER AS FAR AS --fast LOOKS: the {records} records are the ones that the confirmed key's "
                "signatures cover. NOT checked: each record's own signature, its frames, formulas and values.",
                records=self.records,
            )
        if any(self.gone.values()):
            return _(
                "IN ORDER, BUT NOT ALL OF IT IS HERE: the {records} records are signed by the confirmed key, and "
                "every value follows from the meter's bytes. Signed records state what is gone: {gone_text}. Get it "
                "from another copy if it is needed.",
                records=self.records,
                gone_text=self._gone_text(),
            )
        return _(
            "IN ORDER: all {records} records are signed by the confirmed key, none is missing between the first "
            "and the last, and every value follows from the meter's bytes.",
            records=self.records,
        )

    def fields(self) -> dict[str, Any]:
        """Everything as one JSON object."""
        names = "gateway records time_from time_to key keys confirmed fast checkpoint checkpoints outside starts crashes with_x"
        return {
            "verify": 1,
            "exit": self.exit_code,
            "verdict": self.verdict,
            **{name: getattr(self, name) for name in names.split()},
            "anchors": [{"by": by, "size": anchor.size, "time": anchor.time} for by, anchor in self.anchors.items()],
            "meters": [account.fields() for account in self.meters.values()],
            "life": self.life,
            "gone": self.gone | {"ranges": [{"first": first, "end": end} for first, end in self.lost_ranges]},
            "checkpoints_unproven": self.unproven,
            "findings": {
                kind: {
                    "count": self.findings.counts[kind],
                    "means": _(CLASSES[kind].means),
                    "first": [{"n": found.n, "meter": found.meter, "what": found.what} for found in kept],
                }
                for kind, kept in self.findings.kept.items()
            },
            "not_checked": [_(what) for what in NOT_CHECKED],
        }

    def json(self) -> str:
        """`fields` as text, indented."""
        return json.dumps(self.fields(), indent=2)

    def text(self) -> str:
        """The report for a person: findings, what is there, completeness, what was not checked, verdict."""
        code = " [MS-403]" if self.exit_code == 1 else ""
        parts = [self._findings_text(), self._log_text(), self._completeness_text(), self._limits_text()]
        return printable("\n\n".join(part for part in parts if part) + f"\n\n{_('VERDICT')}  {self.verdict}{code}\n")

    def _findings_text(self) -> str:
        lines: list[str] = []
        for kind in CLASSES:
            if not self.findings.counts[kind]:
                continue
            lines += [f"{kind}  {_plural(self.findings.counts[kind], 'finding')}. {_(CLASSES[kind].means)}"]
            lines += [f"    {found}" for found in self.findings.kept[kind]]
            more = self.findings.counts[kind] - len(self.findings.kept[kind])
            lines += [_("    and {count} more", count=more)] if more else []
            lines += [_("    What to do: {then}", then=_(CLASSES[kind].then))]
        return "\n".join(lines)

    def _log_text(self) -> str:
        return "\n".join(f"{filled(_(name), 11)}{text}" for name, text in self.rows())

    def rows(self) -> list[tuple[str, str]]:
        """What the log holds, as names and sentences for a person."""
        accounts = self.meters.values()
        gaps, still_open = sum(a.gaps for a in accounts), sum(a.gap_open for a in accounts)
        total = sum((account.total for account in accounts), Tally())
        outside = _("no checkpoint held elsewhere was given")
        if self.outside:
            outside = _("{outside} held elsewhere was given", outside=_plural(self.outside, "checkpoint"))
        confirmed = _("confirmed by --key") if self.confirmed else _("NOT CONFIRMED")
        rows = [
            ("gateway", self.gateway or _("unknown")),
            (
                "records",
                _("{records}, {first} to {last}", records=self.records, first=self.time_from, last=self.time_to)
                if self.records
                else "0",
            ),
            ("meters", str(len(self.meters))),
            ("readings", _("not looked at (--fast)") if self.fast else str(total.read)),
            (
                "gaps",
                _(
                    "{gaps} ({still_open} still open), {plural} missed",
                    gaps=gaps,
                    still_open=still_open,
                    plural=_plural(total.missed, "poll"),
                ),
            ),
            *self._life_rows(),
            ("starts", _("{starts}, {crashes} of them after a crash", starts=self.starts, crashes=self.crashes)),
            ("checkpoint", self._checkpoint_text()),
            ("outside", outside),
            *(("anchored", self._anchor_text(anchor)) for anchor in self.anchors.values()),
            (
                "key",
                _(
                    "{key} {confirmed}, {plural} in this log",
                    key=self.key or _("none"),
                    confirmed=confirmed,
                    plural=_plural(self.keys, "key"),
                ),
            ),
        ]
        if self.fast:
            rows = [row for row in rows if row[0] not in ("gaps", "starts", "meters")]
        if any(self.gone.values()):
            rows.append(("gone", self._gone_text()))
        if self.unproven:
            told = _(
                "{plural} cannot be held against what is left: {unproven}",
                plural=_plural(len(self.unproven), "checkpoint"),
                unproven=", ".join(self.unproven[:3]),
            )
            rows.append(("unproven", told + (_(" and others") if len(self.unproven) > 3 else "")))
        if self.with_x:
            rows.append(
                ("unsigned", _("{plural} with additions in `x`, which nobody signed", plural=_plural(self.with_x, "record")))
            )
        return rows

    def _span(self) -> str:
        return _("{records}, {first} to {last}", records=self.records, first=self.time_from, last=self.time_to)

    def _gone_text(self) -> str:
        """What is gone, as signed records state it."""
        parts = []
        if lost := self.gone.get("lost"):
            where = ", ".join(_span(first, end - 1) if end - first > 1 else str(first) for first, end in self.lost_ranges[:5])
            parts.append(
                _(
                    "{plural} lost with a damaged file ({where}{lost_ranges})",
                    plural=_plural(lost, "record"),
                    where=where,
                    lost_ranges=", ..." * (len(self.lost_ranges) > 5),
                )
            )
        if pruned := self.gone.get("pruned"):
            parts.append(_("{plural} taken away to make room", plural=_plural(pruned, "record")))
        return "; ".join(parts)

    def _life_rows(self) -> list[tuple[str, str]]:
        """What became of the meters; nothing where nothing did."""
        told = self.life
        if not any(told.values()):
            return []
        grade = _("{plural} without evidence grade", plural=_plural(told["readings_without_evidence_grade"], "reading"))
        alarms = _(
            "{plural} of changed settings ({alarms_open} not confirmed)",
            plural=_plural(told["alarms"], "alarm"),
            alarms_open=told["alarms_open"],
        )
        replaced = _plural(told["replacements"], "replacement")
        by_hand = _(
            "{plural} read by hand, {plural_2}",
            plural=_plural(told["read_by_hand"], "value"),
            plural_2=_plural(told["spots"], "spot"),
        )
        return [("life", f"{replaced}, {alarms}, {by_hand}"), ("grade", grade)]

    def _checkpoint_text(self) -> str:
        if self.checkpoint is None:
            return _("none that covers these records")
        tail = self.size - self.checkpoint
        return _(
            "newest covers the first {checkpoint}, {plural} after it not yet covered",
            checkpoint=self.checkpoint,
            plural=_plural(tail, "record"),
        )

    def _anchor_text(self, anchor: Anchor) -> str:
        tail = _plural(self.size - anchor.size, "record")
        return _(
            "the first {size} by {name}, which saw them at {time}; unanchored tail: {tail}",
            size=anchor.size,
            name=anchor.name,
            time=anchor.time,
            tail=tail,
        )

    def _completeness_text(self) -> str:
        lines = _account_lines(self.meters.values())
        return "" if self.fast or not lines else "\n".join([_("COMPLETENESS"), *lines])

    def _limits_text(self) -> str:
        return "\n".join([_("NOT CHECKED"), *(f"  {_(what)}" for what in NOT_CHECKED)])


# What stands in front of what the log holds.
ROWS = (
    *(N_("gateway"), N_("records"), N_("meters"), N_("readings"), N_("gaps"), N_("life"), N_("grade"), N_("starts")),
    *(N_("checkpoint"), N_("outside"), N_("anchored"), N_("key"), N_("gone"), N_("unproven"), N_("unsigned")),
)
_COUNTED = {
    "finding": (N_("1 finding"), N_("{count} findings")),
    "checkpoint": (N_("1 checkpoint"), N_("{count} checkpoints")),
    "poll": (N_("1 poll"), N_("{count} polls")),
    "key": (N_("1 key"), N_("{count} keys")),
    "record": (N_("1 record"), N_("{count} records")),
    "reading": (N_("1 reading"), N_("{count} readings")),
    "alarm": (N_("1 alarm"), N_("{count} alarms")),
    "replacement": (N_("1 replacement"), N_("{count} replacements")),
    "value": (N_("1 value"), N_("{count} values")),
    "spot": (N_("1 spot reading"), N_("{count} spot readings")),
}


def _span(first: object, last: object) -> str:
    return _("{first} to {last}", first=first, last=last)


def _plural(count: int, what: str) -> str:
    one, many = _COUNTED[what]
    return _(one) if count == 1 else _(many, count=count)


def _serial(account: MeterAccount) -> str:
    return _("serial {serial}, {model}", serial=account.serial or _("not known"), model=account.model)


def _account_lines(accounts: Iterable[MeterAccount]) -> list[str]:
    """A line for each meter; below it one for each schedule where it has several."""
    rows: list[tuple[str, str, str]] = []
    for each in accounts:
        total = each.total
        read = _(
            "{read}/{expected} polls read, {completeness} %",
            read=total.read,
            expected=total.expected,
            completeness=total.completeness,
        )
        rows.append((each.id, read, _serial(each)))
        if len(each.schedules) > 1:
            rows += [
                (
                    "",
                    _(
                        "  every {span}: {read}/{expected}, {percent} %",
                        span=interval(every_ms),
                        read=tally.read,
                        expected=tally.expected,
                        percent=tally.completeness,
                    ),
                    "",
                )
                for every_ms, tally in sorted(each.schedules.items())
            ]
    return columns(rows) if rows else []
