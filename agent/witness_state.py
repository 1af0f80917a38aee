"""What a witness keeps: of each log the newest checkpoint it cosigned, and the alarms that nobody has dealt with.

    witness.pem              the private key, mode 0600        witness.vkey   the key line for gateways and auditors
    <site>_<gateway>.checkpoint     size and root as the gateway signed them, with the witness's own line: for auditors
    <site>_<gateway>.alarm          what was refused and why; stands until a person takes the file away

A checkpoint is on disk before its cosignature leaves the machine: after a power cut nothing older is ever cosigned.
"""

from __future__ import annotations

import os
from pathlib import Path

from agent import checkpoint
from agent.checkpoint import Checkpoint
from agent.cosignature import Witness, read_witness_key, witness_key
from agent.keys import KeyFileError, new_key_file, read_key
from agent.seal import Key

KEY_FILE = "witness.pem"
PUBLIC_FILE = "witness.vkey"
_MAKE = "Run `meterseal witness init NAME` first."


def make_witness(state: Path, name: str) -> str:
    """A new witness with a key of its own in its state directory; its key line.

    Raises:
        KeyFileError: there is one already.
    """
    state.mkdir(parents=True, exist_ok=True)
    line = witness_key(name, new_key_file(state / KEY_FILE).public)
    (state / PUBLIC_FILE).write_text(line + "\n", "utf-8")
    return line


def load_witness_key(state: Path) -> tuple[str, Witness, Key]:
    """Key line, witness and private key in a state directory.

    Raises:
        KeyFileError: there is none, it is open to others, or the two files do not belong together.
    """
    if not (state / PUBLIC_FILE).exists():
        raise KeyFileError(f"there is no witness in {state}", _MAKE)
    line = (state / PUBLIC_FILE).read_text("utf-8").strip()
    witness, key = read_witness_key(line), read_key(state / KEY_FILE, _MAKE)
    if witness.public != key.public:
        raise KeyFileError(f"{state / KEY_FILE} and {state / PUBLIC_FILE} do not belong together", "Bring both from one copy.")
    return line, witness, key


class Seen:
    """What one log has shown the witness."""

    def __init__(self, state: Path, origin: str) -> None:
        self._stem = origin.removeprefix("meterseal/").replace("/", "_")
        self._path = state / f"{self._stem}.checkpoint"
        self.alarm_path = state / f"{self._stem}.alarm"
        self.held: Checkpoint | None = None
        if self._path.exists():
            self.held = checkpoint.claimed(self._path.read_text("utf-8"), origin)

    def hold(self, claim: Checkpoint, note: str) -> None:
        """Holds a checkpoint from now on; on disk when this returns."""
        _write(self._path, note)
        self.held = claim

    @property
    def alarm(self) -> str:
        """The alarm that stands; empty if there is none."""
        return self.alarm_path.read_text("utf-8").split("\n")[0] if self.alarm_path.exists() else ""

    def raise_alarm(self, why: str, evidence: str) -> None:
        """Notes an alarm with what was refused, unless one stands already: the first one is the evidence."""
        if not self.alarm_path.exists():
            held = self._path.read_text("utf-8") if self._path.exists() else "nothing\n"
            _write(self.alarm_path, f"{why}\n\nWHAT WAS SEEN BEFORE\n{held}\nWHAT CAME\n{evidence}")


def _write(path: Path, text: str) -> None:
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
