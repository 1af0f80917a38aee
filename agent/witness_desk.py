"""The gateway's side of witnessing: it answers witnesses' questions with proofs and keeps their cosignatures.

What arrives is foreign: only the witnesses of the site file are answered, at most once a second each; a message is taken
only if it has exactly its form; and all that can come of it is one more signature line beside the log, checked against
the witness's key, and at most once a minute a checkpoint that is made for a question. No message reaches a record.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from agent import topics
from agent.checkpoint import CheckpointError
from agent.clock import Clock
from agent.cosignature import Witness, body_of, cosigned_at, read_witness_key, signature_lines
from agent.ledger import Ledger
from agent.ledger_file import LedgerError, LedgerReader
from agent.listen import Listener
from agent.mqtt import Arrived, Message
from agent.mqtt_words import Trouble
from agent.tiles import consistency_proof_of
from agent.witness_word import LONGEST, read_question, write_answer
from config.language import N_, _
from config.site import Mqtt

_BETWEEN_ANSWERS = 1.0
_BETWEEN_CHECKPOINTS = 60.0


class WitnessDesk:
    """Answers the witnesses of one gateway at one broker."""

    def __init__(
        self,
        destination: Mqtt,
        lines: tuple[str, ...],
        ledger: Ledger,
        clock: Clock,
        password: str | None,
        log: FilteringBoundLogger,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._log = log.bind(destination=destination.name)
        self._base = topics.base_of(destination.topic, ledger.gateway)
        self._witnesses: dict[str, Witness] = {topics.witness_id(line): read_witness_key(line) for line in lines}
        self._answered: dict[str, float] = {}
        self._checkpoint_at = float("-inf")
        asked = [f"{self._base}/witness/{each}/{leaf}" for each in self._witnesses for leaf in ("size", "cosignature")]
        client_id = f"meterseal-{ledger.gateway.replace('/', '-')}-{destination.name}-witness"
        self._listener = Listener(destination, client_id, password, asked, clock, self._tell_lost)

    async def run(self) -> None:
        """Answers until cancelled."""
        await self._listener.run(self._hear)

    def _tell_lost(self, trouble: Trouble) -> None:
        self._log.warning("witness.no_connection", why=trouble.why, hint=trouble.hint)

    async def _hear(self, arrived: Arrived) -> None:
        name, _unused, leaf = arrived.topic.removeprefix(f"{self._base}/witness/").partition("/")
        witness = self._witnesses.get(name)
        if witness is None or len(arrived.payload) > LONGEST:
            return
        try:
            if leaf == "cosignature":
                await self._keep(witness, arrived.payload.decode("utf-8"))
            elif leaf == "size" and not arrived.retained:
                await self._answer(name, witness, *read_question(arrived.payload))
        except (ValueError, LedgerError) as error:  # no text in UTF-8, no question, no cosignature of his
            self._log.warning("witness.not_taken", witness=witness.name, why=str(error)[:200])

    async def _answer(self, name: str, witness: Witness, size: int, nonce: str) -> None:
        now = self._clock.monotonic()
        if now - self._answered.get(name, now - _BETWEEN_ANSWERS) < _BETWEEN_ANSWERS:
            return
        self._answered[name] = now
        if now - self._checkpoint_at >= _BETWEEN_CHECKPOINTS:  # a question is not signed: whoever asks must not wear the disk
            self._checkpoint_at = now
            await self._ledger.checkpoint()
        answer = await asyncio.to_thread(_proven, self._ledger.path, size)
        if answer is None:
            self._log.error("witness.ahead", witness=witness.name, seen=size, records=self._ledger.size, hint=_(_AHEAD))
            return
        self._listener.say(Message(f"{self._base}/witness/{name}/add/{nonce}", answer, topics.TEXT))

    async def _keep(self, witness: Witness, note: str) -> None:
        """Keeps a witness's line if it is under a checkpoint of ours."""
        size = note.split("\n")[1] if note.count("\n") > 1 else ""
        own = await asyncio.to_thread(_own, self._ledger.path, int(size) if size.isdecimal() and len(size) < 17 else -1)
        if own is None or body_of(own) != body_of(note):
            raise CheckpointError(_("what it cosigned is no checkpoint of this ledger"))
        for line in signature_lines(note):
            seconds = cosigned_at(own, line, witness)
            if seconds is not None:
                await self._ledger.keep_cosignature(int(size), witness.name, seconds, line)
                self._log.debug("witness.cosigned", witness=witness.name, records=int(size))


_AHEAD = N_("This ledger is an older copy: somebody outside has seen more of it. Find the newer one before you go on.")


def _proven(path: Path, old: int) -> bytes | None:
    """The answer to a witness that holds `old` records; None where there are not so many."""
    with closing(LedgerReader(path)) as reader:
        note = reader.newest_checkpoint()
        size = int(note.split("\n")[1]) if note else 0
        return None if note is None or old > size else write_answer(old, consistency_proof_of(reader, old, size), note)


def _own(path: Path, size: int) -> str | None:
    with closing(LedgerReader(path)) as reader:
        return reader.checkpoint(size)
