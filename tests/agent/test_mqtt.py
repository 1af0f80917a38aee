"""agent.mqtt and agent.mqtt_words: signing in, TLS, and every way in which a broker can say no, in plain words."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from agent.broker_words import broker_words
from agent.mqtt_words import connect_refused, disconnected
from config.site import Mqtt, Tls
from tests.agent.delivery import Plant, caught_up, planted, running
from tests.agent.heard import Heard
from tests.authority import Authority
from tests.brokers import Line, Mosquitto, packets, program, until


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    async with planted(tmp_path) as made:
        yield made


# --- what stands in the way ----------------------------------------------------------------------------------------


async def test_a_wrong_password_is_told_once_in_plain_words_and_a_corrected_one_is_let_in(
    plant: Plant, tmp_path: Path, heard: Heard
) -> None:
    with Mosquitto(tmp_path, users={"gw1": "right"}) as broker:
        async with (
            Line(broker.port) as line,
            running(plant.forwarder(line.port, username="gw1", password="wrong")) as forwarder,
        ):
            await until(lambda: line.accepted > 2)
            assert forwarder.state.why == "the broker does not accept the user name, the password or the certificate"
        assert len(plant.told("forward.cannot_connect")) == 1
        assert "`username` under `mqtt:`" in plant.told("forward.cannot_connect")[0]["hint"]
        heard.tells(plant.told("forward.cannot_connect")[0], "MS-503")
        async with running(plant.forwarder(broker.port, username="gw1", password="right")) as forwarder:
            await until(lambda: caught_up(forwarder, plant))
    assert plant.told("forward.password_in_clear") == []  # it stays on this machine
    assert "wrong" not in repr(plant.events.entries)
    assert "right" not in repr(plant.events.entries)


async def test_a_password_that_would_cross_a_network_in_clear_is_warned_of_once(plant: Plant, heard: Heard) -> None:
    # 0.0.0.0 is no loopback address by its number, and leads to this machine all the same.
    with Mosquitto(plant.path.parent, users={"gw1": "right"}) as broker:
        async with running(plant.forwarder(broker.port, host="0.0.0.0", username="gw1", password="right")) as forwarder:
            await until(lambda: caught_up(forwarder, plant))
    (told,) = plant.told("forward.password_in_clear")
    assert told["log_level"] == "warning"
    heard.tells(told, "MS-506")


async def _answering(answer: bytes) -> asyncio.Server:
    """A broker that answers each connection with the same bytes and closes it."""

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(answer)
        writer.close()

    return await asyncio.start_server(answer_once, "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("20020001", "the broker does not speak MQTT 5"),  # MQTT 3.1.1, section 3.2.2.3: unacceptable protocol version
        ("2003008400", "the broker does not speak MQTT 5"),
        ("2003008800", "the broker is out of service at present"),
        ("15030300020228", "the broker sent something that is not MQTT 5"),  # a TLS alert
        (b"HTTP/1.1 400 Bad Request\r\n".hex() * 4, "the broker sent something that is not MQTT 5"),
        ("", "the broker closed the connection without a word"),
    ],
)
async def test_a_broker_that_speaks_no_mqtt_5_is_told_in_plain_words(answer: str, why: str, plant: Plant) -> None:
    server = await _answering(bytes.fromhex(answer))
    async with server, running(plant.forwarder(server.sockets[0].getsockname()[1])) as forwarder:
        await until(lambda: forwarder.state.why)
        assert forwarder.state.why == why
        assert forwarder.state.hint
        assert forwarder.state.next_n == 0


# MQTT Version 5.0, table 2-6: all reason codes of 128 and more, and where each may stand. CONNACK has 153 too, which paho does
# not know there; it is about a kind of will that we do not send.
CONNECT = (128, 129, 130, 131, 132, 133, 134, 135, 136, 137, 138, 140, 144, 149, 151, 154, 155, 156, 157, 159)
PUBLISH = (128, 131, 135, 144, 145, 151, 153)
DISCONNECT = (128, 129, 130, 131, 135, 137, 139, 141, 142, 143, 144, *range(147, 163))


@pytest.mark.parametrize("code", CONNECT)
async def test_each_reason_for_not_letting_us_in_is_told_in_words(code: int, plant: Plant) -> None:
    server = await _answering(bytes([0x20, 3, 0, code, 0]))
    async with server, running(plant.forwarder(server.sockets[0].getsockname()[1])) as forwarder:
        await until(lambda: forwarder.state.why)
        assert forwarder.state.why == connect_refused(code, "").why
        assert str(code) not in forwarder.state.why
        assert forwarder.state.hint


async def _taking(answer: Callable[[int], bytes]) -> asyncio.Server:
    """A broker that takes each connection and answers each publish with what `answer` makes of its packet identifier."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(bytes.fromhex("2003000000"))
        unread = bytearray()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                unread += data
                for kind, body in packets(unread):
                    if kind == 3:
                        at = 2 + int.from_bytes(body[:2], "big")
                        writer.write(answer(int.from_bytes(body[at : at + 2], "big")))
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


@pytest.mark.parametrize("code", PUBLISH)
async def test_each_reason_for_refusing_a_record_is_told_in_words_and_the_record_is_kept(code: int, plant: Plant) -> None:
    server = await _taking(lambda mid: b"\x40\x04" + mid.to_bytes(2, "big") + bytes([code, 0]))
    async with server, running(plant.forwarder(server.sockets[0].getsockname()[1])) as forwarder:
        await until(lambda: any("n" in told for told in plant.told("forward.refused")))
        assert forwarder.state.connected
        assert forwarder.state.next_n == 0
        assert str(code) not in forwarder.state.why
        assert forwarder.state.hint


async def test_the_reason_for_which_a_broker_ends_a_connection_is_told(plant: Plant) -> None:
    server = await _taking(lambda mid: bytes.fromhex("e0028e00"))  # DISCONNECT, session taken over
    async with server, running(plant.forwarder(server.sockets[0].getsockname()[1])):
        await until(lambda: bool(plant.told("forward.lost")))
    assert plant.told("forward.lost")[0]["why"] == "another client has connected to the broker with this gateway's name"


@pytest.mark.parametrize("code", DISCONNECT)
def test_each_reason_for_ending_a_connection_has_words(code: int) -> None:
    assert str(code) not in disconnected(code, "").why
    assert disconnected(code, "").hint


async def test_a_session_that_another_client_took_over_is_made_anew_and_nothing_is_lost(plant: Plant, tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, running_twin(broker) as take_over:
        async with running(plant.forwarder(broker.port)) as forwarder:
            await until(lambda: caught_up(forwarder, plant))
            take_over()
            await until(lambda: bool(plant.told("forward.lost")))
            await plant.read(5)
            await until(lambda: caught_up(forwarder, plant))
    assert "two agents" in plant.told("forward.lost")[0]["hint"]  # mosquitto 2.0 ends the old connection without a word


@contextlib.contextmanager
def running_twin(broker: Mosquitto) -> Iterator[Callable[[], None]]:
    """Lets another client connect under the gateway's client name, once."""
    started: list[subprocess.Popen[bytes]] = []
    command = [program("mosquitto_sub"), "-V", "5", "-p", str(broker.port), "-i", "meterseal-plant-gw1-broker", "-t", "x"]
    yield lambda: started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    for each in started:
        each.kill()
        each.wait(30)


async def test_the_brokers_own_words_are_told_on_one_line(plant: Plant) -> None:
    words = b"pay your bill\nfirst"
    properties = bytes([3 + len(words), 0x1F, 0, len(words)]) + words
    server = await _answering(bytes([0x20, 2 + len(properties), 0, 0x8A]) + properties)  # CONNACK, banned, reason string
    async with server, running(plant.forwarder(server.sockets[0].getsockname()[1])) as forwarder:
        await until(lambda: forwarder.state.why)
        assert forwarder.state.words == "pay your bill first"
    assert plant.told("forward.cannot_connect")[0]["broker_says"] == "pay your bill first"


async def test_a_broker_that_keeps_nothing_retained_gets_the_records_all_the_same(plant: Plant, tmp_path: Path) -> None:
    with Mosquitto(tmp_path, "retain_available false") as broker:
        async with running(plant.forwarder(broker.port)) as forwarder:
            await until(lambda: caught_up(forwarder, plant))
    assert plant.told("forward.cannot_connect")[0]["why"] == "the broker does not keep retained messages"


# --- TLS -----------------------------------------------------------------------------------------------------------


def tls_settings(certificate: str, key: str, *more: str) -> tuple[str, ...]:
    return (f"certfile {certificate}", f"keyfile {key}", *more)


async def test_records_go_through_tls_with_certificates_of_both_sides(plant: Plant, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "plant-ca")
    settings = tls_settings(*authority.certificate("127.0.0.1"), f"cafile {authority.file}", "require_certificate true")
    with Mosquitto(tmp_path, *settings, "use_identity_as_username true") as broker:
        certificate, key = authority.certificate("gw1")
        tls = {"ca": authority.file, "certificate": certificate, "key": key}
        await plant.read(200)
        async with running(plant.forwarder(broker.port, tls=tls)) as forwarder:
            await until(lambda: caught_up(forwarder, plant))
        assert "u'gw1'" in broker.log()  # the name in our certificate
        async with running(plant.forwarder(broker.port, name="other", tls={"ca": authority.file})) as forwarder:
            await until(lambda: forwarder.state.why)
            assert forwarder.state.next_n == 0  # without a certificate of our own: not let in


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("wrong authority", "the broker's certificate is not signed by the authority under `tls: ca`"),
        ("wrong name", "the broker's certificate is for another name than localhost"),
        ("expired", "the broker's certificate has expired"),
        ("no file", "the ca under tls cannot be used (nowhere.pem): No such file or directory"),
        ("no certificate", "the ca under tls cannot be used ({empty}): it does not hold what it should"),
        (
            "foreign key",
            "the certificate and key under tls cannot be used ({pair}): they do not belong together, or the key has a password",
        ),
        ("no tls there", "127.0.0.1:{port} breaks the connection off at once"),
    ],
)
async def test_what_is_wrong_with_tls_is_told_in_plain_words(
    case: str, why: str, plant: Plant, tmp_path: Path, heard: Heard
) -> None:
    authority, stranger = Authority(tmp_path, "plant-ca"), Authority(tmp_path, "stranger")
    certificate, key = authority.certificate("127.0.0.1", days=-1 if case == "expired" else 2)
    (tmp_path / "empty.pem").write_text("")
    pair = {"certificate": certificate, "key": stranger.certificate("gw1")[1]}
    tls = {
        "wrong authority": {"ca": stranger.file},
        "no file": {"ca": "nowhere.pem"},
        "no certificate": {"ca": str(tmp_path / "empty.pem")},
        "foreign key": {"ca": authority.file, **pair},
    }.get(case, {"ca": authority.file})
    host = "localhost" if case == "wrong name" else "127.0.0.1"
    with Mosquitto(tmp_path, *(() if case == "no tls there" else tls_settings(certificate, key))) as broker:
        async with running(plant.forwarder(broker.port, host=host, tls=tls)) as forwarder:
            await until(lambda: forwarder.state.why)
            expected = why.format(port=broker.port, empty=tmp_path / "empty.pem", pair=", ".join(pair.values()))
            assert forwarder.state.why == expected
            assert forwarder.state.next_n == 0
    heard.tells(plant.told("forward.cannot_connect")[0], "MS-502" if case == "no tls there" else "MS-504")


async def test_a_certificate_of_ours_that_has_expired_is_named_and_a_renewed_one_is_taken_without_a_restart(
    plant: Plant, tmp_path: Path
) -> None:
    authority = Authority(tmp_path, "plant-ca")
    settings = tls_settings(*authority.certificate("127.0.0.1"), f"cafile {authority.file}", "require_certificate true")
    own, key = (tmp_path / "own.pem", tmp_path / "own.key")

    def issue(days: int) -> None:
        for made, used in zip(authority.certificate("gw1", days=days), (own, key), strict=True):
            Path(made).rename(used)

    with Mosquitto(tmp_path, *settings) as broker:
        issue(-1)
        tls = {"ca": authority.file, "certificate": str(own), "key": str(key)}
        async with running(plant.forwarder(broker.port, tls=tls)) as forwarder:
            await until(lambda: forwarder.state.why)
            assert forwarder.state.why.startswith(f"this gateway's own certificate ({own}) has expired on 20")
            assert "renewed" in forwarder.state.hint
            assert forwarder.state.next_n == 0
            issue(2)
            await until(lambda: caught_up(forwarder, plant))


async def test_a_brokers_certificate_that_has_expired_is_named_and_a_renewed_one_is_taken(plant: Plant, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "plant-ca")
    expired, renewed = authority.certificate("127.0.0.1", days=-1), authority.certificate("127.0.0.1")
    with Mosquitto(tmp_path, *tls_settings(*expired)) as old, Mosquitto(tmp_path, *tls_settings(*renewed)) as new:
        async with Line(old.port) as line:
            tls = {"ca": authority.file}
            async with running(plant.forwarder(line.port, tls=tls)) as forwarder:
                await until(lambda: forwarder.state.why == "the broker's certificate has expired")
                line.broker_port = new.port
                await until(lambda: caught_up(forwarder, plant))


@pytest.mark.parametrize(("days", "told"), [(2, "expires on 20"), (-1, "has expired on 20"), (60, "")])
def test_a_certificate_of_ours_that_will_soon_expire_is_pointed_out(days: int, told: str, tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path, "plant-ca").certificate("gw1", days=days)
    words = "".join(broker_words(Mqtt(host="h", tls=Tls(certificate=certificate, key=key))))
    assert told in words
    assert bool(told) == bool(words)


async def test_a_plain_connection_to_a_tls_port_is_told_in_plain_words(plant: Plant, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "plant-ca")
    with Mosquitto(tmp_path, *tls_settings(*authority.certificate("127.0.0.1"))) as broker:
        async with running(plant.forwarder(broker.port)) as forwarder:
            await until(lambda: forwarder.state.why)
            assert forwarder.state.why == "the broker closed the connection without a word"
            assert "with or without `tls:`" in forwarder.state.hint
