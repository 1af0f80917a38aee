"""The gateway's side of receipts over a real broker: they alone move the cursor, and what strangers say changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from agent import draft, receipt_desk
from agent.clock import Clock
from agent.forward import Forwarder
from agent.leaf_file import leaf_path
from agent.ledger_file import LedgerReader
from agent.receipt import Question, Receipt, collector_key, write_question, write_receipt
from agent.receipt_desk import ReceiptDesk
from agent.salvage import salvage
from agent.tiles import root_at
from agent.topics import witness_id
from agent.watch import Watch
from config.site import Mqtt
from tests.agent.delivery import BASE, FastClock, Plant, caught_up, has_all, numbers, planted, running
from tests.agent.gateway import GATEWAY, begun
from tests.agent.heard import Heard
from tests.agent.ledgers import new_key
from tests.brokers import Mosquitto, Subscriber, program, until

NAME, KEY = "plant-it/collector", new_key("collector")
LINE = collector_key(NAME, KEY.public)
PLACE = f"{BASE}/collector/{witness_id(LINE)}"


@contextlib.asynccontextmanager
async def desk(plant: Plant, forwarder: Forwarder, port: int, clock: Clock | None = None) -> AsyncIterator[None]:
    destination = Mqtt(host="127.0.0.1", port=port, collector=LINE)
    log = structlog.wrap_logger(None, processors=[plant.events], wrapper_class=structlog.make_filtering_bound_logger(0))
    task = asyncio.create_task(ReceiptDesk(destination, LINE, plant.ledger, forwarder, clock or FastClock(), None, log).run())
    try:
        yield
        assert not task.done(), task.result()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def say(broker: Mosquitto, leaf: str, payload: bytes) -> None:
    """Somebody says something in the collector's place."""
    await publish(broker, f"{PLACE}/{leaf}", payload)


async def publish(broker: Mosquitto, topic: str, payload: bytes) -> None:
    process = await asyncio.create_subprocess_exec(
        *(program("mosquitto_pub"), "-V", "5", "-q", "1", "-p", str(broker.port), "-t", topic, "-s"),
        stdin=asyncio.subprocess.PIPE,
    )
    await process.communicate(payload)


def receipt(plant: Plant, size: int) -> bytes:
    with contextlib.closing(LedgerReader(plant.path)) as reader:
        return write_receipt(GATEWAY, Receipt(size, root_at(reader, size)), NAME, KEY)


def kept(plant: Plant) -> int:
    """The destination's cursor on disk."""
    with contextlib.closing(LedgerReader(plant.path)) as reader:
        return reader.cursors().get("broker", 0)


def listened_to(broker: Mosquitto) -> bool:
    return f"{PLACE}/resend (QoS 1)" in broker.log()


async def test_the_cursor_moves_by_receipts_and_not_by_acknowledgements(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with planted(tmp_path) as plant, Subscriber(broker, f"{BASE}/#") as subscriber:
            forwarder = plant.forwarder(broker.port, collector=LINE)
            watch = Watch(tmp_path, {}, {"broker": forwarder}, plant.ledger, plant.clock, plant.log)
            async with running(forwarder), desk(plant, forwarder, broker.port):
                await plant.read(20)
                await until(lambda: caught_up(forwarder, plant) and has_all(subscriber, plant) and listened_to(broker))
                await plant.read(1)
                assert kept(plant) == 0
                await until(lambda: caught_up(forwarder, plant))
                (standing,) = watch.deliveries()
                assert (standing.waiting, standing.untaken, standing.collector) == (24, 0, NAME)
                await say(broker, "receipt", receipt(plant, 10))
                await until(lambda: bool(plant.told("receipt.taken")))
                (standing,) = watch.deliveries()
                assert (standing.waiting, standing.untaken) == (14, 0)
                await plant.read(1)
                assert kept(plant) == 10
            # Whoever starts again delivers what no receipt covers.
            again = plant.forwarder(broker.port, collector=LINE)
            subscriber.seen.clear()
            async with running(again):
                await until(lambda: caught_up(again, plant))
            assert min(numbers(subscriber)) == 10


async def test_what_the_collector_lacks_is_sent_again_byte_for_byte(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with planted(tmp_path) as plant, Subscriber(broker, f"{BASE}/#") as subscriber:
            forwarder = plant.forwarder(broker.port, FastClock(1), collector=LINE)
            async with running(forwarder), desk(plant, forwarder, broker.port):
                await plant.read(20)
                await until(lambda: caught_up(forwarder, plant) and has_all(subscriber, plant) and listened_to(broker))
                subscriber.seen.clear()
                async with asyncio.timeout(60):
                    while not set(range(5, 12)) <= set(numbers(subscriber)):  # asked so soon after, a record is left out
                        await say(broker, "resend", write_question(GATEWAY, Question(5, 12), NAME, KEY))
                before = plant.payloads()
                for message in subscriber.seen:
                    if "/reading/" in message.topic:
                        assert message.payload == before[json.loads(message.payload)["n"]]


async def test_a_receipt_with_another_root_or_for_more_than_there_is_is_an_alarm_and_moves_nothing(
    tmp_path: Path, heard: Heard
) -> None:
    with Mosquitto(tmp_path) as broker:
        async with planted(tmp_path) as plant:
            forwarder = plant.forwarder(broker.port, collector=LINE)
            async with running(forwarder), desk(plant, forwarder, broker.port):
                await plant.read(5)
                await until(lambda: caught_up(forwarder, plant) and listened_to(broker))
                await say(broker, "receipt", write_receipt(GATEWAY, Receipt(5, bytes(32)), NAME, KEY))
                await say(broker, "receipt", write_receipt(GATEWAY, Receipt(5000, bytes(32)), NAME, KEY))
                await until(lambda: len(plant.told("receipt.alarm")) == 2)
                assert "another root" in plant.told("receipt.alarm")[0]["why"]
                heard.tells(plant.told("receipt.alarm")[0], "MS-509")
                heard.tells(plant.told("receipt.alarm")[1], "MS-509")
                assert "older copy" in plant.told("receipt.alarm")[1]["hint"]
                await plant.read(1)
                assert kept(plant) == 0


async def test_nothing_that_strangers_say_moves_the_cursor_repeats_a_record_or_ends_the_desk(
    tmp_path: Path, heard: Heard
) -> None:
    with Mosquitto(tmp_path) as broker:
        async with planted(tmp_path) as plant, Subscriber(broker, f"{BASE}/#") as subscriber:
            forwarder = plant.forwarder(broker.port, collector=LINE)
            async with running(forwarder), desk(plant, forwarder, broker.port):
                await plant.read(10)
                await until(lambda: caught_up(forwarder, plant) and has_all(subscriber, plant) and listened_to(broker))
                before, seen = plant.payloads(), len(numbers(subscriber))
                with contextlib.closing(LedgerReader(plant.path)) as reader:
                    root = root_at(reader, 5)
                await say(broker, "receipt", write_receipt(GATEWAY, Receipt(5, root), NAME, new_key("stranger")))
                await say(broker, "receipt", b"x" * 60_000)
                await say(broker, "receipt", b"\xff\xfe\n\n")
                await say(broker, "receipt", b"")
                await say(broker, "resend", write_question(GATEWAY, Question(0, 9), NAME, new_key("stranger")))
                await say(broker, "receipt", receipt(plant, 7))
                await until(lambda: bool(plant.told("receipt.taken")))
                assert [entry["records"] for entry in plant.told("receipt.taken")] == [7]
                assert not plant.told("receipt.asked")
                assert len(plant.told("receipt.not_taken")) == 3
                for told in plant.told("receipt.not_taken"):
                    heard.tells(told, "MS-508")
                assert plant.payloads() == before
                assert len(numbers(subscriber)) == seen


async def test_questions_that_are_repeated_for_ever_bring_no_more_than_the_ledger_holds_once_more(
    tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question bears no date: whoever saw one can repeat it for as long as he likes."""
    monkeypatch.setattr(receipt_desk, "_BESIDES", 20)
    with Mosquitto(tmp_path) as broker:
        async with planted(tmp_path) as plant, Subscriber(broker, f"{BASE}/#") as subscriber:
            forwarder = plant.forwarder(broker.port, collector=LINE)
            async with running(forwarder), desk(plant, forwarder, broker.port):
                await plant.read(60)
                await until(lambda: caught_up(forwarder, plant) and has_all(subscriber, plant) and listened_to(broker))
                sent = len(numbers(subscriber))
                async with asyncio.timeout(120):
                    while not plant.told("receipt.not_taken"):
                        await say(broker, "resend", write_question(GATEWAY, Question(0, 50), NAME, KEY))
                assert "asked for" in plant.told("receipt.not_taken")[0]["why"]
                heard.tells(plant.told("receipt.not_taken")[0], "MS-508")
                await plant.read(30)  # what is sealed is still sent, and lets as much be asked for
                await until(lambda: caught_up(forwarder, plant) and has_all(subscriber, plant))
                asked = len(plant.told("receipt.asked"))
                async with asyncio.timeout(120):
                    while len(plant.told("receipt.asked")) == asked:
                        await say(broker, "resend", write_question(GATEWAY, Question(0, 50), NAME, KEY))
                again = len(numbers(subscriber)) - sent - 30
                assert 0 < again <= plant.ledger.size + 20


async def test_what_anybody_can_send_fills_no_journal(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with planted(tmp_path) as plant:
            forwarder = plant.forwarder(broker.port, FastClock(1), collector=LINE)
            async with running(forwarder), desk(plant, forwarder, broker.port, FastClock(1)):
                await plant.read(10)
                await until(lambda: caught_up(forwarder, plant) and listened_to(broker))
                await asyncio.gather(*(say(broker, "receipt", b"what number %d" % number) for number in range(25)))
                await say(broker, "receipt", receipt(plant, 7))
                await until(lambda: bool(plant.told("receipt.taken")))
                assert len(plant.told("receipt.not_taken")) == 10


async def test_a_copy_with_records_that_were_lost_here_is_told_as_that_with_what_to_do(tmp_path: Path, heard: Heard) -> None:
    with Mosquitto(tmp_path) as broker:
        async with planted(tmp_path) as plant:
            await plant.read(10)
            theirs = receipt(plant, 10)
            await lose(plant, 5, 8)
            forwarder = plant.forwarder(broker.port, collector=LINE)
            async with running(forwarder), desk(plant, forwarder, broker.port):
                await until(lambda: caught_up(forwarder, plant) and listened_to(broker))
                await say(broker, "receipt", theirs)
                await until(lambda: bool(plant.told("receipt.alarm")))
            (told,) = plant.told("receipt.alarm")
            assert "records 5 to 6 were lost here" in told["why"]  # the hash of 7 stands in 8
            assert "do not delete it" in told["hint"]
            heard.tells(told, "MS-509")


async def lose(plant: Plant, first: int, end: int) -> None:
    """Records are lost with their leaf hashes, and the agent begins again on what is left."""
    await plant.ledger.close()
    with contextlib.closing(sqlite3.connect(plant.path)) as damaged:
        damaged.execute("DROP TRIGGER record_is_never_deleted")
        damaged.execute("PRAGMA secure_delete = ON")
        damaged.execute("DELETE FROM record WHERE n >= ? AND n < ?", (first, end))
        damaged.commit()
    leaf_path(plant.path).unlink(missing_ok=True)
    salvage(plant.path, "damaged_pages", plant.clock.now_ns())
    plant.ledger = await begun(plant.path, plant.key, plant.clock)
    with contextlib.closing(LedgerReader(plant.path)) as reader:
        owed = reader.owed()
    assert owed
    await plant.ledger.append(draft.loss(plant.clock, owed))


async def test_a_flood_of_the_collectors_own_questions_is_answered_once_a_second(tmp_path: Path) -> None:
    """A broker may repeat what the collector once signed as often as it likes."""
    with Mosquitto(tmp_path) as broker:
        async with planted(tmp_path) as plant:
            forwarder = plant.forwarder(broker.port, collector=LINE)
            async with running(forwarder), desk(plant, forwarder, broker.port, Clock()):
                await plant.read(20)
                await until(lambda: caught_up(forwarder, plant) and listened_to(broker))
                began = time.monotonic()
                question = write_question(GATEWAY, Question(0, 9), NAME, KEY)
                await asyncio.gather(*(say(broker, "resend", question) for _ in range(40)))
                await say(broker, "receipt", receipt(plant, 7))
                await until(lambda: bool(plant.told("receipt.taken")))
                assert 1 <= len(plant.told("receipt.asked")) <= time.monotonic() - began + 1
