"""How the running agent is: well, or what ails it, each with the place, the reason and what to do.

One judgement, told in four ways: systemd's STATUS line and watchdog (`agent.watch`), `meterseal status --health`, the
metrics, and the journal. What ails it has a stable name (`AILMENTS`); docs/install.md lists them for the operator.

 1. A meter that is silent among others that answer is the plant's matter: `meterseal status` tells it. When nobody on a
    line answers, the line or the gateway is at fault.
 2. A broker that is away for a while is what the ledger is for: it is told after a minute, a backlog after a quarter of an hour.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.clock import Trust
from agent.keys import KeyFileError, readable_key
from agent.ledger_file import LedgerError
from config.language import N_, _
from config.system_words import reason_of

AILMENTS = {
    "not_running": N_("no agent runs on this state directory"),
    "site_mistake": N_("the site file has a mistake, and the agent cannot start with it"),
    "key_unreadable": N_("the signing key is missing, damaged, open to others, or another account's: the next start fails"),
    "not_answering": N_("an agent holds the state directory and does not answer: it hangs, or is just starting or stopping"),
    "first_round": N_("the agent is up and has not finished its first poll round yet"),
    "ledger_failed": N_("the disk refused a record: nothing is sealed"),
    "writer_stalled": N_("the thread that writes the ledger stands still: nothing is sealed"),
    "polling_stalled": N_("the polling of a link stands still"),
    "line_down": N_("a port or connection cannot be opened"),
    "line_silent": N_("a line is open, and none of its meters answers"),
    "disk_nearly_full": N_("the disk of the state directory is nearly full"),
    "clock_unsynchronised": N_("nothing keeps the gateway's clock: times in records may be wrong, and say so"),
    "broker_unreachable": N_("a broker has not been reached for more than a minute; records wait in the ledger"),
    "broker_refuses": N_("a broker does not let the gateway in, or does not take a record"),
    "delivery_behind": N_("records have been waiting for a broker for more than a quarter of an hour"),
}

CODES = {
    "not_running": "MS-902",
    "site_mistake": "MS-102",
    "key_unreadable": "MS-701",
    "not_answering": "MS-904",
    "ledger_failed": "MS-401",
    "writer_stalled": "MS-907",
    "polling_stalled": "MS-907",
    "line_down": "MS-202",
    "line_silent": "MS-204",
    "disk_nearly_full": "MS-405",
    "clock_unsynchronised": "MS-602",
    "broker_unreachable": "MS-502",
    "broker_refuses": "MS-503",
    "delivery_behind": "MS-511",
}
"""The fault of each, as `meterseal fault` explains it; before the first round is over nothing is wrong yet."""

NO_RECEIPT = N_(
    "Run `meterseal collect status` on the collector's machine; let both users read and write `collector/` in the broker."
)

STALLED = ("writer_stalled", "polling_stalled")
UNREACHED_S = 60.0
BEHIND_S = 900.0
RECEIPT_S = 30.0
WRITER_PATIENCE_S = 30.0
_FIRST_REFUSAL = 128  # MQTT 5.0, section 2.4
_FEW_BYTES = 100 * 2**20
_LOW_BYTES, _LOW_SHARE = 2**30, 0.05


@dataclass(frozen=True, slots=True)
class Ailment:
    """Something that is wrong.

    Attributes:
        name: one of AILMENTS.
        text: the place, the reason and what to do, for a person.
        place: the link, the broker or the directory it is about.
    """

    name: str
    text: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How delivery to a broker stands.

    Attributes:
        broker: its name.
        connected: whether it has taken the connection.
        waiting: how many records do not count as delivered: it has not acknowledged them, or no receipt covers them.
        why, hint: what is in the way and what to do; empty while all is well.
        code: the MQTT reason code of that; 0 where there is none.
        away_s: for how many seconds it has not been connected.
        behind_s: for how many seconds the first of those that wait has waited, as far as was looked.
        collector: whose receipts say what is delivered; empty where the broker's acknowledgements do.
        untaken: how many records it has not acknowledged.
        fault: the fault that is in the way.
    """

    broker: str
    connected: bool
    waiting: int
    why: str = ""
    hint: str = ""
    code: int = 0
    away_s: float = 0.0
    behind_s: float = 0.0
    collector: str = ""
    untaken: int = 0
    fault: str = ""

    @property
    def lacks_receipts(self) -> bool:
        """Whether the broker has taken records for which no receipt has come for half a minute."""
        return bool(self.collector) and self.untaken < self.waiting and self.behind_s > RECEIPT_S


@dataclass(frozen=True, slots=True)
class Seen:
    """All that is looked at.

    Attributes:
        started: whether the first poll round is over.
        records: how many are sealed.
        ledger: why nothing is sealed any more; None while all is well.
        writer_s: for how many seconds the oldest record has been waiting to be written.
        links: each link as its poller tells it for people (`Poller.live`).
        stalled: for how many seconds the polling of a link has stood still, by link; none that works.
        deliveries: one for each broker.
        trust: what the clock is worth.
        state: the state directory.
        free, size: of its disk, bytes.
        key: why the key cannot be read; None while it can.
    """

    started: bool
    records: int
    ledger: LedgerError | None
    writer_s: float
    links: Mapping[str, Mapping[str, Any]]
    stalled: Mapping[str, float]
    deliveries: Sequence[Delivery]
    trust: Trust
    state: Path
    free: int
    size: int
    key: KeyFileError | None = None


def ailments_of(seen: Seen) -> list[Ailment]:
    """What ails the agent, the worst first; none: it is well."""
    found = [*_writing(seen), *_polling(seen), *_machine(seen)]
    return found + [ailment for delivery in seen.deliveries if (ailment := _delivery(delivery))]


def in_words(seen: Seen, ailments: Sequence[Ailment]) -> str:
    """The agent's condition in one line."""
    meters = [(name, link["down"] or told["failures"]) for link in seen.links.values() for name, told in link["meters"].items()]
    silent = [name for name, unheard in meters if unheard]
    read = _("{meters} of {meters_2} meters answer", meters=len(meters) - len(silent), meters_2=len(meters))
    sealed = _(
        "{read}{value}, {records} records sealed",
        read=read,
        value=_(" (silent: {meters})", meters=_few(silent)) if silent else "",
        records=seen.records,
    )
    if not ailments:
        return _("healthy: {sealed}", sealed=sealed)
    return f"{'; '.join(ailment.text for ailment in ailments)} [{sealed}]"


def without_receipts(delivery: Delivery) -> str:
    """For how many records a receipt lacks, in words."""
    return _("no receipt for {waiting} records that the broker has taken", waiting=delivery.waiting - delivery.untaken)


def disk_of(state: Path) -> tuple[int, int]:
    """Free bytes, and the size, of the disk a directory lies on; both 0 where the disk does not even tell that."""
    try:
        usage = shutil.disk_usage(state)
    except OSError:
        return 0, 0
    return usage.free, usage.total


def key_trouble(state: Path) -> KeyFileError | None:
    """Why the signing key could not be read at the next start; None if it can be."""
    try:
        readable_key(state)
    except KeyFileError as error:
        return error
    except OSError as error:
        return KeyFileError(
            f"{error.filename or state}: {reason_of(error)}", _("Look at the disk of the state directory (dmesg).")
        )
    return None


def _few(names: Sequence[str]) -> str:
    told, left = ", ".join(names[:5]), len(names) - 5
    return _("{told} and {left} more", told=told, left=left) if left > 0 else told


def _writing(seen: Seen) -> list[Ailment]:
    if seen.ledger:
        return [Ailment("ledger_failed", f"{seen.ledger}. {seen.ledger.hint}".strip(), str(seen.state))]
    if seen.writer_s > WRITER_PATIENCE_S:
        text = _(
            "the ledger has not been written for {writer_s:.0f} s: the disk hangs. See `dmesg`; change a worn-out card.",
            writer_s=seen.writer_s,
        )
        return [Ailment("writer_stalled", text, str(seen.state))]
    return []


def _polling(seen: Seen) -> list[Ailment]:
    found = [
        Ailment(
            "polling_stalled",
            _("{link} has not been polled for {still_s:.0f} s. Restart the agent.", link=link, still_s=still_s),
            link,
        )
        for link, still_s in seen.stalled.items()
    ]
    for name, link in seen.links.items():
        meters = link["meters"]
        if link["down"]:
            text = _("{name} cannot be opened. Check the plug of its adapter, or its address, network and power.", name=name)
            found.append(Ailment("line_down", text, name))
        elif meters and all(told["failures"] for told in meters.values()):
            text = _(
                "{name}: none of its {meters} meters answers. Check its cable, its speed and that the meters have power.",
                name=name,
                meters=len(meters),
            )
            found.append(Ailment("line_silent", text, name))
    if not seen.started:
        found.append(Ailment("first_round", _("the first poll round is not over yet. Wait until the first readings are due.")))
    return found


def _machine(seen: Seen) -> list[Ailment]:
    found = []
    if seen.key:
        found.append(Ailment("key_unreadable", f"{seen.key}. {seen.key.hint}", str(seen.state)))
    if seen.free < _FEW_BYTES or (seen.free < _LOW_BYTES and seen.free < _LOW_SHARE * seen.size):
        text = _(
            "the disk of {state} has {free} MB left. Make room, or take a larger one.", state=seen.state, free=seen.free // 2**20
        )
        found.append(Ailment("disk_nearly_full", text, str(seen.state)))
    if seen.trust.state == "unsynchronized":
        text = _(
            "nothing keeps this gateway's clock. Start chrony or systemd-timesyncd, and check that a time server can be reached."
        )
        found.append(Ailment("clock_unsynchronised", text))
    return found


def _delivery(delivery: Delivery) -> Ailment | None:
    name = delivery.broker
    why = _("{why}. {hint}", why=delivery.why, hint=delivery.hint.rstrip(".。")) if delivery.why else _("it gives no reason")
    if delivery.code >= _FIRST_REFUSAL:
        return Ailment(
            "broker_refuses",
            _("broker {name}: {why}. {waiting} records wait.", name=name, why=why, waiting=delivery.waiting),
            name,
        )
    if not delivery.connected and delivery.away_s > UNREACHED_S:
        return Ailment(
            "broker_unreachable",
            _("broker {name}: {why}. {waiting} records wait.", name=name, why=why, waiting=delivery.waiting),
            name,
        )
    if delivery.lacks_receipts and delivery.behind_s > BEHIND_S:
        text = _(
            "broker {name}: no receipt of {collector} for {waiting} records, the first for {behind_s:.0f} minutes. {hint}",
            name=name,
            collector=delivery.collector,
            waiting=delivery.waiting,
            behind_s=delivery.behind_s / 60,
            hint=_(NO_RECEIPT),
        )
        return Ailment("delivery_behind", text, name)
    if delivery.waiting and delivery.behind_s > BEHIND_S:
        text = _(
            "broker {name}: {waiting} records wait for it, the first for {behind_s:.0f} minutes.",
            name=name,
            waiting=delivery.waiting,
            behind_s=delivery.behind_s / 60,
        )
        return Ailment("delivery_behind", _("{text} Check the network's speed and what the broker's log says.", text=text), name)
    return None
