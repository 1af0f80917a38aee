"""What a witness keeps: of each log the newest checkpoint it cosigned, and the alarms that nobody has dealt with.

    witness.pem              the private key, mode 0600        witness.vkey   the key line for gateways and auditors
    <site>_<gateway>.checkpoint     size and root as the gateway signed them, with the witness's own line: for auditors
    <site>_<gateway>.alarm          what was refused and why; stands until a person takes the file away

A checkpoint is on disk before its cosignature leaves the machine: after a power cut nothing older is ever cosigned.
"""

from __future__ import annotations

from pathlib import Path

from agent import checkpoint
from agent.checkpoint import Checkpoint
from agent.cosignature import COSIGNATURE, Witness, read_witness_key
from agent.outside import Alarm, OutsideKey, write_durably
from agent.seal import Key
from config.language import N_

_KEY = OutsideKey("witness", COSIGNATURE, N_("Run `meterseal witness init NAME` first."))


def make_witness(state: Path, name: str) -> str:
    """A new witness with a key of its own in its state directory; its key line.

    Raises:
        KeyFileError: there is one already.
    """
    return _KEY.make(state, name)


def load_witness_key(state: Path) -> tuple[str, Witness, Key]:
    """Key line, witness and private key in a state directory.

    Raises:
        KeyFileError: there is none, it is open to others, or the two files do not belong together.
    """
    line, key = _KEY.load(state)
    return line, read_witness_key(line), key


class Seen:
    """What one log has shown the witness, and the alarm about it that stands."""

    def __init__(self, state: Path, origin: str) -> None:
        stem = origin.removeprefix("meterseal/").replace("/", "_")
        self._path = state / f"{stem}.checkpoint"
        self.alarm = Alarm(state / f"{stem}.alarm")
        self.held: Checkpoint | None = None
        if self._path.exists():
            self.held = checkpoint.claimed(self._path.read_text("utf-8"), origin)

    def hold(self, claim: Checkpoint, note: str) -> None:
        """Holds a checkpoint from now on; on disk when this returns."""
        write_durably(self._path, note)
        self.held = claim

    def raise_alarm(self, why: str, evidence: str) -> None:
        """Notes an alarm with what was refused, unless one stands already: the first one is the evidence."""
        held = self._path.read_text("utf-8") if self._path.exists() else "nothing\n"
        self.alarm.stand(why, held, evidence)
