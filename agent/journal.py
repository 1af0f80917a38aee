"""The journal: every event the agent tells, under a stable name, one line each.

On a terminal the lines are coloured; under systemd each event goes to journald with its fields (`agent.journald`), or, where
that cannot be reached, as a line that begins with its priority (`<4>`); else they are JSON. What repeats is counted
(`agent.repeats`). Names never change meaning; `docs/events.md` lists them for the operator, docs/journal.md how to ask for them.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import MutableMapping
from typing import Any

import structlog

from agent.faults import FAULTS, code_of_event
from agent.journald import PRIORITY, fields_of, is_here, send
from agent.repeats import Repeats
from config.language import _

EVENTS = {
    "agent.started": "the agent is up: how many meters, links and brokers",
    "agent.stopped": "the agent ended in order",
    "site.reloaded": "a changed site.yaml came into force while the agent ran: what was changed in it",
    "site.refused": "a changed site.yaml was not taken; all its mistakes are told, and the one before stays in force",
    "site.unchanged": "the agent was asked to reload, and site.yaml is as it was",
    "page.listening": "the status page can be read, at these addresses",
    "page.cannot_listen": "the status page cannot be served: its address or port cannot be had; it is tried again by itself",
    "link.up": "a port or connection is open",
    "link.down": "a port or connection is gone, or cannot be opened; it is tried again by itself",
    "link.idle": "the other side closed a connection that nobody used; it is opened again before it is needed",
    "link.silent": "nobody has answered on a connection for so many seconds; it is made anew",
    "link.overrun": "a line has had no time for so many polls; they are sealed as missed (told at 1, 10, 100, ...)",
    "meter.back": "a meter answers again; how many polls were missed",
    "meter.silent": "a meter does not answer; its missing polls are sealed as a gap",
    "meter.overrun": "polls of a meter were never tried, and are sealed as a gap",
    "meter.changes_lost": "changes between two readings were lost, and are counted in the readings (told at 1, 10, 100, ...)",
    "meter.changes_refused": "a server does not tell the changes of a meter's values; its readings go on",
    "counter.decided": "what a falling or jumping counter was: decided by the next reading, sealed, and what is counted for it",
    "clock.set": "the gateway's clock was set, by how many seconds; all meters are read by the new time",
    "meter.refused": "a meter refuses a read; said once until it changes",
    "meter.identified": "the serial number read from the meter is the one on its plate in site.yaml",
    "meter.exchanged": "another serial number answers under this address; nothing is sealed for this meter",
    "meter.replaced": "a meter was replaced, and site.yaml still has the old serial number",
    "meter.settings_changed": "a meter tells other settings than those that are pinned; its readings are not evidence grade",
    "meter.settings_unread": "a meter does not tell its settings; its readings are not evidence grade until it does",
    "meter.unidentified": "the serial number cannot be read from the meter; the plate's word stands in the records",
    "ledger.failed": "the ledger cannot be written; nothing is sealed until it can",
    "ledger.pruned": "old readings were taken away, by age or to make room; a signed record says which, and keeps their hashes",
    "ledger.pruned_undelivered": "there was no room left, and readings went that no destination has acknowledged",
    "ledger.not_pruned": "old readings should go and could not; it is tried again by itself",
    "ledger.packed": "records of closed months were compressed: how many, and the bytes that they took before and take now",
    "ledger.not_packed": "records of closed months could not be compressed and stay as they are; it is tried again by itself",
    "ledger.refused": "a reading could not be sealed",
    "ledger.salvaged": "the ledger's file was damaged; what could be read was saved, the file is kept, and the loss is sealed",
    "forward.connected": "a broker took the connection",
    "forward.lost": "the connection to a broker was lost; it is tried again by itself",
    "forward.cannot_connect": "a broker cannot be reached or does not let us in",
    "forward.refused": "a broker refused a record; it stays in the ledger and is sent again",
    "forward.password_in_clear": "the password goes to a broker over a connection that is not encrypted",
    "witness.started": "a witness is up: how many gateways it watches",
    "witness.vouched": "the witness cosigned a gateway's checkpoint over so many records",
    "witness.alarm": "the witness refuses a log: it was rewritten, went back or bears a foreign key; told until settled",
    "witness.not_taken": "a message about witnessing is not what it should be, and was dropped",
    "witness.no_connection": "the broker cannot be reached to hear questions or checkpoints; it is tried again by itself",
    "witness.cosigned": "a witness's cosignature was kept beside the ledger",
    "witness.ahead": "a witness has seen more records than this ledger has: the ledger is an older copy",
    "receipt.taken": "the collector has stored all records up to here; what it has is delivered",
    "receipt.asked": "the collector lacks records; they are sent again",
    "receipt.alarm": "the collector has other records than this ledger, or more; told every ten minutes while it goes on",
    "receipt.gone": "the collector lacks records that are gone here; it cannot go on by itself",
    "receipt.not_taken": "a message in the collector's place is not what it should be, and was dropped",
    "receipt.no_connection": "the broker cannot be reached to hear receipts; it is tried again by itself",
    "collect.started": "a collector is up: from how many gateways it takes records",
    "collect.stopped": "a collector ended in order",
    "collect.no_connection": "the broker cannot be reached to take records; it is tried again by itself",
    "collect.settled": "more records of a gateway are stored and checked without a hole, and its receipt went out",
    "collect.asked": "records of a gateway are missing; the gateway was asked for them",
    "collect.not_taken": "what came in a gateway's place was not sealed by it, and was dropped (told at 1, 10, 100, ...)",
    "collect.finding": "a record is the gateway's own and is stored, and something about it is wrong",
    "collect.unchecked": "a meter's model is not at hand: its values are stored and not recomputed until it is",
    "collect.alarm": "a gateway's records contradict each other; what is stored stays as it is; told until settled",
    "collect.failed": "the collector cannot store records; it is tried again by itself",
    "timestamp.taken": "a timestamp authority stamped the newest checkpoint",
    "timestamp.failed": "a timestamp authority did not answer or refused; it is asked again by itself",
    "forward.nobody_listens": "the broker takes records, but no one has subscribed to them",
    "forward.old_version": "the site file asks for MQTT 3.1.1, where a broker's refusals cannot be seen",
    "agent.stalled": "the ledger's thread or the polling of a link stands still; systemd ends the agent and starts it anew",
    "poll.round": "at debug: all that was due on a link has been asked; how many polls were read and missed, how long it took",
}

_repeats = Repeats()


def _words(event: MutableMapping[str, Any]) -> str:
    fields = " ".join(f"{key}={value}" for key, value in event.items() if key not in ("event", "level"))
    return f"{event['event']} {fields}".rstrip()


def _with_code(_logger: Any, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Warnings and errors carry the code of their fault and what to do; what the event brings along stands."""
    code = code_of_event(event["event"], event) if level in ("warning", "error", "critical") else ""
    if code:
        event.setdefault("code", code)
        if not event.get("hint"):
            event["hint"] = _(FAULTS[event["code"]].first)
    return event


def _systemd_line(_logger: Any, level: str, event: MutableMapping[str, Any]) -> str:
    return f"<{PRIORITY.get(level, 6)}>{_words(event)}"


def _to_journald(logger: Any, level: str, event: MutableMapping[str, Any]) -> str:
    """Sends an event with its fields; what the journal does not take becomes a line."""
    try:
        send(fields_of(event, level, _words(event)))
    except OSError:
        return _systemd_line(logger, level, event)
    raise structlog.DropEvent


def _few(_logger: Any, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Lets through what was not told often lately."""
    if level != "debug" and "repeated" not in event and not _repeats.may_be_told({**event, "level": level}, time.monotonic()):
        raise structlog.DropEvent
    return event


def tell_repeats(*, all_of_them: bool = False) -> None:
    """Tells how often was repeated what was counted only: of the minutes that are over, or of all."""
    for event in _repeats.over(time.monotonic(), all_of_them=all_of_them):
        name, level = event.pop("event"), event.pop("level")
        getattr(journal(), level)(name, **event)


def _renderer(stream: str, *, terminal: bool) -> Any:
    if stream and is_here(sys.stderr, stream):
        return _to_journald
    if stream:
        return _systemd_line
    if terminal:
        return structlog.dev.ConsoleRenderer(pad_event_to=24)
    return structlog.processors.JSONRenderer(ensure_ascii=False)


def configure(level: str = "info") -> None:
    """Sets up the journal for this process: which level, and how lines look where they go (standard error)."""
    terminal = sys.stderr.isatty()
    stream = os.environ.get("JOURNAL_STREAM", "")
    processors: list[Any] = [structlog.processors.add_log_level, _with_code, _few]
    if not stream:
        processors.append(structlog.processors.TimeStamper(fmt="%H:%M:%S" if terminal else "iso", utc=not terminal))
    structlog.configure(
        processors=[*processors, _renderer(stream, terminal=terminal)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # pymodbus prints frames of whichever line spoke last; what happens on a line is told by us.
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


def journal() -> Any:
    """The logger of this process."""
    return structlog.get_logger()
