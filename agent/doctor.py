"""What can be wrong around the agent on this machine: ports, clock, disk, key, database. Looks only, changes nothing.

Every finding has a place, what was found, and what to do. `wrong` keeps meters from being read or readings from being
kept or believed; `look` is worth a person's eye; `ok` is said too, so that one sees what was looked at.
"""

from __future__ import annotations

import grp
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from agent.clock import Trust
from agent.columns import filled, width_of
from agent.faults import with_code
from agent.key_change import key_in_force
from agent.keys import KeyFileError, source_of
from agent.ledger_file import LedgerError
from agent.state import LEDGER_FILE
from config.language import N_, _
from drivers.adapter import SYSFS, adapter_of

Level = Literal["ok", "look", "wrong"]
LEVELS = (N_("ok"), N_("look"), N_("wrong"))
_STRICT_SINCE = (3, 37, 0)  # the first SQLite that knows the ledger's STRICT tables
_LITTLE, _FULL = 2**30, 200 * 2**20
_FEW_DAYS = 60


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found at a place.

    Attributes:
        level: `ok`, `look` or `wrong`.
        place: what was looked at, such as `port line1`.
        words: what was found.
        todo: what to do about it; empty where there is nothing to do.
        code: the fault that it is, as `meterseal fault CODE` explains it; empty where it is none.
    """

    level: Level
    place: str
    words: str
    todo: str = ""
    code: str = ""


def coded(code: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Findings with a fault's code, where something is wrong or worth a look and none has a code of its own."""
    for each in findings:
        yield each if each.level == "ok" or each.code else replace(each, code=code)


def port_findings(link: str, name: str, sysfs: Path = SYSFS) -> Iterator[Finding]:
    """A serial port: whether it is there, may be opened, has a lasting name, and hands bytes over quickly.

    Args:
        link: the link's name.
        name: the port as in the site file; one behind a serial server has nothing to look at here.
        sysfs: where the kernel tells of adapters.
    """
    place = _("port of {link}", link=link)
    if "://" in name:
        return
    path = Path(name)
    if not path.exists():
        yield Finding(
            "wrong",
            place,
            _("{name} does not exist", name=name),
            _("Plug the adapter in; `ls -l /dev/serial/by-id` shows those there are."),
        )
        return
    seen = path.stat()
    if not stat.S_ISCHR(seen.st_mode):
        yield Finding("wrong", place, _("{name} is no serial port", name=name), _("Write the port's path under links."))
        return
    if not os.access(path, os.R_OK | os.W_OK):
        group = _group(seen.st_gid)
        todo = _("Run: usermod -a -G {group} ACCOUNT (the one the agent runs under), then start it anew.", group=group)
        yield Finding(
            "wrong",
            place,
            _("{name} may not be opened by this account; it belongs to the group {group}", name=name, group=group),
            todo,
        )
    else:
        yield Finding("ok", place, _("{name} may be opened", name=name))
    lasting = adapter_of(name)
    if lasting and str(lasting) != name:
        yield Finding(
            "look",
            place,
            _("{name} may have another number when it is plugged in again", name=name),
            _("Write  serial: {lasting}", lasting=lasting),
        )
    yield from _latency(place, os.path.realpath(name), sysfs)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _latency(place: str, device: str, sysfs: Path) -> Iterator[Finding]:
    """FTDI adapters keep what arrives for up to 16 ms unless they are told not to."""
    file = sysfs / Path(device).name / "device" / "latency_timer"
    try:
        milliseconds = int(file.read_text("ascii"))
    except (OSError, ValueError):
        return
    if milliseconds > 1:
        todo = _("Run: echo 1 > {file}  (lasting: a udev rule with ATTR{{latency_timer}}=1).", file=file)
        yield Finding("look", place, _("its adapter holds answers back for {milliseconds} ms", milliseconds=milliseconds), todo)
    else:
        yield Finding("ok", place, _("its adapter hands answers over at once (latency timer 1 ms)"))


def clock_findings(trust: Trust) -> Iterator[Finding]:
    """Whether the wall clock can be believed."""
    todo = _("Set up a time server: timedatectl set-ntp true, or chrony with the plant's own server.")
    if trust.state == "synchronized":
        yield Finding("ok", _("clock"), _("kept by a time server, at most {error_ms} ms off", error_ms=trust.error_ms))
    elif trust.state == "unsynchronized":
        yield Finding("wrong", _("clock"), _("nothing keeps it: every reading says so, and its time proves little"), todo)
    else:
        yield Finding("look", _("clock"), _("the kernel does not tell whether anything keeps it"), todo)


def disk_findings(state: Path, bytes_a_day: float | None) -> Iterator[Finding]:
    """Room for the ledger. `bytes_a_day`: how fast it grows; None: not known yet."""
    free = shutil.disk_usage(state).free
    days = free / bytes_a_day if bytes_a_day else None
    words = _("{free:.1f} GB free", free=free / 2**30) + (
        _(", enough for about {min:.0f} days", min=min(days, 36500)) if days else ""
    )
    todo = _("Make room on the disk of {state}, or prune old readings (docs/ledger.md).", state=state)
    if free < _FULL:
        yield Finding("wrong", _("disk"), words, todo)
    elif free < _LITTLE or (days is not None and days < _FEW_DAYS):
        yield Finding("look", _("disk"), words, todo)
    else:
        yield Finding("ok", _("disk"), words)


def sqlite_findings(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> Iterator[Finding]:
    """Whether this machine's SQLite can keep the ledger."""
    words = _("version {version}", version=".".join(map(str, version)))
    if version < _STRICT_SINCE:
        yield Finding("wrong", "SQLite", words, _("Install a Python whose SQLite is 3.37 or newer."))
    else:
        yield Finding("ok", "SQLite", words)


def state_findings(state: Path) -> Iterator[Finding]:
    """The state directory and the key in it."""
    if not state.is_dir():
        yield Finding(
            "wrong",
            _("state directory"),
            _("there is no {state}", state=state),
            _("Run `meterseal init`, under the account of the agent."),
        )
        return
    seen = state.stat()
    if seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield Finding(
            "wrong",
            _("state directory"),
            _("others may write into {state}", state=state),
            _("Run: chmod 700 {state}", state=state),
        )
    elif not os.access(state, os.W_OK | os.X_OK):
        todo = _("Run this as the account that the agent runs under, or hand the directory over to it with chown.")
        yield Finding("wrong", _("state directory"), _("this account may not write into {state}", state=state), todo)
    elif seen.st_mode & stat.S_IROTH:
        yield Finding(
            "look", _("state directory"), _("others may look into {state}", state=state), _("Run: chmod 700 {state}", state=state)
        )
    else:
        yield Finding("ok", _("state directory"), _("{state} is this account's alone", state=state))
    yield from _key_findings(state)


def _key_findings(state: Path) -> Iterator[Finding]:
    try:
        key = key_in_force(state)
    except KeyFileError as error:
        yield Finding("wrong", _("key"), str(error), error.hint, "MS-701")
    except LedgerError as error:
        yield Finding("wrong", _("ledger"), str(error), error.hint, error.code)
    else:
        yield Finding(
            "ok", _("key"), _("key {name}, {source_of}, and it is the ledger's", name=key.name, source_of=source_of(state))
        )
    if not (state / LEDGER_FILE).exists():
        yield Finding(
            "look", _("ledger"), _("there is none yet"), _("It is made when the agent runs for the first time."), "MS-402"
        )


def report(findings: list[Finding], write: Callable[[str], None]) -> bool:
    """Writes findings one below the other, what to do under each; returns whether nothing is wrong."""
    width = max((width_of(each.place) for each in findings), default=0)
    for each in findings:
        write(f"{filled(_(each.level), 5)}  {filled(each.place, width)}  {with_code(each.words, each.code)}")
        if each.todo:
            write(f"{'':<5}  {'':<{width}}  -> {each.todo}")
    wrong, look = (sum(each.level == level for each in findings) for level in ("wrong", "look"))
    write(_("{wrong} wrong, {look} to look at, {findings} ok", wrong=wrong, look=look, findings=len(findings) - wrong - look))
    return not wrong
