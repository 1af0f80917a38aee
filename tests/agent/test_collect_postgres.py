"""Collectors on a real PostgreSQL: several share one database, and nothing that is stored is ever replaced."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.collect_copy import StoreError
from agent.collect_gateway import Arrivals, Keeping
from tests.agent.collecting import Collecting
from tests.agent.delivery import planted
from tests.agent.ledgers import DIGEST, GATEWAY, MODEL, good_gateway
from tests.brokers import Mosquitto, until
from tests.databases import Database, database

PATIENCE = 60.0


@pytest.fixture(scope="module")
def server() -> Iterator[Database]:
    with database() as made:
        yield made


@pytest.fixture
def empty(server: Database) -> Database:
    """The server with no table in it."""
    import psycopg

    with psycopg.connect(server.reached, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return server


def stored(server: Database) -> list[bytes]:
    import psycopg

    with psycopg.connect(server.reached) as connection, contextlib.suppress(psycopg.errors.UndefinedTable):
        rows = connection.execute("SELECT r.payload FROM record r JOIN tree t USING (gateway) WHERE n < size ORDER BY n")
        return [row[0] for row in rows]
    return []


def test_two_collectors_each_with_half_of_the_records_make_one_copy(empty: Database) -> None:
    from agent.collect_postgres import Postgres

    gateway = good_gateway()
    records = list(gateway.log.records)
    chance = random.Random(3)
    chance.shuffle(records)
    stores = [Postgres(empty.reached, GATEWAY) for _ in range(2)]
    both = [Keeping(GATEWAY, gateway.key.public, store, {}) for store in stores]
    for n, payload in enumerate(records):
        outcome = both[n % 2].take(Arrivals([payload], models={DIGEST: MODEL}))
        assert outcome.leads == (n % 2 == 0)
    outcome = both[0].take(Arrivals(notes=[note.encode() for note in gateway.log.notes]))
    assert (outcome.size, outcome.end, outcome.root) == (len(records), len(records), gateway.frontier.root())
    assert outcome.lacks_notes is None
    assert stored(empty) == gateway.log.records
    stores[0].close()  # the other one takes over, once the server has seen it
    deadline = time.monotonic() + PATIENCE
    while not (outcome := both[1].take(Arrivals())).leads:
        assert time.monotonic() < deadline
    assert (outcome.size, outcome.root) == (len(records), gateway.frontier.root())
    stores[1].close()


def test_other_bytes_under_a_stored_number_are_an_alarm_and_replace_nothing(empty: Database) -> None:
    from agent.collect_postgres import Postgres

    gateway = good_gateway()
    records = list(gateway.log.records)
    store = Postgres(empty.reached, GATEWAY)
    keeping = Keeping(GATEWAY, gateway.key.public, store, {})
    keeping.take(Arrivals(records))
    gateway.log.edit(len(records) - 1, lambda fields: fields.update(every_ms=1000))
    gateway.reseal(len(records) - 1)
    outcome = keeping.take(Arrivals([gateway.log.records[-1]]))
    assert [why for why, _, _ in outcome.alarms] == [f"record {len(records) - 1} came with other content than is stored"]
    with store.transaction():
        assert store.count_aside() == 1
    assert stored(empty) == records
    store.close()


def test_a_database_that_is_away_is_told_and_gone_on_with_when_it_is_back(empty: Database) -> None:
    from agent.collect_postgres import Postgres

    gateway = good_gateway()
    store = Postgres(empty.reached, GATEWAY)
    keeping = Keeping(GATEWAY, gateway.key.public, store, {})
    keeping.take(Arrivals(gateway.log.records[:10]))
    empty.stop("immediate")
    try:
        with pytest.raises(StoreError, match="database"):
            keeping.take(Arrivals(gateway.log.records[10:20]))
    finally:
        empty.start()
    assert keeping.take(Arrivals(gateway.log.records[10:])).size == len(gateway.log.records)
    assert stored(empty) == gateway.log.records
    store.close()


async def test_two_collectors_share_the_records_of_a_broker_and_one_of_them_may_die(tmp_path: Path, empty: Database) -> None:
    from agent.collect_postgres import stores

    with Mosquitto(tmp_path) as broker:
        async with planted(tmp_path) as plant:
            seen = Collecting(tmp_path, broker.port, plant)
            shared = {"store_of": stores(empty.reached), "share": "plant"}
            async with seen.collector(**shared, client="two", postgres="dbname=x"), seen.gateway():
                async with seen.collector(**shared, client="one", postgres="dbname=x"):
                    await until(lambda: broker.log().count("$share/plant/") >= 8, PATIENCE, "both are subscribed")
                    for _ in range(4):
                        await plant.read(20)
                        await asyncio.sleep(0.1)
                    await until(lambda: stored(empty) == plant.payloads(), PATIENCE, "both together have all")
                for _ in range(4):
                    await plant.read(20)
                await until(lambda: stored(empty) == plant.payloads(), PATIENCE, "the one that is left has all")
                size = plant.ledger.size
                await until(lambda: any(e["records"] == size for e in seen.told("receipt.taken")), PATIENCE, "a receipt")
            assert not seen.told("collect.alarm")
