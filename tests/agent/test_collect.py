"""A gateway and its collector over a real broker: the copy becomes the ledger byte for byte, whatever was lost on the way."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agent.cli import main
from agent.ledger_file import LedgerReader
from agent.state import LEDGER_FILE, only_agent
from config.site import Batch
from tests.agent.collecting import Collecting
from tests.agent.delivery import BASE, Plant, planted
from tests.agent.gateway import GATEWAY, begun, stop
from tests.agent.heard import Heard
from tests.agent.ledgers import DIGEST, MODEL, good_gateway
from tests.agent.test_receipt_desk import publish
from tests.brokers import Line, Mosquitto, Subscriber, until

PATIENCE = 30.0


@asynccontextmanager
async def collecting(folder: Path, broker: Mosquitto) -> AsyncIterator[tuple[Plant, Collecting]]:
    async with planted(folder) as plant:
        yield plant, Collecting(folder, broker.port, plant)


async def all_there(seen: Collecting) -> None:
    """Returns when the copy is the ledger and a receipt has said so."""
    await until(lambda: seen.stored() == seen.plant.payloads(), PATIENCE, "the copy is the ledger")
    await seen.plant.ledger.append(stop(seen.plant.clock))  # a cursor is written with the next commit
    size = seen.plant.ledger.size - 1
    await until(lambda: any(entry["records"] >= size for entry in seen.told("receipt.taken")), PATIENCE, "a receipt for all")
    await until(lambda: seen.stored() == seen.plant.payloads(), PATIENCE, "the copy is the ledger")


async def test_the_copy_is_the_ledger_byte_for_byte_and_the_receipt_moves_the_cursor(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with collecting(tmp_path, broker) as (plant, seen), seen.collector(), seen.gateway():
            await plant.read(40, "em-1", "em-2")
            await all_there(seen)
            await plant.ledger.append(stop(plant.clock))
            assert seen.delivered() >= plant.ledger.size - 2


async def test_what_was_sent_while_the_collector_was_away_is_asked_for(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with collecting(tmp_path, broker) as (plant, seen), seen.gateway() as forwarder:
            await plant.read(30)
            await until(lambda: forwarder.state.next_n == plant.ledger.size)  # acknowledged, and thrown away by the broker
            async with seen.collector():
                await all_there(seen)
            await plant.read(30)
            await until(lambda: forwarder.state.next_n == plant.ledger.size)
            async with seen.collector():
                await plant.read(1)  # it alone is seen: the hole before it shows
                await all_there(seen)
            assert seen.told("receipt.asked")


async def test_a_broker_that_forgets_what_it_acknowledged_loses_nothing(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with collecting(tmp_path, broker) as (plant, seen), seen.gateway() as forwarder:
            for _ in range(3):
                async with seen.collector():
                    await plant.read(10)
                    await until(lambda: len(seen.stored()) > 5, PATIENCE)
                await plant.read(20)
                await until(lambda: forwarder.state.next_n == plant.ledger.size, PATIENCE)
                broker.kill()
                broker.start()
            async with seen.collector():
                await all_there(seen)


async def test_a_line_that_swallows_and_breaks_delays_only(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with collecting(tmp_path, broker) as (plant, seen), Line(broker.port) as line:
            seen.port = line.port
            async with seen.collector(), seen.gateway():
                for turn in range(4):
                    await plant.read(15)
                    line.swallows = turn % 2 == 0
                    await plant.read(5)
                    line.cut()
                    line.open()
                await all_there(seen)


async def test_a_gateway_with_a_new_log_by_another_key_is_told_of_on_both_sides(tmp_path: Path, heard: Heard) -> None:
    """The gateway was set up anew under its old name."""
    with Mosquitto(tmp_path) as broker:
        async with collecting(tmp_path, broker) as (plant, seen):
            async with seen.collector(), seen.gateway():
                await plant.read(20)
                await all_there(seen)
            stored = seen.stored()
        older = tmp_path / "older"
        older.mkdir()
        async with planted(older) as other:
            seen.plant = other
            async with seen.collector(), seen.gateway():
                await other.read(5)
                await until(lambda: bool(seen.told("receipt.alarm")), PATIENCE)
                await other.read(5)  # the collector is subscribed by now
                await until(lambda: bool(seen.told("collect.not_taken")), PATIENCE)
            heard.tells(seen.told("collect.not_taken")[0], "MS-821")
            assert seen.stored()[: len(stored)] == stored


async def test_two_histories_by_one_key_are_kept_as_evidence_and_told_at_every_start(tmp_path: Path, heard: Heard) -> None:
    with Mosquitto(tmp_path) as broker:
        async with collecting(tmp_path, broker) as (plant, seen):
            async with seen.collector(), seen.gateway():
                await plant.read(10)
                await all_there(seen)
            stored = seen.stored()
            fork = tmp_path / "fork"
            fork.mkdir()
            ledger = await begun(fork / "ledger.sqlite", plant.key, plant.clock)
            other = Plant(ledger, plant.key)
            await other.declare("em-9")
            seen.plant = other
            async with seen.collector(), seen.gateway():
                while not seen.told("collect.alarm"):  # what it publishes before the collector has subscribed is not seen
                    await other.read(1)
                    await asyncio.sleep(0.05)
            evidence = seen.copy.with_suffix(".alarm")
            assert "came with other content than is stored" in evidence.read_text()
            assert "WHAT CAME" in evidence.read_text()
            heard.tells(seen.told("collect.alarm")[0], "MS-824")
            before = len(seen.told("collect.alarm"))
            async with seen.collector():
                await until(lambda: len(seen.told("collect.alarm")) > before, PATIENCE)
            assert seen.stored() == stored
            await ledger.close()


async def test_nothing_that_strangers_say_stops_the_collector(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with collecting(tmp_path, broker) as (plant, seen), seen.collector(), seen.gateway():
            await plant.read(5)
            await all_there(seen)
            for leaf in ("reading/em-1", "event/start", "checkpoint", "model/ab", "status", "gap/x"):
                for payload in (b"", b"\xff\xfe", b"{}", b"[" * 70_000, plant.payloads()[3].replace(b'"n":3', b'"n":4')):
                    await publish(broker, f"{BASE}/{leaf}", payload)
            await plant.read(5)
            await all_there(seen)
            assert seen.told("collect.not_taken")
            assert not seen.told("collect.alarm")


async def test_the_receipt_is_kept_by_the_broker_for_a_gateway_that_was_away(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with collecting(tmp_path, broker) as (plant, seen), Subscriber(broker, f"{BASE}/collector/#") as subscriber:
            async with seen.collector():
                async with seen.gateway():
                    await plant.read(5)
                    await until(lambda: seen.stored() == plant.payloads(), PATIENCE)
                await until(
                    lambda: any(b"\n%d\n" % plant.ledger.size in message.payload for message in subscriber.seen), PATIENCE
                )
            with contextlib.suppress(IndexError):
                seen.events.entries.clear()
            async with seen.gateway():
                size = plant.ledger.size
                await until(lambda: [e["records"] for e in seen.told("receipt.taken")] == [size], PATIENCE)


async def test_the_copy_is_read_by_every_verb_as_a_ledger(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with collecting(tmp_path, broker) as (plant, seen), seen.collector(), seen.gateway():
            await plant.read(300)
            await plant.ledger.checkpoint()
            await all_there(seen)
            with closing(LedgerReader(seen.copy / LEDGER_FILE)) as reader, closing(LedgerReader(plant.path)) as own:
                await until(lambda: reader.checkpoint(256) is not None, PATIENCE)  # only the newest is published by itself
                assert set(reader.checkpoints()) <= set(own.checkpoints())
                assert reader.models() == own.models()
                assert reader.tiles(0, 1) == own.tiles(0, 1)
                assert reader.tree()[0] == reader.size()


@pytest.mark.parametrize(
    "how", [{"batch": Batch(seconds=1)}, {"topics": "places"}, {"batch": Batch(compress="none"), "topics": "places"}]
)
async def test_batches_and_topics_by_places_end_in_the_same_copy(tmp_path: Path, how: dict[str, Any]) -> None:
    with Mosquitto(tmp_path) as broker:
        async with collecting(tmp_path, broker) as (plant, seen), seen.collector(**how), seen.gateway(**how):
            await plant.read(60, "em-1", "em-2")
            await all_there(seen)


async def test_bytes_that_are_no_text_under_a_place_harm_nothing(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with collecting(tmp_path, broker) as (plant, seen), seen.collector(topics="places"):
            await plant.read(5)
            async with seen.gateway(topics="places"):
                await all_there(seen)  # so it has subscribed
                await publish(broker, f"{BASE.rsplit('/', 1)[0]}/hall/em-1/reading", b'{"gateway":"\xff"}')
                await plant.read(5)
                await all_there(seen)


async def test_a_collector_begins_with_a_copy_of_the_gateways_ledger_where_that_is_all_there_is(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with collecting(tmp_path, broker) as (plant, seen):
            await plant.read(300)
            seen.copy.mkdir(parents=True)
            with closing(sqlite3.connect(plant.path)) as own, closing(sqlite3.connect(seen.copy / LEDGER_FILE)) as copy:
                own.backup(copy)
            async with seen.collector(), seen.gateway():
                await plant.read(10)
                await all_there(seen)


async def test_records_that_are_gone_at_the_gateway_are_told_of_there(tmp_path: Path, heard: Heard) -> None:
    with Mosquitto(tmp_path) as broker:
        async with collecting(tmp_path, broker) as (plant, seen):
            await plant.read(600)
            await plant.ledger.close()  # the newest ones are held in memory
            with closing(sqlite3.connect(plant.path)) as own:
                own.execute("INSERT INTO kept VALUES (0, 256, zeroblob(32))")
                own.execute("DELETE FROM record WHERE n >= 5 AND n < 256")
                own.commit()
            plant.ledger = await begun(plant.path, plant.key, plant.clock)
            async with seen.gateway() as forwarder:
                await until(lambda: forwarder.state.next_n == plant.ledger.size, PATIENCE)
                async with seen.collector():
                    await until(lambda: bool(seen.told("receipt.gone")) and len(seen.stored()) == 5, PATIENCE)
            assert "251 of the records" in seen.told("receipt.gone")[0]["why"]
            heard.tells(seen.told("receipt.gone")[0], "MS-826")


async def test_how_far_a_copy_has_got_and_whether_anybody_goes_on_with_it_is_told_at_the_command_line(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with collecting(tmp_path, broker) as (plant, seen):
            declared = tmp_path / "collect.yaml"
            declared.write_text(f"mqtt: {{host: 127.0.0.1, port: {broker.port}}}\ngateways:\n  - {seen.key_line}\n", "utf-8")

            def status() -> str:
                return CliRunner().invoke(main, ["collect", "status", str(declared), "--state", str(seen.state)]).output

            assert status().startswith(f"{GATEWAY}: nothing yet\nNo collector runs on {seen.state}")
            async with seen.collector(), seen.gateway():
                await plant.read(10)
                await all_there(seen)
            newest = plant.ledger.size - 1
            with only_agent(seen.state):
                assert status() == f"{GATEWAY}: all up to record {newest}, sealed 2026-03-01T00:00:00.000Z\n"


async def test_a_model_that_the_broker_keeps_back_is_told_and_the_records_are_stored(tmp_path: Path, heard: Heard) -> None:
    with Mosquitto(tmp_path, access=f"topic readwrite #\ntopic deny {BASE}/model/+\n") as broker:
        async with collecting(tmp_path, broker) as (plant, seen), seen.collector(), seen.gateway():
            await plant.read(5)
            await until(lambda: bool(seen.told("collect.unchecked")), PATIENCE)
            await all_there(seen)
    heard.tells(seen.told("collect.unchecked")[0], "MS-823")


async def test_a_value_that_the_gateway_made_up_is_stored_and_told(tmp_path: Path, heard: Heard) -> None:
    """Somebody who has the gateway's key sealed a value that the frame beside it does not give."""
    gateway = good_gateway()
    at = gateway.log.find("reading", 0)
    gateway.log.edit(at, lambda fields: fields["values"][0].update(value="1.00"))
    gateway.reseal(at)
    with Mosquitto(tmp_path) as broker:
        async with collecting(tmp_path, broker) as (_, seen):
            seen.key_line = gateway.key_line
            async with seen.collector():
                async with asyncio.timeout(2 * PATIENCE):
                    while not seen.told("collect.finding"):  # what comes before it has subscribed is not seen
                        await publish(broker, f"{BASE}/model/{DIGEST}", MODEL)
                        for payload in gateway.log.records[: at + 1]:
                            await publish(broker, f"{BASE}/event/any", payload)
                await until(lambda: seen.stored() == gateway.log.records[: at + 1], PATIENCE)
    (told,) = seen.told("collect.finding")
    assert (told["n"], told["finding"]) == (at, "VALUE")
    heard.tells(told, "MS-822")


async def test_a_copy_that_somebody_changed_is_told_and_gets_no_more_records(tmp_path: Path, heard: Heard) -> None:
    with Mosquitto(tmp_path) as broker:
        async with collecting(tmp_path, broker) as (plant, seen), seen.gateway():
            async with seen.collector():
                await plant.read(5)
                await all_there(seen)
            with closing(sqlite3.connect(seen.copy / LEDGER_FILE)) as copy:
                copy.execute("DROP TRIGGER record_is_never_changed")
                copy.execute("UPDATE record SET payload = cast(replace(payload, 'plant', 'plans') AS BLOB) WHERE n = 0")
                copy.commit()
            stored = seen.stored()
            async with seen.collector():
                await plant.read(5)
                await until(lambda: bool(seen.told("collect.failed")), PATIENCE)
            assert seen.stored() == stored
    heard.tells(seen.told("collect.failed")[0], "MS-825")


async def test_a_broker_that_does_not_let_collector_and_gateway_in_is_told_as_that(tmp_path: Path, heard: Heard) -> None:
    with Mosquitto(tmp_path, users={"somebody": "else"}) as broker:
        async with collecting(tmp_path, broker) as (_, seen), seen.collector(), seen.gateway():
            await until(lambda: bool(seen.told("collect.no_connection") and seen.told("receipt.no_connection")), PATIENCE)
    heard.tells(seen.told("collect.no_connection")[0], "MS-503")
    heard.tells(seen.told("receipt.no_connection")[0], "MS-503")
