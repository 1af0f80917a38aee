"""A shipped model never changes meaning: its file's digest changes only with its revision.

`models.lock` has a line for every revision that ever was: name, revision, SHA-256 of the file. After a model was corrected
and its revision raised: `python -m tests.config.test_models_lock` adds the lines that are new, and changes none.
"""

from __future__ import annotations

import sys
from pathlib import Path

from config.check import load_models

LOCK = Path(__file__).parent / "models.lock"
Locked = dict[tuple[str, int], str]


def locked() -> Locked:
    made: Locked = {}
    for line in LOCK.read_text("utf-8").splitlines() if LOCK.exists() else ():
        name, revision, digest = line.split()
        made[name, int(revision)] = digest
    return made


def shipped() -> Locked:
    return {(name, file.declared.revision): file.digest for name, file in load_models().items()}


def changed(before: Locked, now: Locked) -> list[str]:
    """What is different in files of a revision that there was before."""
    return [
        f"{name}: its file is another one than that of revision {revision}: write revision: {revision + 1}"
        for (name, revision), digest in now.items()
        if before.get((name, revision), digest) != digest
    ]


def test_no_shipped_model_changes_without_its_revision_going_up() -> None:
    assert changed(locked(), shipped()) == []


def test_every_shipped_model_is_in_the_lock_file_at_its_highest_revision() -> None:
    known = locked()
    assert [key for key in shipped() if key not in known] == [], "add them: python -m tests.config.test_models_lock"
    highest = {name: max(number for other, number in known if other == name) for name, _ in known}
    assert dict(shipped().keys()) == {name: highest[name] for name, _ in shipped()}


def test_a_byte_that_changes_in_a_model_file_is_seen_until_its_revision_goes_up() -> None:
    (name, revision), digest = next(iter(shipped().items()))
    altered = {(name, revision): digest[:-1] + ("0" if digest[-1] != "0" else "1")}
    assert changed(locked(), altered) == [f"{name}: its file is another one than that of revision 1: write revision: 2"]
    assert changed(locked(), {(name, revision + 1): altered[name, revision]}) == []


if __name__ == "__main__":
    wrong = changed(locked(), shipped())
    if wrong:
        sys.exit("\n".join(wrong))
    lines = [f"{name} {revision} {digest}\n" for (name, revision), digest in sorted((shipped() | locked()).items())]
    LOCK.write_text("".join(lines), "utf-8")
