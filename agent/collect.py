"""The collector: takes gateways' records on another machine, checks and stores every one, and gives receipts for them.

 1. A receipt is given for what is on this disk, was checked in order and has no hole before it; a gateway counts as
    delivered what a receipt covers, and nothing else.
 2. What is missing is asked for, as often as it takes: lost messages, a broker that forgot, a collector that was off.
 3. Records may come in any order and repeated. What contradicts what is stored is kept aside and told, every ten minutes
    and at every start, until a person takes the alarm's file away; what is stored stays as it is.

What it does not know: whether what was recorded is true, and what was never recorded.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from agent import topics
from agent.checkpoint import CheckpointError, read_verifier_key
from agent.clock import Clock
from agent.collect_copy import Copy, Store, StoreError
from agent.collect_gateway import Arrivals, Keeping, Outcome
from agent.findings import CannotCheck
from agent.listen import Listener
from agent.mqtt import Arrived, Message
from agent.mqtt_words import Trouble
from agent.outside import Alarm, OutsideKey
from agent.pause import Pause
from agent.receipt import Question, Receipt, read_collector_key, write_question, write_receipt
from config.collect import CollectFile
from config.language import N_, _
from config.library import find_models, read_bytes

KEY = OutsideKey("collector", b"\x01", N_("Run `meterseal collect init NAME` first."))
_LARGEST = 320 * 1024  # of a message; a record or a batch has at most 256 KiB and a byte
_MOST_WAITING = 16_000_000  # bytes that nobody has looked at
_MOST_BYTES = 8_000_000  # of one gateway that wait to be stored; what comes beyond is asked for later
_GATEWAY = re.compile(rb'"gateway":"([^"\\]*)"')
_MOST_AT_ONCE = 1000
_TICK = 1.0
_GATHER = 0.05  # what comes within this time is written together
_ALARM_SECONDS = 600.0
_BETWEEN_RECEIPTS = 1.0
_BETWEEN_QUESTIONS = 1.1
_PATIENCE = 2.0  # a hole may be filled by what is on its way
_AGAIN = 5.0
_ANYWAY = 120.0


@dataclass(slots=True)
class _Gateway:
    """One gateway: what arrived of it, and what was said to it."""

    name: str
    base: str
    keeping: Keeping
    store: Store
    alarm: Alarm
    arrivals: Arrivals = field(default_factory=Arrivals)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    moved_at: float = 0.0
    asked_at: float = 0.0
    asked_end: int = 0
    asked_for_notes_at: float = 0.0
    lacked_notes: tuple[int, int] | None = None
    said: int = -1
    said_at: float = 0.0
    dropped: int = 0
    findings: int = 0
    unchecked: frozenset[str] = frozenset()


def known_gateways(lines: Sequence[str]) -> Mapping[str, bytes]:
    """Gateways and the public keys of their logs' first records, from key lines. Raises CannotCheck."""
    known: dict[str, bytes] = {}
    for line in lines:
        try:
            origin, public = read_verifier_key(line)
        except CheckpointError as error:
            raise CannotCheck(f"gateways: {error}") from None
        gateway = origin.removeprefix("meterseal/")
        if gateway in known:
            twice = _(
                "gateways: {gateway} stands there twice; its first key line is enough, later keys follow from it", gateway=gateway
            )
            raise CannotCheck(twice)
        known[gateway] = public
    return known


def folder_of(state: Path, gateway: str) -> Path:
    """Where the copy of a gateway's ledger lies in a collector's state directory."""
    return state / gateway.replace("/", "_")


class CollectorAtWork:
    """A collector of some gateways at one broker.

    Args:
        store_of: where a gateway's records are kept; None: in ledger files in the state directory.
        client: told apart from others with the same key by this word.
    """

    def __init__(
        self,
        declared: CollectFile,
        state: Path,
        clock: Clock,
        password: str | None,
        log: FilteringBoundLogger,
        store_of: Callable[[str], Store] | None = None,
        client: str = "",
    ) -> None:
        line, self._key = KEY.load(state)
        self._name = read_collector_key(line).name
        self._id = topics.witness_id(line)
        self._clock, self._log = clock, log
        self._in_turns = declared.postgres is not None
        self._by_place = declared.mqtt.topics == "places"
        shipped = {sha256(text).hexdigest(): text for text in map(read_bytes, find_models([]).values())}
        self._gateways: dict[str, _Gateway] = {}
        for gateway, public in known_gateways(declared.gateways).items():
            store = store_of(gateway) if store_of else Copy(folder_of(state, gateway))
            base = topics.base_of(declared.mqtt.topic, gateway)
            alarm = Alarm(folder_of(state, gateway).with_suffix(".alarm"))
            keeping = Keeping(gateway, public, store, shipped)
            self._gateways[base] = _Gateway(gateway, base, keeping, store, alarm)
        self._listener = Listener(
            declared.mqtt,
            f"meterseal-collector-{self._id}{client and '-'}{client}",
            password,
            _subscribed(list(self._gateways), self._id, declared.share, by_place=self._by_place),
            clock,
            self._tell_lost,
            most_waiting=_MOST_WAITING,
            largest=_LARGEST,
        )

    async def run(self) -> None:
        """Collects until cancelled; then what has arrived and is being written is on disk."""
        self._log.info("collect.started", collector=self._name, gateways=len(self._gateways))
        tasks = [asyncio.create_task(self._collect(each)) for each in self._gateways.values()]
        tasks.append(asyncio.create_task(self._keep_telling()))
        tasks.append(asyncio.create_task(self._listener.run(self._hear)))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            for each in self._gateways.values():
                each.store.close()
            self._log.info("collect.stopped", collector=self._name)
        for fault in ended:
            if isinstance(fault, Exception):
                raise fault  # a task never ends by itself

    def _tell_lost(self, trouble: Trouble) -> None:
        self._log.warning("collect.no_connection", **trouble.told())

    async def _hear(self, arrived: Arrived) -> None:
        """Puts what arrives to the other arrivals of its gateway; what is too much is asked for later."""
        gateway = self._gateway_of(arrived)
        if gateway is None or gateway.arrivals.size > _MOST_BYTES:
            return
        arrivals, part, _slash, rest = gateway.arrivals, *arrived.topic.removeprefix(f"{gateway.base}/").partition("/")
        arrivals.size += len(arrived.payload) + 200
        if part in ("checkpoint", "collector"):
            arrivals.notes.append(arrived.payload)
        elif part == "model":
            arrivals.models[rest] = arrived.payload
        elif part == "batch":
            arrivals.batches.append(arrived.payload)
        elif part == "status":
            gateway.asked_at = min(gateway.asked_at, self._clock.monotonic() - _ANYWAY + _PATIENCE)
        else:
            arrivals.records.append(arrived.payload)
        gateway.wake.set()

    def _gateway_of(self, arrived: Arrived) -> _Gateway | None:
        """Whose message it is; by its topic, or where topics go by places, by what the record says."""
        found = next((each for base, each in self._gateways.items() if arrived.topic.startswith(f"{base}/")), None)
        if found or not self._by_place:
            return found
        said = _GATEWAY.search(arrived.payload)
        return next((each for each in self._gateways.values() if said and each.name.encode() == said[1]), None)

    # --- one gateway ------------------------------------------------------------------------------------------

    async def _collect(self, gateway: _Gateway) -> None:
        """Stores what arrives, and says what is stored and what is missing."""
        pause, connected, outcome = Pause(), False, Outcome(settled=-1)
        while True:
            try:
                if gateway.arrivals.size or self._in_turns or outcome.settled < 0 or outcome.lacks_notes:
                    outcome = await self._store(gateway)
                    self._tell(gateway, outcome)
                    pause.reset()
                else:
                    outcome.settled = 0
            except StoreError as error:
                self._log.error("collect.failed", gateway=gateway.name, why=str(error), hint=error.hint)
                await self._clock.sleep(pause.next())
                continue
            if self._listener.connected and outcome.leads:
                if not connected:
                    gateway.said, gateway.asked_at = -1, self._clock.monotonic() - _ANYWAY + _PATIENCE
                self._say_receipt(gateway, outcome)
                self._ask(gateway, outcome)
                self._ask_for_notes(gateway, outcome)
            connected = self._listener.connected
            await self._clock.wait(gateway.wake, _TICK)
            gateway.wake.clear()
            await self._clock.sleep(_GATHER)

    async def _store(self, gateway: _Gateway) -> Outcome:
        arrivals, gateway.arrivals = gateway.arrivals, Arrivals()
        work = asyncio.ensure_future(asyncio.to_thread(gateway.keeping.take, arrivals))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])  # nobody closes a file that is being written
            raise

    def _say_receipt(self, gateway: _Gateway, outcome: Outcome) -> None:
        now = self._clock.monotonic()
        due = gateway.said_at + (_BETWEEN_RECEIPTS if outcome.size != gateway.said else _ANYWAY)
        if outcome.size and (now >= due or gateway.said < 0):
            gateway.said, gateway.said_at = outcome.size, now
            payload = write_receipt(gateway.name, Receipt(outcome.size, outcome.root), self._name, self._key)
            self._say(gateway, "receipt", payload, retain=True)
            self._log.debug("collect.settled", gateway=gateway.name, records=outcome.size)

    def _ask(self, gateway: _Gateway, outcome: Outcome) -> None:
        """Asks for what is missing, and now and then for what may be."""
        now = self._clock.monotonic()
        if outcome.settled:
            gateway.moved_at = now
        missing = outcome.size < outcome.end
        due = gateway.asked_at + _ANYWAY
        if missing and 0 < gateway.asked_end <= outcome.size:
            due = gateway.asked_at + _BETWEEN_QUESTIONS  # what was asked for has come
        elif missing:
            due = max(gateway.moved_at + _PATIENCE, gateway.asked_at + _AGAIN)
        if now < due or now - gateway.asked_for_notes_at < _BETWEEN_QUESTIONS:
            return
        most = outcome.size + _MOST_AT_ONCE
        question = Question(outcome.size, min(outcome.hole_end, most) if missing else most)
        gateway.asked_at, gateway.asked_end = now, question.end if missing else 0
        self._say_question(gateway, question)
        if missing:
            self._log.info("collect.asked", gateway=gateway.name, first=question.first, records=question.end - question.first)

    def _ask_for_notes(self, gateway: _Gateway, outcome: Outcome) -> None:
        """Asks for checkpoints that are missing, between the questions for records."""
        now = self._clock.monotonic()
        if outcome.lacks_notes is None or now - max(gateway.asked_at, gateway.asked_for_notes_at) < _BETWEEN_QUESTIONS:
            return
        if outcome.lacks_notes == gateway.lacked_notes and now - gateway.asked_for_notes_at < _AGAIN:
            return
        gateway.lacked_notes, gateway.asked_for_notes_at = outcome.lacks_notes, now
        gateway.keeping.asked_for_notes()
        first, due = outcome.lacks_notes
        self._say_question(gateway, Question(first, max(due, outcome.size), notes=True))

    def _say_question(self, gateway: _Gateway, question: Question) -> None:
        self._say(gateway, "resend", write_question(gateway.name, question, self._name, self._key), retain=False)

    def _say(self, gateway: _Gateway, leaf: str, payload: bytes, *, retain: bool) -> None:
        self._listener.say(Message(f"{gateway.base}/collector/{self._id}/{leaf}", payload, topics.TEXT, retain))

    # --- the journal ------------------------------------------------------------------------------------------

    def _tell(self, gateway: _Gateway, outcome: Outcome) -> None:
        for why, count in outcome.not_taken.items():
            before, gateway.dropped = gateway.dropped, gateway.dropped + count
            if len(str(before)) < len(str(gateway.dropped)) or not before:
                self._log.warning("collect.not_taken", gateway=gateway.name, why=why, count=gateway.dropped)
        for n, kind, what in outcome.findings[:10]:
            self._log.error("collect.finding", gateway=gateway.name, n=n, finding=kind, why=what, hint=_(_VERIFY))
        for digest in outcome.unchecked - gateway.unchecked:
            self._log.warning("collect.unchecked", gateway=gateway.name, model=digest, hint=_(_MODEL))
        gateway.unchecked = outcome.unchecked
        for why, stands, came in outcome.alarms:
            new = not gateway.alarm.text
            gateway.alarm.stand(f"{gateway.name}: {why}", stands.decode("utf-8", "replace"), came.decode("utf-8", "replace"))
            if new:
                self._alarm(gateway)

    def _alarm(self, gateway: _Gateway) -> None:
        if alarm := gateway.alarm.text:
            hint = _(
                "Keep {path}, it is the evidence; ask the plant. Take it away when the matter is settled.",
                path=gateway.alarm.path,
            )
            self._log.error("collect.alarm", gateway=gateway.name, why=alarm, hint=hint)

    async def _keep_telling(self) -> None:
        while True:
            for gateway in self._gateways.values():
                self._alarm(gateway)
            await self._clock.sleep(_ALARM_SECONDS)


_VERIFY = N_("Run `meterseal verify` on the copy: it says what is wrong and what it means for the value.")
_MODEL = N_("It comes from the gateway when that connects to the broker; a broker without retained messages does not bring it.")


def _subscribed(bases: Sequence[str], own: str, share: str | None, *, by_place: bool) -> list[str]:
    """What is subscribed to: records, of which several collectors may take turns, and what is said beside them."""
    records = [f"{base}/{each}" for base in bases for each in ("reading/+", "gap/+", "event/+", "batch")]
    if by_place:
        sites = dict.fromkeys(base.rsplit("/", 1)[0] for base in bases)
        levels = ["/".join("+" * count) for count in range(1, topics.MOST_LEVELS + 2)]
        records += [f"{site}/{level}/{kind}" for site in sites for level in levels for kind in ("reading", "gap")]
    turns = f"$share/{share}/" if share else ""
    beside = [f"{base}/{each}" for base in bases for each in ("checkpoint", "model/+", "status", f"collector/{own}/checkpoint")]
    return [f"{turns}{topic}" for topic in records] + beside
