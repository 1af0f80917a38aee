"""A gateway and its witness over a real broker: cosignatures come back, and a rewritten log is refused and told of."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from secrets import token_hex
from typing import Any

import structlog
from structlog.testing import LogCapture

from agent import checkpoint
from agent.bundle import Bundle
from agent.checkpoint import origin_of, verifier_key
from agent.clock import Clock
from agent.cosignature import signature_lines
from agent.export import export
from agent.ledger import Ledger
from agent.ledger_file import LedgerReader
from agent.mqtt import Message
from agent.topics import witness_id
from agent.witness import WitnessAtWork
from agent.witness_desk import WitnessDesk
from agent.witness_state import make_witness
from agent.witness_word import write_question
from config.site import Mqtt
from config.witness import WitnessFile
from tests.agent.both import verify
from tests.agent.delivery import BASE, Plant, running
from tests.agent.gateway import GATEWAY, begun, new_key, stop
from tests.agent.heard import Heard
from tests.agent.test_receipt_desk import publish
from tests.brokers import Mosquitto, Subscriber, until

ORIGIN = origin_of(GATEWAY)


class Watched:
    """A gateway, its broker and a witness, each of them running."""

    def __init__(self, folder: Path, broker: Mosquitto, ledger: Ledger, plant: Plant, line: str) -> None:
        self.folder, self.broker, self.ledger, self.plant, self.line = folder, broker, ledger, plant, line
        self.events = LogCapture()
        self.clock = Clock()

    @property
    def base(self) -> str:
        return f"{BASE}/witness/{witness_id(self.line)}"

    @property
    def alarm(self) -> Path:
        return self.folder / "witness" / "plant_gw1.alarm"

    def told(self, name: str) -> list[str]:
        return [str(entry.get("why", "")) for entry in self.entries(name)]

    def entries(self, name: str) -> list[MutableMapping[str, Any]]:
        return [entry for entry in self.events.entries if entry["event"] == name]

    async def grow(self, records: int = 3) -> int:
        for _ in range(records):
            await self.ledger.append(stop(self.clock))
        await self.ledger.checkpoint()
        return self.ledger.size

    def anchored(self) -> int:
        """Up to where the witness's line stands in the ledger."""
        with closing(LedgerReader(self.ledger.path)) as reader:
            lines = [(note.split("\n")[1], len(signature_lines(note))) for note in reader.checkpoints()]
        return max((int(size) for size, count in lines if count > 1), default=0)

    @asynccontextmanager
    async def desk(self, ledger: Ledger | None = None) -> AsyncIterator[None]:
        destination = Mqtt(host="127.0.0.1", port=self.broker.port, keepalive=30)
        async with at_work(WitnessDesk(destination, (self.line,), ledger or self.ledger, self.clock, None, self.log()).run):
            yield

    @asynccontextmanager
    async def witness(self, *keys: str) -> AsyncIterator[None]:
        destination = Mqtt(host="127.0.0.1", port=self.broker.port, keepalive=30)
        known = keys or (verifier_key(ORIGIN, self.plant.key.public),)
        declared = WitnessFile(mqtt=destination, gateways=known)
        async with at_work(WitnessAtWork(declared, self.folder / "witness", self.clock, None, self.log()).run):
            yield

    def log(self) -> structlog.typing.FilteringBoundLogger:
        return structlog.wrap_logger(None, processors=[self.events], wrapper_class=structlog.make_filtering_bound_logger(0))


@asynccontextmanager
async def at_work(run: object) -> AsyncIterator[None]:
    task = asyncio.create_task(run())  # type: ignore[operator]  # a bound coroutine method
    try:
        yield
        assert not task.done(), task.result()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[Watched]:
    with Mosquitto(folder) as broker:
        clock, key = Clock(), new_key()
        ledger = await begun(folder / "ledger.sqlite", key, clock)
        plant = Plant(ledger, key)
        yield Watched(folder, broker, ledger, plant, make_witness(folder / "witness", "plant-it"))
        await ledger.close()


async def test_a_cosignature_comes_back_is_exported_and_anchors_the_log(tmp_path: Path) -> None:
    async with watched(tmp_path) as seen, seen.desk(), seen.witness(), running(seen.plant.forwarder(seen.broker.port)):
        for _ in range(2):
            size = await seen.grow()
            await until(lambda size=size: seen.anchored() == size, what="the witness cosigns")
        with closing(LedgerReader(seen.ledger.path)) as log:
            export(log, tmp_path / "evidence.zip")
        with closing(Bundle(tmp_path / "evidence.zip")) as log:
            report = verify(log, key=verifier_key(ORIGIN, seen.plant.key.public), witnesses=[seen.line])
        assert report.exit_code == 0, report.text()
        assert f"the first {size} by plant-it" in report.text()
        kept = (tmp_path / "witness" / "plant_gw1.checkpoint").read_text()
        with closing(LedgerReader(seen.ledger.path)) as log:
            assert (
                verify(log, key=verifier_key(ORIGIN, seen.plant.key.public), outside=[kept], witnesses=[seen.line]).exit_code == 0
            )


async def test_questions_that_anybody_may_ask_bring_a_checkpoint_a_minute_at_most(tmp_path: Path) -> None:
    """A question is not signed: whoever may write on that topic can ask every second, and each checkpoint wears the disk."""
    async with watched(tmp_path) as seen, Subscriber(seen.broker, f"{seen.base}/add/+") as answers, seen.desk():
        await seen.grow()

        async def answered(times: int) -> None:
            async with asyncio.timeout(120):
                while len(answers.seen) < times:
                    await publish(seen.broker, f"{seen.base}/size", write_question(0, token_hex(8)))

        await answered(1)
        with closing(LedgerReader(seen.ledger.path)) as log:
            before = len(list(log.checkpoints()))
        for times in (2, 3):
            await seen.ledger.append(stop(seen.clock))
            await answered(times)
        with closing(LedgerReader(seen.ledger.path)) as log:
            assert len(list(log.checkpoints())) == before


async def test_without_the_broker_both_sides_say_that_nothing_is_witnessed(tmp_path: Path, heard: Heard) -> None:
    async with watched(tmp_path) as seen:
        seen.broker.kill()
        async with seen.desk(), seen.witness():
            await until(lambda: len(seen.told("witness.no_connection")) == 2)
    for told in seen.entries("witness.no_connection"):
        heard.tells(told, "MS-803")


async def published(seen: Watched, note: str, retain: bool = False) -> None:
    """Somebody publishes a checkpoint in the gateway's place."""
    await sent(seen, f"{BASE}/checkpoint", note.encode(), retain)


async def sent(seen: Watched, topic: str, payload: bytes, retain: bool = False) -> None:
    process = await asyncio.create_subprocess_exec(
        *("mosquitto_pub", "-V", "5", "-q", "1", "-p", str(seen.broker.port), "-t", topic, "-s", *(["-r"] if retain else [])),
        stdin=asyncio.subprocess.PIPE,
    )
    await process.communicate(Message(topic, payload, "").payload)


async def cosigned_once(seen: Watched) -> int:
    size = await seen.grow()
    async with running(seen.plant.forwarder(seen.broker.port)):
        await until(lambda: seen.anchored() == size, what="the witness cosigns")
    return size


async def test_a_fork_is_refused_and_the_alarm_stands_over_a_restart_until_a_person_takes_it_away(tmp_path: Path) -> None:
    async with watched(tmp_path) as seen, Subscriber(seen.broker, f"{seen.base}/alarm") as subscriber, seen.desk():
        async with seen.witness():
            size = await cosigned_once(seen)
            await published(seen, checkpoint.write(ORIGIN, size, bytes(32), seen.plant.key))
            await until(lambda: any(b"forked" in message.payload for message in subscriber.seen))
        assert seen.alarm.read_text().startswith(f"{ORIGIN}: forked")
        assert "WHAT WAS SEEN BEFORE" in seen.alarm.read_text()
        count = len(seen.told("witness.alarm"))
        async with seen.witness():
            await until(lambda: len(seen.told("witness.alarm")) > count, what="it tells it again at its start")
            assert await seen.grow() > size  # an honest continuation is still cosigned
            async with running(seen.plant.forwarder(seen.broker.port)):
                await until(lambda: seen.anchored() == seen.ledger.size)
        seen.alarm.unlink()
        count = len(seen.told("witness.alarm"))
        async with seen.witness():
            await until(lambda: len(seen.told("witness.started")) == 3)
        assert len(seen.told("witness.alarm")) == count


async def test_a_log_that_was_written_anew_is_refused(tmp_path: Path, heard: Heard) -> None:
    """The owner of the key begins the log anew in place of the old one, longer than that was."""
    async with watched(tmp_path) as seen, seen.witness():
        async with seen.desk():
            await cosigned_once(seen)
        other = await begun(tmp_path / "other.sqlite", seen.plant.key, seen.clock)
        for _ in range(9):
            await other.append(stop(seen.clock))
        await other.checkpoint()
        plant = Plant(other, seen.plant.key)
        async with seen.desk(other), running(plant.forwarder(seen.broker.port)):
            await until(lambda: any("rewritten" in why for why in seen.told("witness.alarm")))
        heard.tells(seen.entries("witness.alarm")[0], "MS-802")
        await other.close()


async def test_a_gateway_with_an_older_copy_of_its_ledger_hears_of_it(tmp_path: Path, heard: Heard) -> None:
    async with watched(tmp_path) as seen, seen.witness():
        await seen.grow()
        shutil.copy(seen.ledger.path, tmp_path / "older.sqlite")
        shutil.copy(f"{seen.ledger.path}-wal", tmp_path / "older.sqlite-wal")
        async with seen.desk():
            await cosigned_once(seen)
        older = await Ledger.open(tmp_path / "older.sqlite", GATEWAY, seen.plant.key, 0.0)
        async with seen.desk(older), running(Plant(older, seen.plant.key).forwarder(seen.broker.port)):
            await until(lambda: bool(seen.told("witness.ahead")))
        heard.tells(seen.entries("witness.ahead")[0], "MS-804")
        await older.close()


async def test_a_foreign_key_is_refused_and_told_with_what_to_do_after_a_rotation(tmp_path: Path) -> None:
    async with watched(tmp_path) as seen, seen.desk(), seen.witness():
        size = await cosigned_once(seen)
        await published(seen, checkpoint.write(ORIGIN, size + 5, bytes(32), new_key()))
        await until(lambda: any("signed by no key" in why for why in seen.told("witness.alarm")))
        assert "after a rotation add the new key line" in seen.told("witness.alarm")[0]


async def test_nothing_that_strangers_say_changes_the_ledger_or_ends_the_desk(tmp_path: Path, heard: Heard) -> None:
    async with watched(tmp_path) as seen, seen.desk(), seen.witness():
        size = await cosigned_once(seen)
        before = seen.plant.payloads()
        note = (tmp_path / "witness" / "plant_gw1.checkpoint").read_text()
        for leaf, payload in {
            "size": b"nonsense",
            "size/": b"1\n0123456789abcdef\n",
            "cosignature": note.replace("plant-it", "plant-xx").encode(),
            "cosignature/": b"\xff\xfe",
            "add/0123456789abcdef": b"old 0\n\n" + note.encode(),
        }.items():
            await sent(seen, f"{seen.base}/{leaf}", payload)
        await sent(seen, f"{seen.base}/cosignature", f"{ORIGIN}\n{size}\n{'A' * 43}=\n\n{'x' * 90_000}".encode())
        forged = note.splitlines()
        await sent(seen, f"{seen.base}/cosignature", "\n".join([*forged[:5], forged[5][:-8] + "AAAAAA==", ""]).encode())
        await until(lambda: len(seen.told("witness.not_taken")) >= 2)
        for told in seen.entries("witness.not_taken"):
            heard.tells(told, "MS-801")
        assert await seen.grow() > size
        async with running(seen.plant.forwarder(seen.broker.port)):
            await until(lambda: seen.anchored() == seen.ledger.size, what="all goes on")
        assert seen.plant.payloads()[:size] == before
