"""The classes of what an audit can find, with their meaning, and the findings themselves.

A class is a stable word: tests, documents and `--json` quote it. Of each class the first findings are kept and the
rest counted, so that a log forged from end to end gives a report a person can read.

What this file does not know: how anything is checked.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from config.language import N_, _

KEPT = 20


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a class of findings means, in one sentence, and what to do about it, in another."""

    means: str
    then: str


CLASSES: dict[str, Meaning] = {
    "EMPTY": Meaning(
        N_("There is not a single record to check."),
        N_("Ask for the right file; if this is the gateway's whole log, nothing of it is evidence."),
    ),
    "FORMAT": Meaning(
        N_("A record is not written the way this format prescribes, so its content cannot be relied on."),
        N_("Compare the record with another copy (broker, server); one that was damaged on its way is intact there."),
    ),
    "UNSIGNED": Meaning(
        N_("A record carries no signature: anybody can have written it."),
        N_("Treat the record as absent, and find out where it was put in."),
    ),
    "SIGNATURE": Meaning(
        N_("The signature does not belong to this content and the key in force: the record was changed or made up."),
        N_("Take the record from another copy; where no copy verifies, treat it as absent."),
    ),
    "KEY": Meaning(
        N_("A key was used that was not in force for this record, or the log begins with another key than the confirmed one."),
        N_("Compare the key's fingerprint with the signed enrolment form and ask who changed keys, when and why."),
    ),
    "STOLEN": Meaning(
        N_("Records are signed by a key that may have been in other hands by then, as its revocation says."),
        N_("Compare them with copies that others kept before and with the displays; what nobody confirms is nobody's word."),
    ),
    "SEQUENCE": Meaning(
        N_("Records are missing, stand at the wrong place or come from another log."),
        N_("Ask for the complete log or another copy of it; what is missing counts as hidden until it is shown."),
    ),
    "PREV-HASH": Meaning(
        N_("A record does not continue the one before it: between the two something was changed, removed or put in."),
        N_("Look at the record before it first: it or its neighbour is not the one that was sealed."),
    ),
    "METER-COUNT": Meaning(
        N_("A meter's own count of records jumps: records of this meter are missing or were put in twice."),
        N_("Ask for the missing records of this meter from the broker or the server."),
    ),
    "CLOCK": Meaning(
        N_("Time and time since boot disagree without a clock record that says why: a record may be dated back or forth."),
        N_("Do not rely on the times around this record; the checkpoints others hold bound them."),
    ),
    "CONFIG": Meaning(
        N_("A site file is said to take the place of another one than was in force: a change of the configuration is hidden."),
        N_("Ask for the site files of that time, and compare their SHA-256 with the records."),
    ),
    "DECLARATION": Meaning(
        N_("A reading does not fit the declaration of its meter that is in force (number, serial, model, quantities)."),
        N_("Find out which meter was read; until then its values belong to nobody."),
    ),
    "MODEL": Meaning(
        N_("The meter model's file is missing, or is not the one that the declaration quotes by its digest."),
        N_("Get the model file with this digest; without it the values of this meter cannot be checked against their registers."),
    ),
    "REQUEST": Meaning(
        N_("The question asked is not one that the declared model prescribes for this meter."),
        N_("Treat what was read with it as read from another meter or another register."),
    ),
    "FRAME": Meaning(
        N_("An answer is not an answer to its request: checksum, address, function or length is wrong."),
        N_("Treat the values taken from it as absent."),
    ),
    "FORMULA": Meaning(
        N_("A value's formula is not the one that the declared model gives, or it points where there is nothing."),
        N_("Do not use the value; recompute it from the bytes with the model's own formula."),
    ),
    "VALUE": Meaning(
        N_("The stated value is not what the meter's bytes give, or a value is hidden or made up."),
        N_("Do not use the value; recompute it from the bytes."),
    ),
    "UNIT": Meaning(
        N_("A value is stated in another unit than its quantity has."),
        N_("Do not use the value: it is off by the factor between the two units."),
    ),
    "QUALITY": Meaning(
        N_("A value's quality is not the one that follows from its bytes and the model's range."),
        N_("Use the quality that the report states instead."),
    ),
    "GAP": Meaning(
        N_("The account of missed polls does not add up: polls are unaccounted for, or a gap ends that never began."),
        N_("Treat the polls in question as missed, and ask for the gateway's journal of that time."),
    ),
    "COUNTER": Meaning(
        N_("What a falling or jumping counter was is stated otherwise than the readings show, or not at all."),
        N_("Do not use the meter's consumption around it; recompute it with `meterseal consumption`."),
    ),
    "DAY": Meaning(
        N_("A closed day of a meter does not say what its readings come to, or days were left out."),
        N_("Recompute the day with `meterseal consumption`, and use that."),
    ),
    "REPLACEMENT": Meaning(
        N_("A serial number changes without a replacement that says so, or a replacement states other values than were read."),
        N_("Ask who exchanged the meter, and compare both counters with the papers of the exchange."),
    ),
    "SETTINGS": Meaning(
        N_("What is said of a meter's settings (ratio, unit, mode) is not what it told, or a change was taken over unconfirmed."),
        N_("Read the settings at the meter; until they are known to be right, its counters may mean something else."),
    ),
    "GRADE": Meaning(
        N_("A reading says that it is evidence grade, or that it is not, and the records before it say otherwise."),
        N_("Use the grade that the report states instead."),
    ),
    "PAIR": Meaning(
        N_("A display is said to agree with a reading that states something else, or was not read in the same minute."),
        N_("Compare the display with the decoded value again; until then the register map counts as unconfirmed."),
    ),
    "PRUNE": Meaning(
        N_("The hashes kept of records that were taken away are not those of the records."),
        N_("Get the records of this range from another copy; the ones kept here prove nothing."),
    ),
    "CHECKPOINT": Meaning(
        N_("A checkpoint is not the gateway's, or these records do not lead to it: history was rewritten."),
        N_("Keep the checkpoint and this log: together they are the evidence of the rewriting."),
    ),
    "TRUNCATED": Meaning(
        N_("A checkpoint counts more records than there are: the end of the log was cut off."),
        N_("Ask for the missing records; they existed when the checkpoint was signed."),
    ),
    "CHECKPOINT-MISSING": Meaning(
        N_("The gateway signed no checkpoint where one belongs: after 256 records, five minutes at work, or a new start."),
        N_("Ask for the log's checkpoints and who took them out; those that others kept bound what can have been rewritten."),
    ),
    "WITNESS": Meaning(
        N_("A witness that was named does not vouch for these records, or a line in its name is not its own."),
        N_("Ask the witness itself for the newest checkpoint it holds, and give it with --checkpoint."),
    ),
    "TIME-WINDOW": Meaning(
        N_("A record's time lies outside of the window in which it was sealed by others' clocks: it is dated back or forth."),
        N_("Take the times of the checkpoints around it for the time of the record."),
    ),
    "TIMESTAMP": Meaning(
        N_("A timestamp is not the authority's, or not over the checkpoint that it lies beside."),
        N_("Ask the plant for the timestamp anew; without it the checkpoint's age rests on the witnesses alone."),
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
        place = _("log") if self.n is None else _("record {n}", n=self.n)
        return f"{place}, {self.meter}: {self.what}" if self.meter else f"{place}: {self.what}"


class Findings:
    """Findings as they are made: the first of each class, and how many there are of each and in all."""

    def __init__(self) -> None:
        self.total = 0
        self.counts: Counter[str] = Counter()
        self.kept: dict[str, list[Finding]] = {}

    def add(self, kind: str, n: int | None, what: str, meter: str = "") -> None:
        """Notes a finding. `kind` is a name of `CLASSES`."""
        if kind not in CLASSES:
            raise KeyError(kind)
        self.total += 1
        self.counts[kind] += 1
        kept = self.kept.setdefault(kind, [])
        if len(kept) < KEPT:
            kept.append(Finding(kind, n, meter, what))
