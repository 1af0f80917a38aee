"""The classes of what an audit can find, with their meaning, and the findings themselves.

A class is a stable word: tests, documents and `--json` quote it. Of each class the first findings are kept and the
rest counted, so that a log forged from end to end gives a report a person can read.

What this file does not know: how anything is checked.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

KEPT = 20


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a class of findings means, in one sentence, and what to do about it, in another."""

    means: str
    then: str


CLASSES: dict[str, Meaning] = {
    "EMPTY": Meaning(
        "There is not a single record to check.",
        "Ask for the right file; if this is the gateway's whole log, nothing of it is evidence.",
    ),
    "FORMAT": Meaning(
        "A record is not written the way this format prescribes, so its content cannot be relied on.",
        "Compare the record with another copy (broker, server); one that was damaged on its way is intact there.",
    ),
    "UNSIGNED": Meaning(
        "A record carries no signature: anybody can have written it.",
        "Treat the record as absent, and find out where it was put in.",
    ),
    "SIGNATURE": Meaning(
        "The signature does not belong to this content and the key in force: the record was changed or made up.",
        "Take the record from another copy; where no copy verifies, treat it as absent.",
    ),
    "KEY": Meaning(
        "A key was used that was not in force for this record, or the log begins with another key than the confirmed one.",
        "Compare the key's fingerprint with the signed enrolment form and ask who changed keys, when and why.",
    ),
    "SEQUENCE": Meaning(
        "Records are missing, stand at the wrong place or come from another log.",
        "Ask for the complete log or another copy of it; what is missing counts as hidden until it is shown.",
    ),
    "PREV-HASH": Meaning(
        "A record does not continue the one before it: between the two something was changed, removed or put in.",
        "Look at the record before it first: it or its neighbour is not the one that was sealed.",
    ),
    "METER-COUNT": Meaning(
        "A meter's own count of records jumps: records of this meter are missing or were put in twice.",
        "Ask for the missing records of this meter from the broker or the server.",
    ),
    "CLOCK": Meaning(
        "Time and time since boot disagree without a clock record that says why: a record may be dated back or forth.",
        "Do not rely on the times around this record; the checkpoints others hold bound them.",
    ),
    "CONFIG": Meaning(
        "A site file is said to take the place of another one than was in force: a change of the configuration is hidden.",
        "Ask for the site files of that time, and compare their SHA-256 with the records.",
    ),
    "DECLARATION": Meaning(
        "A reading does not fit the declaration of its meter that is in force (number, serial, model, quantities).",
        "Find out which meter was read; until then its values belong to nobody.",
    ),
    "MODEL": Meaning(
        "The meter model's file is missing, or is not the one that the declaration quotes by its digest.",
        "Get the model file with this digest; without it the values of this meter cannot be checked against their registers.",
    ),
    "REQUEST": Meaning(
        "The question asked is not one that the declared model prescribes for this meter.",
        "Treat what was read with it as read from another meter or another register.",
    ),
    "FRAME": Meaning(
        "An answer is not an answer to its request: checksum, address, function or length is wrong.",
        "Treat the values taken from it as absent.",
    ),
    "FORMULA": Meaning(
        "A value's formula is not the one that the declared model gives, or it points where there is nothing.",
        "Do not use the value; recompute it from the bytes with the model's own formula.",
    ),
    "VALUE": Meaning(
        "The stated value is not what the meter's bytes give, or a value is hidden or made up.",
        "Do not use the value; recompute it from the bytes.",
    ),
    "UNIT": Meaning(
        "A value is stated in another unit than its quantity has.",
        "Do not use the value: it is off by the factor between the two units.",
    ),
    "QUALITY": Meaning(
        "A value's quality is not the one that follows from its bytes and the model's range.",
        "Use the quality that the report states instead.",
    ),
    "GAP": Meaning(
        "The account of missed polls does not add up: polls are unaccounted for, or a gap ends that never began.",
        "Treat the polls in question as missed, and ask for the gateway's journal of that time.",
    ),
    "COUNTER": Meaning(
        "What a falling or jumping counter was is stated otherwise than the readings show, or not at all.",
        "Do not use the meter's consumption around it; recompute it with `meterseal consumption`.",
    ),
    "DAY": Meaning(
        "A closed day of a meter does not say what its readings come to, or days were left out.",
        "Recompute the day with `meterseal consumption`, and use that.",
    ),
    "REPLACEMENT": Meaning(
        "A serial number changes without a replacement that says so, or a replacement states other values than were read.",
        "Ask who exchanged the meter, and compare both counters with the papers of the exchange.",
    ),
    "SETTINGS": Meaning(
        "What is said of a meter's settings (ratio, unit, mode) is not what it told, or a change was taken over unconfirmed.",
        "Read the settings at the meter; until they are known to be right, its counters may mean something else.",
    ),
    "GRADE": Meaning(
        "A reading says that it is evidence grade, or that it is not, and the records before it say otherwise.",
        "Use the grade that the report states instead.",
    ),
    "PAIR": Meaning(
        "A display is said to agree with a reading that states something else, or was not read in the same minute.",
        "Compare the display with the decoded value again; until then the register map counts as unconfirmed.",
    ),
    "PRUNE": Meaning(
        "The hashes kept of records that were taken away are not those of the records.",
        "Get the records of this range from another copy; the ones kept here prove nothing.",
    ),
    "CHECKPOINT": Meaning(
        "A checkpoint is not the gateway's, or these records do not lead to it: history was rewritten.",
        "Keep the checkpoint and this log: together they are the evidence of the rewriting.",
    ),
    "TRUNCATED": Meaning(
        "A checkpoint counts more records than there are: the end of the log was cut off.",
        "Ask for the missing records; they existed when the checkpoint was signed.",
    ),
    "CHECKPOINT-MISSING": Meaning(
        "The gateway signed no checkpoint where one belongs: after 256 records, five minutes at work, or a new start.",
        "Ask for the log's checkpoints and who took them out; those that others kept bound what can have been rewritten.",
    ),
    "WITNESS": Meaning(
        "A witness that was named does not vouch for these records, or a line in its name is not its own.",
        "Ask the witness itself for the newest checkpoint it holds, and give it with --checkpoint.",
    ),
    "TIME-WINDOW": Meaning(
        "A record's time lies outside of the window in which it was sealed by the clocks of others: it is dated back or forth.",
        "Take the times of the checkpoints around it for the time of the record.",
    ),
    "TIMESTAMP": Meaning(
        "A timestamp is not the authority's, or not over the checkpoint that it lies beside.",
        "Ask the plant for the timestamp anew; without it the checkpoint's age rests on the witnesses alone.",
    ),
}


class CannotCheck(Exception):
    """The input cannot be checked at all: not there, unreadable, damaged beyond reading. Exit code 2."""


def printable(text: str) -> str:
    """A text that a terminal shows as it is: records may hold letters that move the cursor or turn the line around."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: its class, the record (None: the log as a whole), the meter and what it is."""

    kind: str
    n: int | None
    meter: str
    what: str

    def __str__(self) -> str:
        place = "log" if self.n is None else f"record {self.n}"
        return f"{place}, {self.meter}: {self.what}" if self.meter else f"{place}: {self.what}"


class Findings:
    """Findings as they are made: the first of each class, and how many there are."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.kept: dict[str, list[Finding]] = {}

    def add(self, kind: str, n: int | None, what: str, meter: str = "") -> None:
        """Notes a finding. `kind` is a name of `CLASSES`."""
        if kind not in CLASSES:
            raise KeyError(kind)
        self.counts[kind] += 1
        kept = self.kept.setdefault(kind, [])
        if len(kept) < KEPT:
            kept.append(Finding(kind, n, meter, what))

    @property
    def total(self) -> int:
        """How many there are in all."""
        return self.counts.total()
