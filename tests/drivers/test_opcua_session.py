"""drivers.opcua_session and drivers.opcua_connect: sessions that stay alive, and servers that are none or do not let us in."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("asyncua", reason="asyncua is not installed: pip install 'meterseal[opcua]'")

from asyncua import ua

from agent.clock import Clock
from agent.opcua_certificate import fingerprint_of, make_certificate
from drivers import opcua_connect, opcua_session
from drivers.errors import LinkDown
from drivers.opcua_binary import NodeId
from drivers.opcua_connect import first_certificate, why_down
from drivers.opcua_failure import CAUSES, password_in_clear
from drivers.opcua_read import divided, nodes_of, portable, resolved
from drivers.opcua_session import Session
from drivers.opcua_settings import ServerSettings
from tests.peers.opcua_meters import PLANT, SERVER, Peer, serving

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@pytest.fixture
def peer() -> Iterator[Peer]:
    with serving() as peer:
        yield peer


def plain(url: str, timeout_s: float = 1.0) -> Session:
    return Session(ServerSettings("scada", url, security="None", timeout_s=timeout_s), Clock())


def asking(session: Session, *names: str) -> list[bytes]:
    return [resolved(portable([NodeId(PLANT, "s", name.encode()) for name in names]), session.namespaces)]


@asynccontextmanager
async def opened(session: Session) -> AsyncIterator[Session]:
    await session.open()
    try:
        yield session
    finally:
        await session.close()


# --- a session ------------------------------------------------------------------------------------------------


async def test_a_session_that_nobody_reads_from_is_kept_alive_and_finds_out_that_the_server_hangs(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opcua_session, "_LONGEST_BEAT", 0.1)
    async with opened(plain(peer.url)) as session:
        assert session.server == SERVER
        peer.tell("reads")
        async with asyncio.timeout(10):
            while len(json.loads(peer.tell("reads"))) < 1:
                await asyncio.sleep(0.05)
        peer.freeze()
        async with asyncio.timeout(10):
            why = await session.lost()
        peer.thaw()
    assert why.cause == "no_answer"
    assert not session.is_open


async def test_a_secure_channel_is_renewed_before_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opcua_connect, "_CHANNEL_MS", 1000)
    own, theirs = (make_certificate(tmp_path / name, "plant/gw1") for name in ("own", "theirs"))
    with serving("--certificate", str(theirs.path), "--key", str(theirs.key_path)) as peer:
        settings = ServerSettings(
            "scada",
            peer.url,
            certificate=own.path,
            key=own.key_path,
            application=own.application,
            pin=fingerprint_of(theirs.certificate),
        )
        async with opened(Session(settings, Clock())) as session:
            for _ in range(25):
                (exchange,) = await session.read(asking(session, "M1.P1"))
                assert exchange.error is None
                await asyncio.sleep(0.1)  # a channel's life is time that passes


async def test_an_answer_that_no_record_could_hold_is_told_without_its_bytes_and_the_others_are_read(peer: Peer) -> None:
    async with opened(plain(peer.url, 5.0)) as session:
        peer.tell("grow")
        grown, other = await session.read([*asking(session, "M1.P1"), *asking(session, "M2.P1")])
        assert session.is_open
    assert grown.error
    assert (grown.error.cause, grown.answer) == ("too_long", b"")
    assert (other.error, len(other.answer) > 0) == (None, True)


async def test_what_is_read_in_a_session_that_has_ended_is_told_why(peer: Peer) -> None:
    async with opened(plain(peer.url)) as session:
        peer.tell("forget")
        (exchange,) = await session.read(asking(session, "M1.P1"))
        assert exchange.error
        assert (exchange.error.cause, exchange.answer) == ("session_closed", b"")
        with pytest.raises(LinkDown) as caught:
            await session.read(asking(session, "M1.P1"))
    assert caught.value.cause == "session_closed"


async def test_a_read_that_is_lost_under_way_is_told_as_a_lost_connection(peer: Peer) -> None:
    async with opened(plain(peer.url, 5.0)) as session:
        peer.freeze()
        reading = asyncio.create_task(session.read(asking(session, "M1.P1")))
        await asyncio.sleep(0.1)  # the request goes out
        peer.kill()
        (exchange,) = await reading
    assert exchange.error
    assert exchange.error.cause == "connection_lost"


async def test_a_request_that_is_none_is_not_sent(peer: Peer) -> None:
    async with opened(plain(peer.url)) as session:
        (exchange,) = await session.read([portable([])])
        assert exchange.error is None
        with pytest.raises(Exception, match="no list of nodes"):
            await session.read([b"\x01\x00\x00\x00"])


@pytest.mark.parametrize(("most", "parts"), [(0, [5]), (7, [5]), (4, [2, 2, 1]), (1, [1, 1, 1, 1, 1])])
def test_a_request_is_divided_into_ones_that_each_carry_the_tables(most: int, parts: list[int]) -> None:
    nodes = [NodeId(0, "i", 3000 + number) for number in range(5)]
    made = divided(portable(nodes), most)
    assert [len(nodes_of(part)) - 2 for part in made] == parts
    assert [node for part in made for node in nodes_of(part)[2:]] == nodes
    assert {tuple(nodes_of(part)[:2]) for part in made} == {(NodeId(0, "i", 2255), NodeId(0, "i", 2254))}


# --- servers that are none ------------------------------------------------------------------------------------


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)


async def talk_otherwise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n" * 20)
    await writer.drain()
    await reader.read(100)


async def know_no_such_endpoint(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An ERR message with BadTcpEndpointUrlInvalid, OPC 10000-6, 7.1.2.5."""
    await reader.read(100)
    reason = b"no such endpoint"
    body = (0x80830000).to_bytes(4, "little") + len(reason).to_bytes(4, "little") + reason
    writer.write(b"ERRF" + (8 + len(body)).to_bytes(4, "little") + body)
    await writer.drain()
    await reader.read(100)


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(100):
        pass


@pytest.mark.parametrize(
    ("talk", "causes"),
    [
        (hang_up, {"connection_lost"}),
        (talk_otherwise, {"connection_lost", "not_opcua", "no_answer"}),
        (know_no_such_endpoint, {"no_endpoint"}),
        (say_nothing, {"no_answer"}),
    ],
)
async def test_what_is_no_server_is_told_in_plain_words(talk: Talk, causes: set[str]) -> None:
    ended = asyncio.Event()

    async def talking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await talk(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    listening = await asyncio.start_server(talking, "127.0.0.1", 0)
    async with listening:
        session = plain(f"opc.tcp://127.0.0.1:{listening.sockets[0].getsockname()[1]}/", 0.5)
        with pytest.raises(LinkDown) as caught:
            await session.open()
        await session.close()
        await ended.wait()
    assert caught.value.cause in causes, repr(caught.value)
    assert "scada" in str(caught.value)
    assert caught.value.hint


async def test_a_host_that_nobody_knows_is_told_as_such() -> None:
    with pytest.raises(LinkDown) as caught:
        await plain("opc.tcp://no-such-host.invalid:4840/").open()
    assert caught.value.cause == "no_connection"
    assert "no-such-host.invalid" in str(caught.value)


# --- why ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "cause", "lasting", "words"),
    [
        ("BadCertificateUntrusted", "certificate_refused", True, "own.der"),
        ("BadSecurityChecksFailed", "certificate_refused", True, "trusted certificates"),
        ("BadCertificateUriInvalid", "wrong_application_uri", True, "meterseal init --opcua"),
        ("BadCertificateTimeInvalid", "clock_difference", True, "clocks"),
        ("BadInvalidTimestamp", "clock_difference", True, "clocks"),
        ("BadIdentityTokenRejected", "login_refused", True, "password"),
        ("BadUserAccessDenied", "login_refused", True, "user"),
        ("BadTcpEndpointUrlInvalid", "no_endpoint", True, "meterseal trust scada"),
        ("BadTooManySessions", "too_many_sessions", False, "other clients"),
        ("BadSessionIdInvalid", "session_closed", False, "by itself"),
        ("BadServerHalted", "server_refused", False, "server's own log"),
    ],
)
def test_a_status_leads_to_a_cause_and_to_what_a_person_can_do(status: str, cause: str, lasting: bool, words: str) -> None:
    settings = ServerSettings("scada", "opc.tcp://10.0.0.1:4840/")
    down = why_down(settings, ua.UaStatusCodeError(getattr(ua.StatusCodes, status)))
    assert (down.cause, down.lasting) == (cause, lasting)
    assert cause in CAUSES
    assert status in str(down)
    assert words in down.hint


def test_errors_without_a_status_have_words_too() -> None:
    settings = ServerSettings("scada", "opc.tcp://10.0.0.1:4840/", pin="ab" * 32)
    assert why_down(settings, ua.UaError("Server certificate mismatch")).cause == "untrusted_certificate"
    assert why_down(settings, ua.UaError("No matching endpoints: 1, 2")).cause == "no_endpoint"
    assert why_down(settings, ValueError("something else")).cause == "not_opcua"
    assert why_down(settings, ConnectionResetError()).cause == "connection_lost"
    assert "SignAndEncrypt" in password_in_clear(settings).hint


def test_of_a_chain_of_certificates_the_first_is_the_servers_own(tmp_path: Path) -> None:
    first, second = (make_certificate(tmp_path / name, "plant/gw1").certificate for name in ("first", "second"))
    assert first_certificate(first + second) == first
    assert first_certificate(b"") == b""


def test_a_password_is_not_shown_by_accident() -> None:
    assert "hidden" not in repr(ServerSettings("scada", "opc.tcp://10.0.0.1:4840/", password="hidden"))
