"""The witness: a small program outside of the gateway that cosigns its checkpoints, and refuses what contradicts them.

 1. A gateway publishes its newest checkpoint. The witness tells how many records it has seen and asks for the proof.
 2. It cosigns the answer if the log only grew and a key that it knows signed it. First it keeps the new size and root.
 3. A fork, a rollback, a rewriting or a foreign key is an alarm: told at once, every ten minutes, at every start, and
    retained at the broker, until a person takes its file away.

It knows no records, and reads none. What it does not know: whether what was recorded is true.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from agent import topics
from agent.checkpoint import CheckpointError, read_verifier_key
from agent.clock import Clock
from agent.cosignature import cosign
from agent.findings import CannotCheck
from agent.listen import Listener
from agent.mqtt import Arrived, Message
from agent.mqtt_words import Trouble
from agent.timestamp import gateway_note
from agent.witness_state import Seen, load_witness_key
from agent.witness_word import LONGEST, Refused, judge, read_answer, signed_checkpoint, write_question
from config.language import _
from config.witness import WitnessFile

_ALARM_SECONDS = 600.0
_ANSWER_SECONDS = 60.0


@dataclass(slots=True)
class _Log:
    """One gateway's log: its keys, what was seen of it, and what was asked."""

    origin: str
    publics: list[bytes]
    base: str
    seen: Seen
    nonce: str = ""
    asked: float = 0.0
    held_since: float = 0.0


def known_gateways(lines: Sequence[str]) -> Mapping[str, list[bytes]]:
    """Origins and their keys, from key lines. Raises CannotCheck."""
    known: dict[str, list[bytes]] = {}
    for line in lines:
        try:
            origin, public = read_verifier_key(line)
        except CheckpointError as error:
            raise CannotCheck(f"gateways: {error}") from None
        known.setdefault(origin, []).append(public)
    return known


class WitnessAtWork:
    """A witness of some gateways at one broker."""

    def __init__(self, declared: WitnessFile, state: Path, clock: Clock, password: str | None, log: FilteringBoundLogger) -> None:
        line, self._witness, self._key = load_witness_key(state)
        self._clock = clock
        self._log = log
        self._id = topics.witness_id(line)
        self._logs = {
            topics.base_of(declared.mqtt.topic, origin.removeprefix("meterseal/")): _Log(
                origin, publics, topics.base_of(declared.mqtt.topic, origin.removeprefix("meterseal/")), Seen(state, origin)
            )
            for origin, publics in known_gateways(declared.gateways).items()
        }
        asked = [f"{base}/{leaf}" for base in self._logs for leaf in ("checkpoint", f"witness/{self._id}/add/+")]
        self._listener = Listener(declared.mqtt, f"meterseal-witness-{self._id}", password, asked, clock, self._tell_lost)

    async def run(self) -> None:
        """Watches until cancelled."""
        self._log.info("witness.started", witness=self._witness.name, gateways=len(self._logs))
        alarming = asyncio.create_task(self._keep_telling())
        try:
            await self._listener.run(self._hear)
        finally:
            alarming.cancel()

    def _tell_lost(self, trouble: Trouble) -> None:
        self._log.warning("witness.no_connection", why=trouble.why, hint=trouble.hint)

    async def _hear(self, arrived: Arrived) -> None:
        base, _unused, leaf = arrived.topic.rpartition("/checkpoint") if arrived.topic.endswith("/checkpoint") else ("", "", "")
        if not base:
            base, _unused, leaf = arrived.topic.partition(f"/witness/{self._id}/add/")
        log = self._logs.get(base)
        if log is None or len(arrived.payload) > LONGEST:
            return
        try:
            if leaf:
                self._answered(log, leaf, arrived)
            else:
                self._published(log, arrived)
        except (Refused, ValueError) as error:
            self._refuse(log, error, arrived.payload)

    def _published(self, log: _Log, arrived: Arrived) -> None:
        """A gateway's newest checkpoint: asks for the proof. One that the broker kept may be old; one that is new may not."""
        claim = signed_checkpoint(arrived.payload.decode("utf-8"), log.origin, log.publics)
        held, now = log.seen.held, self._clock.monotonic()
        settled = not arrived.retained and now - log.held_since > _ANSWER_SECONDS
        if held and claim.size < held.size and settled:
            raise Refused(
                _("rolled back: {size} records were seen, now there are {size_2}", size=held.size, size_2=claim.size),
                alarm=True,
            )
        if held and claim.size == held.size and claim.root != held.root:
            raise Refused(
                _("forked: the same {size} records have another root than the one that was seen", size=held.size),
                alarm=True,
            )
        log.nonce, log.asked = secrets.token_hex(8), now
        question = write_question(held.size if held else 0, log.nonce)
        self._listener.say(Message(f"{log.base}/witness/{self._id}/size", question, topics.TEXT))

    def _answered(self, log: _Log, nonce: str, arrived: Arrived) -> None:
        """A gateway's answer: cosigns it if it answers the last question and contradicts nothing."""
        now = self._clock.monotonic()
        if arrived.retained or not log.nonce or nonce != log.nonce or now - log.asked > _ANSWER_SECONDS:
            return
        log.nonce = ""
        answer = read_answer(arrived.payload)
        claim = judge(log.seen.held, answer, log.origin, log.publics)
        note = gateway_note(answer.note)
        seconds = self._clock.now_ns() // 1_000_000_000
        word = f"{note}{cosign(note, self._witness.name, self._key, seconds)}\n"
        log.seen.hold(claim, word)
        log.held_since = now
        self._listener.say(Message(f"{log.base}/witness/{self._id}/cosignature", word.encode(), topics.TEXT, retain=True))
        self._log.info("witness.vouched", gateway=log.origin, records=claim.size)

    def _refuse(self, log: _Log, error: Refused | ValueError, payload: bytes) -> None:
        if not isinstance(error, Refused) or not error.alarm:
            self._log.warning("witness.not_taken", gateway=log.origin, why=str(error)[:200])
            return
        log.seen.raise_alarm(f"{log.origin}: {error}", payload.decode("utf-8", "replace"))
        self._alarm(log)

    def _alarm(self, log: _Log) -> None:
        if alarm := log.seen.alarm.text:
            hint = _(
                "Keep {path}, it is the evidence; ask the plant. Take it away when the matter is settled.",
                path=log.seen.alarm.path,
            )
            self._log.error("witness.alarm", gateway=log.origin, why=alarm, hint=hint)
        self._listener.say(Message(f"{log.base}/witness/{self._id}/alarm", alarm.encode(), topics.TEXT, retain=True))

    async def _keep_telling(self) -> None:
        while True:
            for log in self._logs.values():
                self._alarm(log)
            await self._clock.sleep(_ALARM_SECONDS)
