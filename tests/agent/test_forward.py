"""agent.forward: every record reaches the subscriber, in order, whatever happens to the broker and the line.

The brokers are mosquitto, the subscribers mosquitto_sub: neither shares a line of code with the agent. A broker that
is killed loses what it has acknowledged and not passed on; where a test kills one, the line therefore holds its last
acknowledgements back until the subscriber has what was acknowledged, so that what is missing is missing through us.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent import checkpoint
from agent.forward_words import State
from agent.ledger_file import LedgerReader
from tests.agent.delivery import (
    BASE,
    DIGEST,
    MODEL,
    RECORD_TYPE,
    FastClock,
    Plant,
    caught_up,
    has_all,
    in_order,
    numbers,
    planted,
    records_of,
    running,
)
from tests.agent.gateway import GATEWAY, StillClock, begun, new_key
from tests.agent.heard import Heard
from tests.brokers import Line, Mosquitto, Subscriber, until


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    async with planted(tmp_path) as made:
        yield made


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as started:
        yield started


# --- what is delivered ---------------------------------------------------------------------------------------------


async def test_each_record_goes_to_its_topic_with_exactly_the_ledgers_bytes(plant: Plant, broker: Mosquitto) -> None:
    await plant.read(4, "em-1", "em-2")
    async with Subscriber(broker, f"{BASE}/#") as subscriber, running(plant.forwarder(broker.port)):
        await until(lambda: has_all(subscriber, plant))
    seen = records_of(subscriber.seen)
    assert [message.payload for message in seen] == plant.payloads()
    topics = ["event/key", "event/meter", "event/meter", "reading/em-1", "reading/em-2", "reading/em-1", "reading/em-2"]
    assert [message.topic for message in seen] == [f"{BASE}/{topic}" for topic in topics]
    assert {message.content_type for message in seen} == {RECORD_TYPE}
    assert not any(message.retained for message in seen)


async def test_what_is_sealed_while_connected_is_delivered_without_waiting_for_a_tick(plant: Plant, broker: Mosquitto) -> None:
    slow = FastClock(times=0.01)  # a tick takes 100 seconds
    async with Subscriber(broker, f"{BASE}/#") as subscriber, running(plant.forwarder(broker.port, slow)) as forwarder:
        await until(lambda: caught_up(forwarder, plant))
        await plant.read(7)
        await until(lambda: has_all(subscriber, plant), seconds=5)
    assert in_order(numbers(subscriber)) == 10


async def test_a_late_subscriber_finds_key_meters_models_checkpoint_and_status(plant: Plant, broker: Mosquitto) -> None:
    await plant.declare("em-1")  # anew, before the connection
    await plant.ledger.checkpoint()
    async with running(plant.forwarder(broker.port)) as forwarder:
        await until(lambda: caught_up(forwarder, plant))
        await plant.declare("em-2", "em-3")  # em-2 is declared anew, em-3 is new, while connected
        await plant.ledger.checkpoint()  # with nothing sealed after it
        with contextlib.closing(LedgerReader(plant.path)) as reader:
            newest = reader.newest_checkpoint()
        assert newest
        expected = {
            f"{BASE}/status": b"online",
            f"{BASE}/key": plant.payloads()[0],
            f"{BASE}/meter/em-1": plant.payloads()[3],
            f"{BASE}/meter/em-2": plant.payloads()[4],
            f"{BASE}/meter/em-3": plant.payloads()[5],
            f"{BASE}/model/{DIGEST}": MODEL,
            f"{BASE}/checkpoint": newest.encode(),
        }
        async with Subscriber(broker, f"{BASE}/#") as subscriber:
            await until(lambda: {message.topic: message.payload for message in subscriber.seen} == expected)
    types = {message.topic: message.content_type for message in subscriber.seen}
    assert {topic for topic, kind in types.items() if kind == RECORD_TYPE} == {
        f"{BASE}/{name}" for name in ("key", "meter/em-1", "meter/em-2", "meter/em-3")
    }
    assert {kind for kind in types.values() if kind != RECORD_TYPE} == {"text/plain"}
    assert checkpoint.read(newest, f"meterseal/{GATEWAY}", plant.key.public).size == 6


async def test_many_retained_copies_take_turns_with_the_records(plant: Plant, broker: Mosquitto) -> None:
    await plant.declare(*(f"em-{number}" for number in range(100, 180)))
    await plant.read(20)
    async with Subscriber(broker, f"{BASE}/#") as subscriber, running(plant.forwarder(broker.port, window=2)):
        await until(lambda: has_all(subscriber, plant))
        await until(lambda: sum(f"{BASE}/meter/" in message.topic for message in subscriber.seen) >= 82)
    first = [message for message in subscriber.seen if f"{BASE}/model/" not in message.topic][:40]
    assert 15 <= len(records_of(first)) <= 25
    assert first[0].topic == f"{BASE}/status"


def spoil(path: Path, n: int) -> None:
    """Changes a record in the ledger's file, as somebody with a database program could."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("DROP TRIGGER record_is_never_changed")
        database.execute("UPDATE record SET payload = CAST(replace(payload, '\"em-1\"', '\"em/#\"') AS BLOB) WHERE n = ?", (n,))
        database.commit()


async def test_bytes_in_the_ledger_that_are_no_record_any_more_are_delivered_as_damaged(
    tmp_path: Path, broker: Mosquitto
) -> None:
    async with planted(tmp_path) as before:
        await before.read(80)
    spoil(before.path, 4)
    ledger = await begun(before.path, before.key, before.clock)
    async with Subscriber(broker, f"{BASE}/#") as subscriber, running(Plant(ledger, before.key).forwarder(broker.port)):
        await until(lambda: len(records_of(subscriber.seen)) == 83)
    await ledger.close()
    assert [message.topic for message in records_of(subscriber.seen)][3:6] == [
        f"{BASE}/{topic}" for topic in ("reading/em-1", "event/damaged", "reading/em-1")
    ]


async def test_a_record_changed_on_disk_right_after_it_was_sealed_is_delivered_as_it_was_sealed(
    plant: Plant, broker: Mosquitto
) -> None:
    await plant.read(3)
    sealed = plant.payloads()
    spoil(plant.path, 4)
    async with Subscriber(broker, f"{BASE}/#") as subscriber, running(plant.forwarder(broker.port)):
        await until(lambda: len(records_of(subscriber.seen)) == 6)
    assert [message.payload for message in records_of(subscriber.seen)] == sealed != plant.payloads()


# --- nothing is lost, nothing is skipped ---------------------------------------------------------------------------


async def test_a_broker_away_for_ten_minutes_gets_all_of_them_in_order_when_it_is_back(plant: Plant, tmp_path: Path) -> None:
    clock = FastClock(times=120)
    with Mosquitto(tmp_path, sessions=True) as broker:
        async with (
            Subscriber(broker, f"{BASE}/#", session="collector") as subscriber,
            running(plant.forwarder(broker.port, clock)) as forwarder,
        ):
            await plant.read(20)
            await until(lambda: has_all(subscriber, plant))
            broker.stop()
            away = clock.monotonic()
            while clock.monotonic() - away < 600:
                await plant.read(5)
                await clock.sleep(15)
            assert forwarder.state.next_n == 23
            assert plant.ledger.size > 150
            assert not forwarder.state.connected
            assert "nothing listens" in forwarder.state.why
            broker.start()
            await until(lambda: has_all(subscriber, plant))
            assert in_order(numbers(subscriber)) == plant.ledger.size
            await until(lambda: forwarder.state == State(True, plant.ledger.size, "", "", ""))
    assert len(plant.told("forward.cannot_connect")) == 1
    assert len(plant.told("forward.lost")) == 1
    assert len(plant.told("forward.connected")) == 2


async def test_a_broker_killed_again_and_again_in_mid_stream_loses_nothing(plant: Plant, broker: Mosquitto) -> None:
    await plant.read(4000, "em-1", "em-2")  # so many that none of the five times all are through before the line is held
    async with Line(broker.port) as line:
        subscriber = Subscriber(broker, f"{BASE}/#")
        await subscriber.start()
        async with running(plant.forwarder(line.port)) as forwarder:
            for part in range(1, 6):
                await until(lambda part=part: forwarder.state.next_n > 150 * part)  # type: ignore[misc]  # mypy: a lambda's default
                line.holds = True
                await until(lambda: line.in_flight and set(numbers(subscriber)) >= set(range(forwarder.state.next_n)))
                line.close()
                broker.kill()
                await subscriber.end()
                broker.start()
                await subscriber.start()
                line.open()
            await until(lambda: caught_up(forwarder, plant))
            await until(lambda: has_all(subscriber, plant))
        await subscriber.end()
    assert in_order(numbers(subscriber)) == plant.ledger.size == 4003
    assert len(plant.told("forward.connected")) == 6


async def test_a_line_cut_in_mid_stream_repeats_at_most_a_window(plant: Plant, broker: Mosquitto) -> None:
    await plant.read(600)
    async with Subscriber(broker, f"{BASE}/#") as subscriber, Line(broker.port) as line:
        async with running(plant.forwarder(line.port, window=10)) as forwarder:
            for part in range(1, 6):
                await until(lambda part=part: forwarder.state.next_n > 100 * part)  # type: ignore[misc]  # the same
                line.cut()
            await until(lambda: caught_up(forwarder, plant))
        await until(lambda: has_all(subscriber, plant))
    assert in_order(numbers(subscriber)) == 603
    assert len(numbers(subscriber)) <= 603 + 5 * 10


@pytest.mark.parametrize("way", ["frozen broker", "swallowing line"])
async def test_a_connection_that_stands_but_answers_nothing_is_dropped_and_made_anew(
    way: str, plant: Plant, broker: Mosquitto, heard: Heard
) -> None:
    async with Subscriber(broker, f"{BASE}/#") as subscriber, Line(broker.port) as line:
        async with running(plant.forwarder(line.port)) as forwarder:
            await until(lambda: caught_up(forwarder, plant))
            if way == "frozen broker":
                broker.freeze()
            else:
                line.swallows = True
            silent = time.monotonic()
            await plant.read(30)
            await until(lambda: not forwarder.state.connected)
            assert 0.9 < time.monotonic() - silent < 4  # 60 s of its clock
            assert forwarder.state.why == "the broker does not answer"
            assert forwarder.state.next_n == 3
            attempts = line.accepted
            await until(lambda: line.accepted > attempts + 1)  # a connection without an answer is given up as well
            broker.thaw()
            line.open()
            await until(lambda: caught_up(forwarder, plant))
            await until(lambda: line.connections == 1)  # the ones given up are closed, not forgotten
        await until(lambda: has_all(subscriber, plant))
    assert in_order(numbers(subscriber)) == 33
    (told,) = plant.told("forward.lost")
    assert told["why"] == "the broker does not answer"
    heard.tells(told, "MS-501")


async def test_delivery_goes_on_after_a_restart_where_it_was_acknowledged(tmp_path: Path, broker: Mosquitto) -> None:
    key, path = new_key(), tmp_path / "ledger.sqlite"
    async with Subscriber(broker, f"{BASE}/#") as subscriber:
        for run in range(3):
            ledger = await begun(path, key, StillClock())
            plant = Plant(ledger, key)
            await plant.declare("em-1")
            await plant.read(20)
            async with running(plant.forwarder(broker.port)) as forwarder:
                await until(lambda plant=plant, forwarder=forwarder: caught_up(forwarder, plant))  # type: ignore[misc]  # the same
            assert plant.told("forward.connected")[0]["next_n"] == (0 if run == 0 else 1 + 21 * run)
            await ledger.close()
        await until(lambda: len(numbers(subscriber)) == 64)
    assert numbers(subscriber) == list(range(64))


async def test_two_destinations_each_have_their_own_cursor(plant: Plant, tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as here, Mosquitto(tmp_path) as outside:
        outside.stop()
        near, far = plant.forwarder(here.port, name="hall"), plant.forwarder(outside.port, name="head-office", topic="energy")
        async with Subscriber(here, f"{BASE}/#") as subscriber, running(near), running(far):
            await plant.read(25)
            await until(lambda: caught_up(near, plant))
            assert far.state.next_n == 0
            assert far.state.why.startswith("nothing listens at 127.0.0.1:")
            outside.start()
            await until(lambda: caught_up(far, plant))
            await until(lambda: has_all(subscriber, plant))
            assert numbers(subscriber) == list(range(28))
            async with Subscriber(outside, f"energy/{GATEWAY}/#") as other:
                await until(lambda: f"energy/{GATEWAY}/status" in [message.topic for message in other.seen])
    await plant.ledger.checkpoint()  # the cursors are written with the next commit
    with contextlib.closing(LedgerReader(plant.path)) as reader:
        assert reader.cursors() == {"hall": 28, "head-office": 28}


# --- refusals ------------------------------------------------------------------------------------------------------

_ALL = f"topic readwrite {BASE}/#\ntopic read $SYS/#\n"


async def test_a_meter_whose_topic_is_denied_is_told_once_and_delivered_once_allowed(
    plant: Plant, tmp_path: Path, heard: Heard
) -> None:
    denied = f"{_ALL}topic deny {BASE}/reading/em-2\n"
    with Mosquitto(tmp_path, access=denied) as broker:
        async with (
            Subscriber(broker, f"{BASE}/#") as subscriber,
            running(plant.forwarder(broker.port, FastClock(30))) as forwarder,
        ):
            await plant.read(40, "em-1", "em-2")
            await until(lambda: forwarder.state.why)
            refused, denials = forwarder.state, broker.log().count("Denied PUBLISH")
            await until(lambda: broker.log().count("Denied PUBLISH") >= denials + 4)
            assert (forwarder.state.next_n, forwarder.state.why) == (refused.next_n, refused.why)
            broker.allow(_ALL)
            await until(lambda: has_all(subscriber, plant))
            await until(lambda: forwarder.state == State(True, 43, "", "", ""))
    assert refused.next_n == 4
    assert refused.connected
    assert refused.why == f"the broker does not allow this gateway to publish on {BASE}/reading/em-2"
    told = plant.told("forward.refused")
    assert [(entry["n"], entry["topic"]) for entry in told] == [(4, f"{BASE}/reading/em-2")]
    assert "access list" in told[0]["hint"]
    heard.tells(told[0], "MS-505")
    assert sorted(numbers(subscriber)) == list(range(43))  # what was not refused is not sent twice
    assert len(plant.told("forward.connected")) == 1


async def test_while_one_record_is_refused_only_that_one_is_tried(plant: Plant, tmp_path: Path) -> None:
    with Mosquitto(tmp_path, access=f"{_ALL}topic deny {BASE}/reading/em-2\n") as broker:
        async with Line(broker.port) as line, running(plant.forwarder(line.port, FastClock(30))) as forwarder:
            await plant.read(40, "em-1", "em-2")
            await until(lambda: forwarder.state.why and not line.in_flight)
            line.most_in_flight = 0
            before = broker.log().count("Denied PUBLISH")
            await until(lambda: broker.log().count("Denied PUBLISH") >= before + 3)
            assert line.most_in_flight == 1


async def test_a_refused_retained_copy_is_told_once_and_holds_nothing_up(plant: Plant, tmp_path: Path) -> None:
    with Mosquitto(tmp_path, access=f"{_ALL}topic deny {BASE}/meter/+\n") as broker:
        async with Subscriber(broker, f"{BASE}/#") as subscriber, running(plant.forwarder(broker.port)) as forwarder:
            await plant.read(10)
            await until(lambda: has_all(subscriber, plant) and caught_up(forwarder, plant))
            assert forwarder.state.why == ""
    assert [entry["retained"] for entry in plant.told("forward.refused")] == [True]
    assert in_order(numbers(subscriber)) == 13


async def test_a_record_larger_than_the_broker_takes_is_refused_and_delivered_once_it_is_allowed(
    plant: Plant, tmp_path: Path
) -> None:
    with Mosquitto(tmp_path, "max_packet_size 740") as small, Mosquitto(tmp_path) as large:
        await plant.read(3)
        async with Line(small.port) as line, running(plant.forwarder(line.port)) as forwarder:
            await until(lambda: forwarder.state.why == "this is larger than the broker takes")
            await until(lambda: not line.in_flight and forwarder.state.next_n)
            stuck = forwarder.state.next_n
            async with Subscriber(large, f"{BASE}/#") as subscriber:
                line.broker_port = large.port  # not before somebody listens: a silent line is made again by itself
                line.cut()
                await until(lambda: caught_up(forwarder, plant))
                await until(lambda: plant.ledger.size - 1 in numbers(subscriber))
    assert numbers(subscriber) == list(range(stuck, 6))
    assert [entry["n"] for entry in plant.told("forward.refused") if "n" in entry] == [stuck]


async def test_a_size_limit_that_mosquitto_tells_in_its_own_way_keeps_the_record_and_is_hinted_at(
    plant: Plant, tmp_path: Path
) -> None:
    with Mosquitto(tmp_path, "message_size_limit 640") as broker:  # it acknowledges with reason 149, which no PUBACK may have
        await plant.read(3)
        async with running(plant.forwarder(broker.port)) as forwarder:
            await until(lambda: len(plant.told("forward.lost")) >= 2)
            assert forwarder.state.next_n == 3
    assert all("too large" in entry["hint"] for entry in plant.told("forward.lost"))


async def test_nobody_listening_is_told_once_and_counts_as_delivered(plant: Plant, broker: Mosquitto, heard: Heard) -> None:
    async with running(plant.forwarder(broker.port)) as forwarder:
        await plant.read(20, "em-1", "em-2")
        await until(lambda: caught_up(forwarder, plant))
    told = plant.told("forward.nobody_listens")
    assert [entry["topic"] for entry in told] == [f"{BASE}/event/key", f"{BASE}/reading/em-1"]
    assert all(entry["log_level"] == "warning" for entry in told)
    heard.tells(told[0], "MS-507")


async def test_no_more_is_in_flight_than_the_broker_allows(plant: Plant, tmp_path: Path) -> None:
    with Mosquitto(tmp_path, "max_inflight_messages 5") as broker:
        await plant.read(300)
        async with Subscriber(broker, f"{BASE}/#") as subscriber, Line(broker.port) as line:
            async with running(plant.forwarder(line.port, window=100)) as forwarder:
                await until(lambda: forwarder.state.next_n > 50)
                line.holds = True
                await plant.read(20)
                await until(lambda: len(line.in_flight) == 5)
                line.release()
                await until(lambda: caught_up(forwarder, plant))
            await until(lambda: has_all(subscriber, plant))
    assert line.most_in_flight == 5
    assert plant.told("forward.lost") == []  # mosquitto disconnects who sends more


async def test_no_more_is_in_flight_than_the_site_file_says(plant: Plant, broker: Mosquitto) -> None:
    await plant.read(100)
    async with Line(broker.port) as line:
        line.holds = True
        async with running(plant.forwarder(line.port, window=3, keepalive=600)) as forwarder:
            await until(lambda: line.accepted)
            line.release()
            await until(lambda: forwarder.state.connected)
            line.holds = True
            await plant.read(20)
            await until(lambda: len(line.in_flight) == 3)
            line.release()
            await until(lambda: caught_up(forwarder, plant))
    assert line.most_in_flight == 3


# --- status --------------------------------------------------------------------------------------------------------


def statuses(subscriber: Subscriber) -> list[bytes]:
    return [message.payload for message in subscriber.seen if message.topic == f"{BASE}/status"]


async def test_the_status_is_offline_when_the_agent_dies_and_online_when_it_is_back(plant: Plant, broker: Mosquitto) -> None:
    async with Subscriber(broker, f"{BASE}/status") as subscriber, Line(broker.port) as line, running(plant.forwarder(line.port)):
        await until(lambda: statuses(subscriber) == [b"online"])
        line.close()
        await until(lambda: statuses(subscriber) == [b"online", b"offline"])
        line.open()
        await until(lambda: statuses(subscriber) == [b"online", b"offline", b"online"])
        async with Subscriber(broker, f"{BASE}/status") as late:
            await until(lambda: statuses(late) == [b"online"])


async def test_the_status_is_online_after_a_connection_took_the_place_of_a_half_open_one(plant: Plant, broker: Mosquitto) -> None:
    async with (
        Subscriber(broker, f"{BASE}/status") as subscriber,
        Line(broker.port) as line,
        running(plant.forwarder(line.port)) as forwarder,
    ):
        await until(lambda: statuses(subscriber) == [b"online"])
        line.swallows = True
        await plant.read(1)
        await until(lambda: not forwarder.state.connected)
        line.open()
        await until(lambda: statuses(subscriber)[-1] == b"online" and len(statuses(subscriber)) == 3)
    assert statuses(subscriber)[:3] == [b"online", b"offline", b"online"]


async def test_a_forwarder_that_is_cancelled_says_offline_and_leaves_in_order(plant: Plant, broker: Mosquitto) -> None:
    async with Subscriber(broker, f"{BASE}/status") as subscriber:
        async with running(plant.forwarder(broker.port)) as forwarder:
            await until(lambda: caught_up(forwarder, plant))
        await until(lambda: statuses(subscriber) == [b"online", b"offline"])
    await until(lambda: "Client meterseal-plant-gw1-broker disconnected" in broker.log())
    assert not forwarder.state.connected


@pytest.mark.parametrize("moment", ["connecting", "delivering"])
async def test_a_forwarder_is_cancelled_within_a_second_though_nothing_answers(
    moment: str, plant: Plant, broker: Mosquitto
) -> None:
    await plant.read(100)
    async with Line(broker.port) as line:
        line.swallows = moment == "connecting"
        async with running(plant.forwarder(line.port, FastClock(1))) as forwarder:
            await until(lambda: line.accepted if moment == "connecting" else forwarder.state.next_n > 20)
            line.swallows = True
