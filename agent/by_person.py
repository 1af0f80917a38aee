"""What a person has sealed by hand: corrections, replacements and the like, each with who said so and under which account.

 1. There is one writer of the ledger. While the agent runs, a command asks it over the socket in the state directory
    (`agent.control`); while none runs, the command takes the state's lock and seals by itself.
 2. `who` is what the person says. `account` is the account that the system vouches for: of the running agent's socket the
    peer's (SO_PEERCRED), else the command's own. Neither is ever taken for the other.
 3. Only the kinds named in `JUDGES` can be sealed so: nobody can have a reading, a gap or a declaration sealed by hand.
    Number, time, clock state and signature are given here, and a request that brings any of them is refused.

What this file does not know: what the commands are called (`agent.cli_person`), how a socket is reached (`agent.control`).
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Mapping
from typing import Any

from agent import draft
from agent.clock import Clock
from agent.correction import factor_and_shift
from agent.ledger_file import LedgerReader
from agent.record import RecordError, parse
from agent.schema import HEADER
from agent.seal import Record
from agent.standing import standing_in
from config.language import _

Fields = Mapping[str, Any]
Judge = Callable[[Fields, LedgerReader], None]


class NotSealed(Exception):
    """A person's record cannot be sealed; the message says why and what to do.

    Attributes:
        code: the fault it is told under.
    """

    def __init__(self, message: str, code: str = "MS-307") -> None:
        super().__init__(message)
        self.code = code


def account_of(uid: int) -> str:
    """The name of an account of this machine, its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def own_account() -> str:
    """The account that this program runs under."""
    return account_of(os.getuid())


def known_meter(fields: Fields, past: LedgerReader) -> None:
    """Raises NotSealed: nothing was ever declared of the meter that a record names."""
    meter = fields.get("meter")
    named = str(meter.get("id")) if isinstance(meter, Mapping) else ""
    if not any(True for _unused in past.meter_records(named, "meter")):
        raise NotSealed(_("There is no meter {named} in the ledger. Write its id as it stands in site.yaml.", named=named[:40]))


def _correction(fields: Fields, past: LedgerReader) -> None:
    known_meter(fields, past)
    if str(fields.get("from", "")) >= str(fields.get("to", "")):
        raise NotSealed(_("The correction ends before it begins: give --from a time before --to."))
    try:
        factor, shift_ms = factor_and_shift(str(fields.get("what")), str(fields.get("old")), str(fields.get("new")))
    except ValueError as error:
        raise NotSealed(_("Not sealed: {error}.", error=error)) from None
    if factor == 1 and not shift_ms:
        raise NotSealed(_("Old and new are the same: there is nothing to correct."))


def _fitting(kind: str) -> Judge:
    """Judges by what an audit would find wrong with such a record, were it the ledger's next one."""

    def judge(fields: Fields, past: LedgerReader) -> None:
        known_meter(fields, past)
        standing = standing_in(past, fields["meter"]["id"])
        try:
            problem = next(standing.take(past.size(), {**fields, "kind": kind}), None)
        except (KeyError, TypeError, ValueError, ArithmeticError):
            raise NotSealed(_("This is no {kind} record: a field is missing or malformed.", kind=kind)) from None
        if problem:
            raise NotSealed(_("Not sealed, because it {problem}.", problem=problem[1]))

    return judge


# What a person may have sealed, and what must be true of it in this ledger beyond its form.
JUDGES: dict[str, Judge] = {"correction": _correction} | {kind: _fitting(kind) for kind in ("replacement", "manual", "audit")}


def drafted(clock: Clock, kind: object, given: object, account: str, past: LedgerReader) -> draft.Fields:
    """The draft of a person's record.

    Args:
        clock: gives its time.
        kind: one of `JUDGES`.
        given: its own fields with `who`, without `account` and without any that every record has.
        account: of the person who asks, as the system says.
        past: the ledger as it is on disk.

    Raises:
        NotSealed: it is not for a person to have sealed, or does not fit the ledger.
    """
    if not isinstance(kind, str) or kind not in JUDGES or not isinstance(given, dict):
        raise NotSealed(_("{kind} is nothing that a person can have sealed.", kind=str(kind)[:40]))
    taken = sorted({"account", "sig", "x", *HEADER} & given.keys())
    if taken:
        raise NotSealed(_("{taken} is given by the agent, not by who asks.", taken=", ".join(taken)))
    if not str(given.get("who", "")).strip():
        raise NotSealed(_("Say who you are: --who and a name."))
    JUDGES[kind](given, past)
    return draft.by_person(clock, kind, {**given, "account": account})


def receipt(record: Record) -> dict[str, Any]:
    """What is told of a sealed record: its number, time and leaf hash."""
    return {"n": record.n, "time": record.fields["time"], "leaf": record.leaf.hex()}


def is_by_person(fields: Fields) -> bool:
    """Whether a record is a person's word, or a change of keys: it may stand in the ledger while no agent was running."""
    return "account" in fields or fields["kind"] == "key"


def last_of_agent(past: LedgerReader, n: int) -> Fields | None:
    """The newest record before n that an agent sealed by itself; None where there is none."""
    while n > 0:
        n -= 1
        for _unused, payload in past.payloads(n, n + 1):  # none, where it is gone
            if not is_by_person(fields := parse(payload)):
                return fields
    return None


def why_refused(error: RecordError) -> NotSealed:
    """A record that has not the form of its kind, in words for who asked."""
    return NotSealed(_("This cannot be sealed: {error}.", error=error))
