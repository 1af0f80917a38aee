"""How records are delivered beside the plain way: new ones before a backlog, batches, topics by places, numbers, MQTT 3.1.1.

What a subscriber makes of them is told by mosquitto_sub, gunzip and docs/second_verifier.py, which share no code with the agent.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import batch, topics
from agent.ledger_file import LedgerReader
from agent.seal import base64url
from config.check import load_site
from config.mistake import ConfigError
from config.site import Meter, Mqtt, Site
from tests.agent.both import second
from tests.agent.delivery import BASE, FastClock, Plant, caught_up, has_all, numbers, planted, running
from tests.agent.gateway import GATEWAY
from tests.brokers import Line, Mosquitto, Subscriber, until

GZIP = "application/vnd.meterseal.records.v1+gzip"


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    async with planted(tmp_path) as made:
        yield made


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as started:
        yield started


# --- new records before a backlog ----------------------------------------------------------------------------------


async def test_what_is_new_arrives_while_a_backlog_has_hardly_begun_and_is_not_sent_again_after_a_restart(
    plant: Plant, broker: Mosquitto
) -> None:
    await plant.read(1500)
    slow = FastClock(1)
    async with Subscriber(broker, f"{BASE}/#") as subscriber:
        async with running(plant.forwarder(broker.port, slow, backlog_per_second=50)) as forwarder:
            await until(lambda: forwarder.state.next_n > 20)
            await plant.read(40)
            await until(lambda: set(range(1503, 1543)) <= set(numbers(subscriber)))
            assert forwarder.state.next_n < 1000
            await until(lambda: forwarder.state.beyond == 60)
            assert [n for n in numbers(subscriber) if n >= 1483] == list(range(1483, 1543))
        await plant.ledger.checkpoint()  # how far it came is written with the next commit
        assert LedgerReader(plant.path).delivered_ahead("broker") == [(1483, 1543)]  # a window's worth of the newest too
        async with running(plant.forwarder(broker.port)) as again:
            await until(lambda: caught_up(again, plant))
        await until(lambda: has_all(subscriber, plant))
    times = Counter(numbers(subscriber))
    assert {times[n] for n in range(1483, 1543)} == {1}
    assert {message.payload for message in subscriber.seen if "/reading/" in message.topic} == set(plant.payloads()[3:])


async def test_a_backlog_never_goes_faster_than_the_site_file_says(plant: Plant, broker: Mosquitto) -> None:
    await plant.read(600)
    clock = FastClock(10)
    async with running(plant.forwarder(broker.port, clock, backlog_per_second=20)) as forwarder:
        await until(lambda: forwarder.state.connected)
        began = clock.monotonic()
        await until(lambda: forwarder.state.next_n >= 200)
        assert clock.monotonic() - began > (200 - 20 - 20) / 20  # a second's worth at once, and a window's


# --- batches -------------------------------------------------------------------------------------------------------


async def test_batches_hold_the_records_byte_for_byte_and_gunzip_unpacks_them(plant: Plant, broker: Mosquitto) -> None:
    assert shutil.which("gunzip"), "apt install gzip"
    await plant.read(700, "em-1", "em-2")
    async with Subscriber(broker, f"{BASE}/#") as subscriber:
        async with running(plant.forwarder(broker.port, batch={"seconds": 60})) as forwarder:
            await until(lambda: caught_up(forwarder, plant))
            await plant.read(100, "em-1", "em-2")
            await until(lambda: caught_up(forwarder, plant))
        await until(lambda: len(unpacked(subscriber)) >= plant.ledger.size)
    batches = [message for message in subscriber.seen if message.topic == f"{BASE}/batch"]
    assert {message.content_type for message in batches} == {GZIP}
    assert not [message for message in subscriber.seen if message.topic.split("/")[4] in ("reading", "gap", "event")]
    together = b"".join(message.payload for message in batches)
    lines = subprocess.run(["gunzip"], input=together, capture_output=True, check=True, timeout=30).stdout.splitlines()
    assert sorted(lines, key=lambda line: int(json.loads(line)["n"])) == plant.payloads()
    assert sum(map(len, plant.payloads())) / len(together) > 4
    assert len(batches) < 30


def unpacked(subscriber: Subscriber) -> list[bytes]:
    return [each for seen in subscriber.seen if seen.topic == f"{BASE}/batch" for each in batch.unpack(seen.payload)]


async def test_a_batch_waits_for_its_time_and_is_sent_at_once_when_the_agent_ends(plant: Plant, broker: Mosquitto) -> None:
    slow = FastClock(1)
    async with Subscriber(broker, f"{BASE}/#") as subscriber:
        async with running(plant.forwarder(broker.port, slow, batch={"seconds": 3600, "compress": "none"})) as forwarder:
            await until(lambda: forwarder.state.connected)
            await plant.read(5)
            assert unpacked(subscriber) == []
            forwarder.hurry()
            await until(lambda: caught_up(forwarder, plant))
        await until(lambda: unpacked(subscriber) == plant.payloads())


async def test_batches_stay_within_what_the_broker_takes(plant: Plant, tmp_path: Path) -> None:
    await plant.read(200)
    with Mosquitto(tmp_path, "max_packet_size 4000") as small:
        async with Subscriber(small, f"{BASE}/#") as subscriber:
            plain = {"seconds": 60, "compress": "none"}
            async with running(plant.forwarder(small.port, batch=plain, numbers="none")) as forwarder:
                await until(lambda: caught_up(forwarder, plant))
            await until(lambda: unpacked(subscriber) == plant.payloads())
    assert plant.told("forward.refused") == []
    assert max(len(seen.payload) for seen in subscriber.seen) <= 4000


@given(
    st.lists(st.binary(min_size=1, max_size=50).filter(lambda record: b"\n" not in record), min_size=1),
    st.sampled_from(["gzip", "none"]),
)
def test_a_batch_unpacks_to_what_was_packed_and_is_always_the_same_bytes(records: list[bytes], compress: str) -> None:
    payload, _ = batch.pack(records, compress)  # type: ignore[arg-type]  # one of the two words
    if compress == "gzip" or not payload.startswith(b"\x1f\x8b"):
        assert batch.unpack(payload) == records
    assert batch.pack(records, compress)[0] == payload  # type: ignore[arg-type]  # the same


@pytest.mark.parametrize(
    "what", ["bomb", "cut short", "with something behind it", "without an end of line", "no gzip at all", "empty"]
)
def test_what_is_no_batch_is_refused(what: str) -> None:
    good, _ = batch.pack([b"record"], "gzip")
    payload = {
        "bomb": batch.pack([b"0" * 50_000_000], "gzip")[0],
        "cut short": good[:-9],
        "with something behind it": good + b"x",
        "without an end of line": b"record",
        "no gzip at all": b"\x1f\x8b" + bytes(20),
        "empty": b"",
    }[what]
    with pytest.raises(batch.BatchError):
        batch.unpack(payload)


# --- topics --------------------------------------------------------------------------------------------------------


def site_with(*places: str) -> Site:
    meters = [{"id": f"em-{number}", "link": "a", "model": "m", "place": place} for number, place in enumerate(places, 1)]
    return Site(gateway=GATEWAY, links={"a": {"tcp": "h:1"}}, meters=tuple(Meter(**meter) for meter in meters))  # type: ignore[arg-type]  # a dict becomes a Link


async def test_topics_by_places_carry_the_same_bytes(plant: Plant, broker: Mosquitto) -> None:
    await plant.read(4, "em-1", "em-2")
    site = site_with("Hall 3/Linie 2/Öfen", "")
    delivery = plant.forwarder(broker.port, site_file=site, topic="acme", topics="places")
    async with Subscriber(broker, "acme/#") as subscriber, running(delivery):
        await until(lambda: caught_up(delivery, plant) and len(subscriber.seen) >= 7)
    readings = [seen for seen in subscriber.seen if seen.topic.endswith("/reading")]
    assert [seen.topic for seen in readings] == ["acme/plant/Hall-3/Linie-2/Öfen/em-1/reading", "acme/plant/em-2/reading"] * 2
    assert [seen.payload for seen in readings] == plant.payloads()[3:]
    assert f"acme/{GATEWAY}/event/key" in [seen.topic for seen in subscriber.seen]


@given(st.text(max_size=60) | st.text("+#/$\0 .-_é机", max_size=30))
def test_no_place_can_name_another_topic(place: str) -> None:
    levels = topics.place_levels(place)
    tree = topics.tree_of(Mqtt(host="h", topics="places"), GATEWAY)
    topic = topics.Tree(tree.base, tree.site, {"em-1": levels}).of_meter("reading", "em-1")
    assert not set(topic) & set("+#$\0 \n")
    assert "" not in topic.split("/")
    assert topic.startswith("meterseal/v1/plant/")
    assert topic.endswith("/em-1/reading")
    assert len(topic) < 1000
    topic.encode("utf-8")  # no lone surrogates either


_SITE = """gateway: {gateway}
links: {{hall: {{tcp: 127.0.0.1:502}}}}
meters:
  - {{id: {meter}, link: hall, model: eastron-sdm120, address: 1}}
mqtt:
  - {{host: h, name: {name}, topic: {topic}}}
"""
_RIGHT = {"gateway": "plant/gw1", "meter": "em-1", "name": "cloud", "topic": "acme/energy"}


@pytest.mark.parametrize("bad", ["a+b", "a#", "#", "$share/x/#", "a\\0b", "a\\x9fb", "\\ud800", "+/+"])
@pytest.mark.parametrize("key", list(_RIGHT))
def test_no_name_that_goes_into_a_topic_or_a_client_name_may_hold_a_wildcard(key: str, bad: str, tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(_SITE.format(**_RIGHT), "utf-8")
    load_site(path)
    path.write_text(_SITE.format(**(_RIGHT | {key: f'"{bad}"'})), "utf-8")
    with pytest.raises(ConfigError):
        load_site(path)


# --- plain numbers -------------------------------------------------------------------------------------------------


async def test_numbers_name_the_record_that_they_come_from_and_keep_its_digits(plant: Plant, broker: Mosquitto) -> None:
    async with Subscriber(broker, f"{BASE}/number/#") as subscriber:
        async with running(plant.forwarder(broker.port, numbers="retained")) as forwarder:
            await until(lambda: caught_up(forwarder, plant))
            await plant.read(1, "em-2")
            await until(lambda: bool(subscriber.seen))
        (seen,) = subscriber.seen
        assert seen.topic == f"{BASE}/number/em-2/active_power"
        assert seen.content_type == "application/json"
        record = json.loads(plant.payloads()[3])
        told = {"value": 1873, "quality": "good", "unit": "W", "time": record["time"], "gateway": GATEWAY, "record": 3}
        assert json.loads(seen.payload) == told
        async with Subscriber(broker, f"{BASE}/number/#") as late:
            await until(lambda: [message.retained for message in late.seen] == [True])


async def test_a_backlog_brings_no_numbers(plant: Plant, broker: Mosquitto) -> None:
    await plant.read(100)
    delivery = plant.forwarder(broker.port, numbers="sent")
    async with Subscriber(broker, f"{BASE}/number/#") as subscriber, running(delivery):
        await until(lambda: caught_up(delivery, plant))
        await plant.read(1)
        await until(lambda: bool(subscriber.seen))
    assert [json.loads(seen.payload)["record"] for seen in subscriber.seen] == [103]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"quantity": "volume", "value": "231.10", "unit": "m3", "formula": "0"}, b'"value":231.10,"quality":"good","unit":"m3"'),
        ({"quantity": "volume", "quality": "bad", "cause": "no_answer"}, b'"value":null,"quality":"bad","cause":"no_answer"'),
    ],
)
def test_a_number_is_written_with_the_records_own_digits(value: dict[str, str], told: bytes) -> None:
    assert topics._number(value, {"record": 7}) == b"{" + told + b',"record":7}'


# --- MQTT 3.1.1 ----------------------------------------------------------------------------------------------------


async def test_mqtt_3_1_1_is_spoken_where_asked_and_warned_of(plant: Plant, broker: Mosquitto) -> None:
    await plant.read(50)
    async with Subscriber(broker, f"{BASE}/#") as subscriber:
        async with running(plant.forwarder(broker.port, version="3.1.1")) as forwarder:
            await until(lambda: caught_up(forwarder, plant))
        await until(lambda: has_all(subscriber, plant))
        states = [seen.payload for seen in subscriber.seen if seen.topic == f"{BASE}/status"]
        await until(
            lambda: [seen.payload for seen in subscriber.seen if seen.topic == f"{BASE}/status"] == [b"online", b"offline"]
        )
    assert states[0] == b"online"
    (told,) = plant.told("forward.old_version")
    assert "no way to refuse" in told["why"]
    assert "p4, c1" in broker.log() or "p2, c1" in broker.log()  # mosquitto's numbers for 3.1.1


async def test_over_mqtt_3_1_1_a_refusal_looks_like_a_delivery_which_is_why_it_is_warned_of(plant: Plant, tmp_path: Path) -> None:
    with Mosquitto(tmp_path, access=f"topic readwrite {BASE}/#\ntopic read $SYS/#\ntopic deny {BASE}/reading/em-1\n") as broker:
        await plant.read(5)
        async with running(plant.forwarder(broker.port, version="3.1.1")) as forwarder:
            await until(lambda: caught_up(forwarder, plant))
        assert "Denied PUBLISH" in broker.log()
    assert plant.told("forward.refused") == []


# --- a late subscriber ---------------------------------------------------------------------------------------------


async def test_a_late_subscriber_can_verify_what_it_collects_with_the_key_line_alone(plant: Plant, broker: Mosquitto) -> None:
    await plant.read(30, "em-1", "em-2")
    async with running(plant.forwarder(broker.port)) as forwarder:
        await until(lambda: caught_up(forwarder, plant))
        await plant.ledger.checkpoint()
        async with Subscriber(broker, f"{BASE}/#") as late:
            await plant.read(10, "em-1", "em-2")
            await until(lambda: len(numbers(late)) == 10 and f"{BASE}/checkpoint" in [seen.topic for seen in late.seen])
            await plant.ledger.checkpoint()
            await until(lambda: late.seen[-1].topic == f"{BASE}/checkpoint")
    assert verified(late, plant.key.public) == 10
    with pytest.raises(AssertionError):
        verified(late, bytes(32))


def verified(late: Subscriber, public: bytes) -> int:
    """How many readings of a subscriber hold, by docs/second_verifier.py, given the public key of the enrolment form."""
    kept = {seen.topic.removeprefix(f"{BASE}/"): seen.payload for seen in late.seen}
    assert json.loads(kept["key"])["public"] == base64url(public)
    note = second.read_checkpoint(kept["checkpoint"].decode(), f"meterseal/{GATEWAY}", "the retained one")
    assert any(second.is_signed(public, signature[4:], note.text) for signature in note.signatures)
    declared = {}
    for topic, payload in kept.items():
        if topic.startswith("meter/"):
            fields = second.parse(payload)
            assert signed(fields, public)
            model = kept[f"model/{fields['meter']['digest']}"]
            assert hashlib.sha256(model).hexdigest() == fields["meter"]["digest"]
            declared[fields["meter"]["id"]] = base64url(second.sha256(b"\0" + second.body_of(fields)))
    readings = [second.parse(seen.payload) for seen in late.seen if "/reading/" in seen.topic]
    prev = ""
    for fields in readings:
        assert signed(fields, public)
        assert prev in ("", fields["prev"])
        prev = base64url(second.sha256(b"\0" + second.body_of(fields)))
        assert fields["n"] < note.size
    assert {fields["meter"]["declared"] for fields in readings} <= set(declared.values())
    return len(readings)


def signed(fields: dict[str, object], public: bytes) -> bool:
    signature = second.from_base64url(str(fields["sig"]))
    return bool(second.is_signed(public, signature, second.signed_bytes(second.body_of(fields))))


# --- a hostile broker ----------------------------------------------------------------------------------------------

CONNACK = bytes.fromhex("2003000000")


async def hostile(says: bytes, until_ended: asyncio.Event) -> asyncio.Server:
    """A broker that takes a connection and then says something."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(CONNACK + says)
        while await reader.read(65536):
            pass
        until_ended.set()
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


def publish(topic: bytes, payload: bytes, qos: int) -> bytes:
    body = len(topic).to_bytes(2, "big") + topic + (b"\0\7" if qos else b"") + b"\0" + payload
    return bytes([0x30 | qos << 1, len(body)]) + body


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (b"\x30\xff\xff\xff\x7f", "the broker sent something far too large"),  # a message of 256 MiB is announced
        (publish(f"{BASE}/receipt".encode(), b"{}", 0), "the broker sent a message that nobody here asked for"),
        (publish(b"$SYS/anything", b"x", 2), "the broker sent a message that nobody here asked for"),
        (CONNACK, "the broker took one connection twice"),
        (b"\xf0\x00", "the broker answered a message with something that MQTT 5 does not know"),  # an AUTH that nobody began
    ],
)
async def test_a_broker_that_sends_what_nobody_asked_for_is_left_and_no_record_is_harmed(
    says: bytes, why: str, plant: Plant, broker: Mosquitto
) -> None:
    ended = asyncio.Event()
    server = await hostile(says, ended)
    async with Line(server.sockets[0].getsockname()[1]) as line, running(plant.forwarder(line.port)) as forwarder:
        await until(lambda: bool(plant.told("forward.lost") or plant.told("forward.cannot_connect")))
        assert forwarder.state.next_n == 0
        await until(ended.is_set)
        before = plant.payloads()
        line.broker_port = broker.port  # an honest one takes its place
        async with Subscriber(broker, f"{BASE}/#") as subscriber:
            await until(lambda: caught_up(forwarder, plant))
            await until(lambda: has_all(subscriber, plant))
    assert plant.payloads() == before
    told = (plant.told("forward.lost") + plant.told("forward.cannot_connect"))[0]
    assert told["why"] == why
    server.close()
