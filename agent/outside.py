"""What a program outside of the gateway keeps in its state directory: a key of its own, and alarms that nobody has dealt with.

<program>.pem    the private key, mode 0600        <program>.vkey   the key line for gateways and auditors
<log>.alarm      what was refused and why; stands until a person takes the file away
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from agent.checkpoint import CheckpointError, read_verifier_key, verifier_key
from agent.keys import KeyFileError, new_key_file, read_key
from agent.seal import Key
from config.language import _


@dataclass(frozen=True, slots=True)
class OutsideKey:
    """The key of one kind of program.

    Attributes:
        stem: what its files are called.
        kind: the signature type's byte (C2SP signed-note).
        make_first: what to do where there is none.
    """

    stem: str
    kind: bytes
    make_first: str

    def make(self, state: Path, name: str) -> str:
        """A new key in a state directory; its key line.

        Raises:
            KeyFileError: there is one already.
        """
        state.mkdir(parents=True, exist_ok=True)
        line = verifier_key(name, new_key_file(state / f"{self.stem}.pem").public, self.kind)
        (state / f"{self.stem}.vkey").write_text(line + "\n", "utf-8")
        return line

    def load(self, state: Path) -> tuple[str, Key]:
        """Key line and private key in a state directory.

        Raises:
            KeyFileError: there is none, it is open to others, or the two files do not belong together.
        """
        private, public = state / f"{self.stem}.pem", state / f"{self.stem}.vkey"
        if not public.exists():
            raise KeyFileError(_("there is no key of a {stem} in {state}", stem=self.stem, state=state), self.make_first)
        line, key = public.read_text("utf-8").strip(), read_key(private, self.make_first)
        try:
            belongs = read_verifier_key(line, self.kind)[1] == key.public
        except CheckpointError:
            belongs = False
        if not belongs:
            raise KeyFileError(
                _("{private} and {public} do not belong together", private=private, public=public),
                _("Bring both from one copy."),
            )
        return line, key


@dataclass(frozen=True, slots=True)
class Alarm:
    """The alarm about one log; its file is the evidence."""

    path: Path

    @property
    def text(self) -> str:
        """The alarm that stands; empty if there is none."""
        return self.path.read_text("utf-8").split("\n")[0] if self.path.exists() else ""

    def stand(self, why: str, before: str, came: str) -> None:
        """Notes an alarm with what was held and what came, unless one stands already: the first one is the evidence."""
        if not self.path.exists():
            write_durably(
                self.path,
                _("{why}\n\nWHAT WAS SEEN BEFORE\n{before}\nWHAT CAME\n{came}", why=why, before=before, came=came),
            )


def write_durably(path: Path, text: str) -> None:
    """Writes a file whole or not at all; on disk when this returns."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
